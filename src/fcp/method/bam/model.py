"""BAM, joined: meta learner and frozen base learner → ensemble → mask (table1.md §3)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fcp.encoders.base import Backbone
from fcp.method.bam.base_learner import PYRAMID_WIDTH, BaseLearner
from fcp.method.bam.ensemble import Ensemble, ShotWeights, base_probability, gram, style_distance
from fcp.method.base import (
    TrainedMethod,
    TrainingTruth,
    TwoLogits,
    at_size,
    for_queries,
    known_labels,
)
from fcp.method.parts import (
    MaskHead,
    ReluConv,
    Residual,
    cells_of,
    cross_entropy,
    grid_of,
    mean_under,
    prior,
    spread,
)
from fcp.method.stages import BackboneOption, build_stages
from fcp.structures import BackboneFeatures

DILATIONS = (6, 12, 18)


@dataclass(frozen=True)
class BAMSupport:
    """What BAM keeps of K examples.

    Attributes:
        means: (B, K, C) masked means.
        high: (B, K, Ch, h, w) stage 4, run under the mask.
        cells: (B, K, h, w) masks on the grid, 0 … 1.
        gram: (B, K, Cf, Cf) of stage 2.
    """

    means: Tensor
    high: Tensor
    cells: Tensor
    gram: Tensor


@dataclass(frozen=True)
class BAMQuery:
    """What BAM keeps of query pictures.

    Attributes:
        features: (B, C, h, w).
        high: (B, Ch, h, w) stage 4.
        gram: (B, Cf, Cf) of stage 2.
        base: (B, classes + 1, h, w) logits of the base learner.
        size: (H, W) of the pictures.
    """

    features: Tensor
    high: Tensor
    gram: Tensor
    base: Tensor
    size: tuple[int, int]


@dataclass(frozen=True)
class EnsembleOutput(TwoLogits):
    """What BAM makes of a query.

    Attributes:
        meta: (B, 2, h, w) logits of the meta learner.
        base: (B, classes + 1, h, w) logits of the base learner.
        distance: (B,) ψ.
    """

    meta: Tensor
    base: Tensor
    distance: Tensor


class AtrousPyramid(nn.Module):
    """Look at the global mean, the cell itself and three wider neighbourhoods (ASPP)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.globally = ReluConv(width, width, bias=True)
        self.cell = ReluConv(width, width, bias=True)
        self.wider = nn.ModuleList(
            ReluConv(width, width, 3, dilation=dilation, bias=True) for dilation in DILATIONS
        )
        self.join = ReluConv((2 + len(DILATIONS)) * width, width)

    def forward(self, maps: Tensor) -> Tensor:
        """Map (B, C, h, w) to the same shape."""
        mean = self.globally(maps.mean((2, 3), keepdim=True)).expand_as(maps)
        seen = [mean, self.cell(maps), *(conv(maps) for conv in self.wider)]
        return self.join(torch.cat(seen, 1))


