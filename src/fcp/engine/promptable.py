"""The first stage of `tiny`: a promptable segmenter trained as SAM was, on regions of all kinds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fcp.encoders.tiny import TinySegmenter
from fcp.engine.region_batches import RegionBatches
from fcp.structures import Embedding


class PromptableStage:
    """Losses of a class-agnostic step.

    Args:
        model: Promptable segmenter; its trunk starts from ImageNet weights.
        batches: Source of the regions and prompts.
    """

    skips_parameters = True  # each kind of prompt has its own embeddings

    def __init__(self, model: TinySegmenter, batches: RegionBatches) -> None:
        self.model = model
        self.batches = batches
        freeze_batch_norm(model)

    def fresh_and_pretrained(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """Split the parameters: the trunk is pretrained, all else is fresh."""
        trunk = {id(p) for p in self.model.image_encoder.trunk.parameters()}
        trainable = [p for p in self.model.parameters() if p.requires_grad]
        return (
            [p for p in trainable if id(p) not in trunk],
            [p for p in trainable if id(p) in trunk],
        )

    def losses(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return mask BCE + dice and the error of the estimated IoU, over one or two rounds."""
        targets, valid = batch["targets"], batch["valid"]
        embedding = self.model.encode(batch["images"])
        embedding = embedding.repeat(len(targets) // len(batch["images"]))
        kind = batch["kind"]
        prompts, painted = self.model.embed_prompts(
            points=batch["points"],
            point_labels=batch["point_labels"],
            boxes=batch["boxes"] if "box" in kind else None,
        )
        dense = batch["coarse"] if "mask" in kind else painted
        logits, iou = self.model.decode_candidates(
            embedding, prompts, dense, multimask=kind == "point"
        )
        terms, best = candidate_losses(logits.float(), iou.float(), targets, valid)
        if batch["correct"]:
            second = self._correct(embedding, prompts, best.detach(), targets, valid)
            terms = {name: (value + second[name]) / 2 for name, value in terms.items()}
        return {**terms, "total": sum(terms.values(), torch.zeros(()))}

    def _correct(
        self, embedding: Embedding, prompts: Tensor, logits: Tensor, targets: Tensor, valid: Tensor
    ) -> dict[str, Tensor]:
        """Run a second round: prompt with the mask and with a point where it is wrong."""
        points, labels = draw_error_points(logits, targets, valid)
        more, _ = self.model.embed_prompts(points=points, point_labels=labels)
        again, iou = self.model.decode_candidates(
            embedding, torch.cat([prompts, more], 1), logits[:, None], multimask=False
        )
        return candidate_losses(again.float(), iou.float(), targets, valid)[0]


def freeze_batch_norm(model: nn.Module) -> None:
    """Freeze the ImageNet statistics: small batches of crops would only blur them."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


def candidate_losses(
    logits: Tensor, iou: Tensor, targets: Tensor, valid: Tensor
) -> tuple[dict[str, Tensor], Tensor]:
    """Score candidate masks; only the best one of each prompt gets a mask loss, as in SAM.

    Args:
        logits: Mask logits of the candidates (n, c, h, w).
        iou: The decoder's estimates of the candidates' IoU (n, c).
        targets: True masks (n, h, w), 0 or 1.
        valid: Known pixels (n, h, w): 0 where the label is unknown, 1 elsewhere.

    Returns:
        Scalar terms ``bce``, ``dice``, ``iou``, and the best logits (n, h, w).
    """
    target, known = targets[:, None].expand_as(logits), valid[:, None]
    pixel = F.binary_cross_entropy_with_logits(logits, target, reduction="none") * known
    bce = pixel.sum((2, 3)) / known.sum((2, 3)).clamp(min=1)
    probability = logits.sigmoid() * known
    overlap = (probability * target).sum((2, 3))
    dice = 1 - (2 * overlap + 1) / (probability.sum((2, 3)) + (target * known).sum((2, 3)) + 1)
    best = (bce + dice).argmin(1)
    rows = torch.arange(len(logits), device=logits.device)
    hard, truth = (logits > 0) & (known > 0), (target > 0) & (known > 0)
    actual = (hard & truth).sum((2, 3)) / (hard | truth).sum((2, 3)).clamp(min=1)
    terms = {
        "bce": bce[rows, best].mean(),
        "dice": dice[rows, best].mean(),
        "iou": F.mse_loss(iou, actual.to(iou.dtype)),
    }
    return terms, logits[rows, best]


def draw_error_points(logits: Tensor, targets: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Draw one wrong pixel of each mask (any pixel if none is wrong).

    Returns:
        Points (n, 1, 2) as fractions x, y and labels (n, 1): 1 where the target is foreground.
    """
    wrong = ((logits > 0) != (targets > 0)).float() * valid
    index = torch.multinomial(wrong.flatten(1) + 1e-6, 1)  # (n, 1)
    height, width = targets.shape[-2:]
    x = (index % width + 0.5) / width
    y = (index.div(width, rounding_mode="floor") + 0.5) / height
    return torch.stack([x, y], dim=-1), targets.flatten(1).gather(1, index)
