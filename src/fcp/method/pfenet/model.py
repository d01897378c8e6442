"""PFENet, joined: prior and prototype → feature enrichment → mask (table1.md §2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fcp.encoders.base import Backbone
from fcp.errors import FcpError
from fcp.method.base import TrainedMethod, TrainingTruth, TwoLogits, at_size, for_queries
from fcp.method.parts import MaskHead, ReluConv, cells_of, cross_entropy, grid_of, mean_under, prior
from fcp.method.pfenet.enrichment import PASCAL_BINS, Enrichment
from fcp.method.stages import BackboneOption, build_stages
from fcp.structures import BackboneFeatures


@dataclass(frozen=True)
class PFENetSupport:
    """What PFENet keeps of K examples.

    Attributes:
        prototype: (B, C) mean over the shots of the masked means.
        high: (B, K, Ch, h, w) stage 4, run under the mask.
        cells: (B, K, h, w) masks on the grid, 0 … 1.
    """

    prototype: Tensor
    high: Tensor
    cells: Tensor


@dataclass(frozen=True)
class PFENetQuery:
    """What PFENet keeps of query pictures.

    Attributes:
        features: (B, C, h, w).
        high: (B, Ch, h, w) stage 4.
        size: (H, W) of the pictures.
    """

    features: Tensor
    high: Tensor
    size: tuple[int, int]


@dataclass(frozen=True)
class PFENetOutput(TwoLogits):
    """What PFENet makes of a query.

    Attributes:
        scales: Logits (B, 2, b, b) of each scale.
    """

    scales: tuple[Tensor, ...]


class PFENet(TrainedMethod[PFENetSupport, PFENetQuery, PFENetOutput]):
    """Prior-guided feature enrichment network.

    Args:
        backbone: Image encoder.
        bins: Scales of the enrichment.
        width: C, channels of the features.
        released: In training the frozen backbone's batch norms use the batch's statistics and
            their running ones drift, as in the authors' program.
    """

    support_view = "masked stage"

    def __init__(
        self,
        backbone: Backbone,
        *,
        bins: Sequence[float] = PASCAL_BINS,
        width: int = 256,
        released: bool = False,
    ) -> None:
        super().__init__(backbone)
        self.released = released
        self.query = ReluConv(backbone.mid_channels, width)
        self.support = ReluConv(backbone.mid_channels, width)
        self.dropout = nn.Dropout2d(0.5)
        self.enrichment = Enrichment(width, bins)
        self.head = MaskHead(width)

    def train(self, mode: bool = True) -> PFENet:
        """Switch the method; see ``released`` for the backbone's batch norms."""
        super().train(mode)
        self.backbone.train(mode and self.released)
        return self

    def see_support(self, pictures: Tensor, masks: Tensor) -> BackboneFeatures:
        """Run the backbone; while its batch norms drift, on one shot of all tasks at a time."""
        if not self.backbone.training:
            return super().see_support(pictures, masks)
        shots = [
            super(PFENet, self).see_support(pictures[k :: masks.shape[1]], masks[:, k : k + 1])
            for k in range(masks.shape[1])
        ]
        return BackboneFeatures(
            mid=torch.stack([shot.mid for shot in shots], 1).flatten(0, 1),
            high=torch.stack([shot.high for shot in shots], 1).flatten(0, 1),
        )

    def prepare_support(self, features: BackboneFeatures, masks: Tensor) -> PFENetSupport:
        """Average the object's features over cells, then over shots."""
        cells = cells_of(masks.flatten(0, 1), grid_of(features.mid))
        means = mean_under(self.dropout(self.support(features.mid)), cells)
        shape = masks.shape[:2]
        return PFENetSupport(
            prototype=means.unflatten(0, shape).mean(1),
            high=features.high.unflatten(0, shape),
            cells=cells[:, 0].unflatten(0, shape),
        )

    def prepare_query(self, features: BackboneFeatures, size: tuple[int, int]) -> PFENetQuery:
        """Project the query's features."""
        return PFENetQuery(self.dropout(self.query(features.mid)), features.high, size)

    def match(self, support: PFENetSupport, query: PFENetQuery) -> PFENetOutput:
        """Segment prepared queries."""
        support = for_queries(support, len(query.features))
        shown = prior(query.high, support.high, support.cells).mean(1, keepdim=True)
        enriched, scales = self.enrichment(query.features, support.prototype, shown)
        return PFENetOutput(at_size(self.head(enriched), query.size), scales)

    def losses(
        self, support: PFENetSupport, query: PFENetQuery, truth: TrainingTruth
    ) -> dict[str, Tensor]:
        """Cross entropy of the answer (``main``) and, on average, of the scales (``scales``)."""
        output = self.match(support, query)
        main = cross_entropy(output.logits, truth.query_masks)
        each = [cross_entropy(logits, truth.query_masks) for logits in output.scales]
        scales = torch.stack(each).mean()
        return {"main": main, "scales": scales, "total": main + scales}


def build_pfenet(
    weights: str | None,
    *,
    backbone: BackboneOption = "resnet50",
    bins: Sequence[float] = PASCAL_BINS,
    width: int = 256,
    released: bool = False,
) -> PFENet:
    """Build PFENet, by default at its published size.

    Args:
        weights: ImageNet weights of the backbone; None for random ones.
        backbone: "resnet50" or "vgg16_bn" as published, or any other; see ``build_stages``.
        bins: ``PASCAL_BINS`` or ``COCO_BINS``.
        width: See ``PFENet``.
        released: See ``PFENet``.

    Raises:
        FcpError: Unknown backbone, weights that are missing or do not fit, or bins that are neither
            cells nor fractions.
    """
    cells = [one for one in bins if type(one) is int and one > 0]
    fractions = [one for one in bins if type(one) is float and 0 < one <= 1]
    # 1 beside fractions is meant as 1.0, and would be a single cell.
    if not bins or len(cells) + len(fractions) < len(bins) or (fractions and 1 in cells):
        raise FcpError(f"bins: expected cells (60, 30) or fractions (1.0, 0.5), got {bins}")
    stages = build_stages(backbone, weights)
    return PFENet(stages, bins=bins, width=width, released=released)
