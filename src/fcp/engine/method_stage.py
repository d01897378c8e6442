"""What the loop trains of a compared method, and of a base learner."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from fcp.engine.loop import Batches
from fcp.features.frozen import FrozenEncoders
from fcp.method.bam.base_learner import PSPNet, base_losses
from fcp.method.base import TrainingTruth
from fcp.method.trained import AnyMethod

Batch = Mapping[str, Any]


class MethodStage:
    """Losses of an episodic step of a compared method.

    Args:
        model: Method; what it freezes stays frozen.
        batches: Source of the episodes, such as ``MethodBatches``.
        encoders: Stored features of the method's backbone; None where the batches hold pixels.
    """

    skips_parameters = True  # such as weights of several shots, in steps of one

    def __init__(
        self, model: AnyMethod, batches: Batches, encoders: FrozenEncoders | None = None
    ) -> None:
        self.model: AnyMethod = model.train()
        self.batches, self._encoders = batches, encoders

    def fresh_and_pretrained(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """Split the trainable parameters: those of the backbone are pretrained."""
        return split_by_backbone(self.model, self.model.backbone)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the terms of the method's paper; only they read the query's mask."""
        model, masks = self.model, batch["support_masks"]
        if self._encoders is None:
            support = model.encode_support(batch["support_images"], masks)
            query = model.encode_query(batch["query_images"])
        else:
            features, _ = self._encoders.examples(batch["supports"])
            support = model.prepare_support(features, masks)
            size = (masks.shape[-2], masks.shape[-1])
            query = model.prepare_query(self._encoders.pictures(batch["queries"]), size)
        truth = TrainingTruth(
            query_masks=batch["query_masks"],
            support_masks=masks,
            base_labels=batch.get("base_labels"),
            classes=batch.get("classes"),
        )
        return model.losses(support, query, truth)


class BaseLearnerStage:
    """Losses of a step of a base learner.

    Args:
        model: Backbone and learner.
        batches: Source of the labelled pictures, such as ``LabelBatches``.
        train_backbone: Whether to train the backbone too, batch norms included.
        encoders: Stored features of the backbone; None where the batches hold pixels.
    """

    skips_parameters = True  # of a backbone, those that the last stage does not need

    def __init__(
        self,
        model: PSPNet,
        batches: Batches,
        *,
        train_backbone: bool,
        encoders: FrozenEncoders | None = None,
    ) -> None:
        self.model = model.train()
        self.batches, self._encoders = batches, encoders
        model.backbone.requires_grad_(train_backbone).train(train_backbone)

    def fresh_and_pretrained(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """Split the trainable parameters: those of the backbone are pretrained."""
        return split_by_backbone(self.model, self.model.backbone)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the cross entropy with the base labels."""
        if self._encoders is None:
            return self.model.losses(batch["images"], batch["labels"])
        features = self._encoders.pictures(batch["pictures"])
        return base_losses(self.model.learner(features.high), batch["labels"])


def split_by_backbone(
    model: nn.Module, backbone: nn.Module
) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Return the trainable parameters of a model but its backbone, and those of the backbone."""
    inside = {id(parameter) for parameter in backbone.parameters()}
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return (
        [parameter for parameter in trained if id(parameter) not in inside],
        [parameter for parameter in trained if id(parameter) in inside],
    )