class BAM(TrainedMethod[BAMSupport, BAMQuery, EnsembleOutput]):
    """Base and meta learner; the Gram matrix of the backbone's finest map tells the style.

    Args:
        backbone: Image encoder, as the base learner was trained with.
        learner: Base learner; it is frozen.
        shots: K of the weighting of the shots that is learnt; other numbers of shots are averaged.
        width: C, channels of the features.
    """

    support_view = "masked stage"
    needs_base_learner = True

    def __init__(
        self,
        backbone: Backbone,
        learner: BaseLearner,
        *,
        shots: int = 1,
        width: int = 256,
    ) -> None:
        super().__init__(backbone)
        self.learner = learner.requires_grad_(False).eval()
        self.query = ReluConv(backbone.mid_channels, width)
        self.support = ReluConv(backbone.mid_channels, width)
        self.dropout = nn.Dropout2d(0.5)
        self.merge = ReluConv(2 * width + 1, width)
        self.pyramid = AtrousPyramid(width)
        self.polish = Residual(width)
        self.head = MaskHead(width)
        self.shot_weights = ShotWeights(shots)
        self.ensemble = Ensemble()

    def train(self, mode: bool = True) -> BAM:
        """Switch the meta learner; backbone and base learner stay as they are."""
        super().train(mode)
        self.learner.eval()
        return self

    def prepare_support(self, features: BackboneFeatures, masks: Tensor) -> BAMSupport:
        """Average the object's features, and measure the style of the whole pictures."""
        shape = masks.shape[:2]
        cells = cells_of(masks.flatten(0, 1), grid_of(features.mid))
        means = mean_under(self.dropout(self.support(features.mid)), cells)
        return BAMSupport(
            means=means.unflatten(0, shape),
            high=features.high.unflatten(0, shape),
            cells=cells[:, 0].unflatten(0, shape),
            gram=gram(features.mid[:, self.backbone.fine]).unflatten(0, shape),
        )

    def prepare_query(self, features: BackboneFeatures, size: tuple[int, int]) -> BAMQuery:
        """Project the query's features, measure its style, and find the base classes in it."""
        return BAMQuery(
            features=self.dropout(self.query(features.mid)),
            high=features.high,
            gram=gram(features.mid[:, self.backbone.fine]),
            base=self.learner(features.high),
            size=size,
        )

    def match(
        self, support: BAMSupport, query: BAMQuery, *, classes: Tensor | None = None
    ) -> EnsembleOutput:
        """Segment prepared queries.

        Args:
            support: Of B tasks, or of one that serves all B queries.
            query: Of B pictures.
            classes: (B,) base label of the episode's own class, which training leaves out of what
                the base learner suppresses.
        """
        support = for_queries(support, len(query.features))
        distances = style_distance(query.gram, support.gram)  # (B, K)
        weights = self.shot_weights(distances)
        prototype = (weights[..., None] * support.means).sum(1)
        priors = prior(query.high, support.high, support.cells)
        shown = (weights[..., None, None] * priors).sum(1, keepdim=True)
        distance = (weights * distances).sum(1)

        seen = [query.features, spread(prototype, grid_of(query.features)), shown]
        merged = self.pyramid(self.merge(torch.cat(seen, 1)))
        meta = self.head(self.polish(merged))
        base = base_probability(query.base, classes)
        final = self.ensemble(meta.softmax(1), base, distance)
        return EnsembleOutput(at_size(final, query.size), meta, query.base, distance)

    def losses(
        self, support: BAMSupport, query: BAMQuery, truth: TrainingTruth
    ) -> dict[str, Tensor]:
        """Cross entropy of the ensemble, the meta learner and, a constant, the base learner."""
        labels, classes = known_labels(truth)
        return ensemble_losses(self.match(support, query, classes=classes), truth, labels)


def ensemble_losses(
    output: EnsembleOutput, truth: TrainingTruth, labels: Tensor
) -> dict[str, Tensor]:
    """Return the terms of an ensemble and its two learners, and their sum as ``total``.

    Args:
        output: Output of BAM or HDMNet.
        truth: Masks of the queries.
        labels: (B, H, W) base labels of the queries.
    """
    terms = {
        "final": cross_entropy(output.logits, truth.query_masks),
        "meta": cross_entropy(output.meta, truth.query_masks),
        "base": cross_entropy(output.base, labels),
    }
    return {**terms, "total": terms["final"] + terms["meta"] + terms["base"]}


def build_bam(
    weights: str | None,
    *,
    backbone: BackboneOption = "resnet50",
    base_classes: int = 15,
    shots: int = 1,
    width: int = 256,
    learner_width: int = PYRAMID_WIDTH,
) -> BAM:
    """Build BAM, by default at its published size.

    Args:
        weights: ImageNet weights of the backbone; None for random ones.
        backbone: "resnet50" or "vgg16_bn" as published, or any other; see ``build_stages``.
        base_classes: 15 for PASCAL-5i, 60 for COCO-20i.
        shots: See ``BAM``.
        width: See ``BAM``.
        learner_width: ``width`` of the base learner.

    Raises:
        FcpError: Unknown backbone, or weights that are missing or do not fit.
    """
    stages = build_stages(backbone, weights)
    learner = BaseLearner(stages.high_channels, base_classes, learner_width)
    return BAM(stages, learner, shots=shots, width=width)
