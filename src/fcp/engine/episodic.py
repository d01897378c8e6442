"""The second stage: the FCP head, and on request the backbone, learn from episodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fcp.engine.loop import Batches
from fcp.engine.recipe import HeadRecipe
from fcp.features.frozen import FrozenEncoders
from fcp.method.fcp.losses.criterion import Criterion
from fcp.method.fcp.model import FCP
from fcp.models.checkpoint import save_model
from fcp.structures import Episode, Output

Batch = Mapping[str, Any]


class EpisodicStage:
    """Losses of an episodic step (Eq. 15).

    Args:
        model: Whole model; its promptable segmenter stays frozen.
        batches: Source of the episodes.
        answer: Function from a batch to the model's output: ``answer_pixels``, ``answer_seen`` or
            ``stored_batches.answer_stored``.
        criterion: Named loss terms.
        train_backbone: Whether to train the backbone too; its batch norms keep their statistics.
    """

    def __init__(
        self,
        model: FCP,
        batches: Batches,
        *,
        answer: Callable[[Batch], Output],
        criterion: Criterion,
        train_backbone: bool = False,
    ) -> None:
        self.model = model.train()
        self.batches = batches
        self._answer, self._criterion = answer, criterion
        # The head uses all of its parameters; a backbone may have some that no feature needs.
        self.skips_parameters = train_backbone
        model.backbone.requires_grad_(train_backbone)

    def fresh_and_pretrained(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """Split the parameters: the head is fresh, the backbone pretrained."""
        backbone = [p for p in self.model.backbone.parameters() if p.requires_grad]
        return list(self.model.head.parameters()), backbone

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Run the episodes; only the loss reads the query's mask."""
        return self._criterion(self._answer(batch), batch["query_masks"], batch.get("present"))


def answer_pixels(model: FCP, batch: Batch) -> Output:
    """Run the whole model on a batch of ``EpisodeBatches``."""
    episode = Episode(
        support_images=batch["support_images"],
        support_masks=batch["support_masks"],
        query_images=batch["query_images"],
    )
    return model(episode, with_maps=True)


def answer_seen(model: FCP, encoders: FrozenEncoders, batch: Batch) -> Output:
    """Run the head on a batch of ``SeenBatches``, and the encoders where nothing is stored."""
    features, embedding, masks = encoders.supports(batch["supports"])
    support = model.head.prepare_support(features, embedding, masks[:, None])
    query = model.head.prepare_query(*encoders.queries(batch["queries"]))
    return model.match(support, query, with_maps=True)


def save_trained(model: FCP, recipe: HeadRecipe, folder: Path) -> None:
    """Write the folder of a model as its recipe wants it: type of the weights, side of pictures.

    Raises:
        FcpError: the folder cannot be written, or the disk is full.
    """
    dtype = getattr(torch, recipe.weights_dtype)
    save_model(model, folder, dtype=dtype, image_size=recipe.test_size)
