"""HDMNet, joined: hierarchies → matching → decoder → BAM's ensemble → mask (table1.md §4)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fcp.encoders.base import Backbone
from fcp.method.bam.base_learner import PYRAMID_WIDTH, BaseLearner
from fcp.method.bam.ensemble import Ensemble, ShotWeights, base_probability, gram, style_distance
from fcp.method.bam.model import EnsembleOutput, ensemble_losses
from fcp.method.base import TrainedMethod, TrainingTruth, at_size, for_queries, known_labels
from fcp.method.hdmnet.distillation import distillation_loss
from fcp.method.hdmnet.hierarchy import Hierarchy, tokens_of
from fcp.method.hdmnet.matching import INNER, PRIORS, MatchingDecoder, MatchingLevel
from fcp.method.parts import (
    ReluConv,
    best_cosine,
    cells_of,
    grid_of,
    mean_under,
    nearest_cells,
    spread,
)
from fcp.method.stages import BackboneOption, build_stages
from fcp.structures import BackboneFeatures

PRIOR_FACTOR = 10
DISTILLATION_WEIGHT = 1 / 3


@dataclass(frozen=True)
class HDMNetSupport:
    """What HDMNet keeps of K examples.

    Attributes:
        prototype: (B, C) mean over the shots of the masked means.
        high: Stages 5 and 4 of the masked pictures, (B, K, ·, h, w) each.
        cells: (B, K, h, w) masks on the grid, 0 or 1.
        gram: (B, K, Cf, Cf) of stage 2.
        tokens: (B, K·L, c) of each level, fine to coarse.
        inside: (B, K·L) 0 or 1, of each level.
    """

    prototype: Tensor
    high: tuple[Tensor, Tensor]
    cells: Tensor
    gram: Tensor
    tokens: tuple[Tensor, ...]
    inside: tuple[Tensor, ...]


@dataclass(frozen=True)
class HDMNetQuery:
    """What HDMNet keeps of query pictures.

    Attributes:
        features: (B, C, h, w).
        high: Stages 5 and 4, (B, ·, h, w) each.
        gram: (B, Cf, Cf) of stage 2.
        base: (B, classes + 1, h, w) logits of the base learner.
        size: (H, W) of the pictures.
    """

    features: Tensor
    high: tuple[Tensor, Tensor]
    gram: Tensor
    base: Tensor
    size: tuple[int, int]


@dataclass(frozen=True)
class HDMNetOutput(EnsembleOutput):
    """What HDMNet makes of a query.

    Attributes:
        correlations: (B, h, w) of each level, fine to coarse.
    """

    correlations: tuple[Tensor, ...]


class HDMNet(TrainedMethod[HDMNetSupport, HDMNetQuery, HDMNetOutput]):
    """Hierarchically decoupled matching network.

    Args:
        backbone: Image encoder, as the base learner was trained with.
        learner: Base learner; it is frozen.
        shots: See ``BAM``.
        width: C, channels of the features.
        token_width: Channels of the tokens, a multiple of 8.
        inner: Channels inside the decoder's blocks.
        released: As in the authors' program, the batch norms of matching and decoder keep their
            statistics in training, the weighting of the shots is not trained, and its weights stay
            in the order of the distances.
    """

    support_view = "masked picture"
    needs_base_learner = True

    def __init__(
        self,
        backbone: Backbone,
        learner: BaseLearner,
        *,
        shots: int = 1,
        width: int = 256,
        token_width: int = 64,
        inner: int = INNER,
        released: bool = False,
    ) -> None:
        super().__init__(backbone)
        self.learner = learner.requires_grad_(False).eval()
        self.released = released
        self.query = ReluConv(backbone.mid_channels, width)
        self.support = ReluConv(backbone.mid_channels, width)
        self.dropout = nn.Dropout2d(0.5)
        self.merge_query = ReluConv(2 * width + PRIORS, token_width)
        self.merge_support = ReluConv(2 * width, token_width)
        self.hierarchy = Hierarchy(token_width)
        self.matching = nn.ModuleList(MatchingLevel(token_width) for _ in self.hierarchy.levels)
        self.decoder = MatchingDecoder(token_width, inner)
        self.shot_weights = ShotWeights(shots, unsort=not released)
        self.shot_weights.requires_grad_(not released)
        self.ensemble = Ensemble()

    def train(self, mode: bool = True) -> HDMNet:
        """Switch the meta learner; see ``released`` for its batch norms."""
        super().train(mode)
        self.learner.eval()
        if self.released:
            for module in (*self.matching.modules(), *self.decoder.modules()):
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def prepare_support(self, features: BackboneFeatures, masks: Tensor) -> HDMNetSupport:
        """Average the object's features, and make the tokens of all levels."""
        shape, flat = masks.shape[:2], masks.flatten(0, 1)
        grid = grid_of(features.mid)
        projected = self.dropout(self.support(features.mid))
        means = mean_under(projected, cells_of(flat, grid))
        maps = self.merge_support(torch.cat([projected, spread(means, grid)], 1))
        levels = self.hierarchy(maps)
        inside = [nearest_cells(flat, grid_of(level)).flatten(1) for level in levels]
        high = (self.learner.stage5(features.high), features.high)
        return HDMNetSupport(
            prototype=means.unflatten(0, shape).mean(1),
            high=(high[0].unflatten(0, shape), high[1].unflatten(0, shape)),
            cells=nearest_cells(flat, grid)[:, 0].unflatten(0, shape),
            gram=gram(features.mid[:, self.backbone.fine]).unflatten(0, shape),
            tokens=tuple(tokens_of(x).unflatten(0, shape).flatten(1, 2) for x in levels),
            inside=tuple(x.unflatten(0, shape).flatten(1) for x in inside),
        )

    def prepare_query(self, features: BackboneFeatures, size: tuple[int, int]) -> HDMNetQuery:
        """Project the query's features, measure its style, and find the base classes in it."""
        stage5 = self.learner.stage5(features.high)
        return HDMNetQuery(
            features=self.dropout(self.query(features.mid)),
            high=(stage5, features.high),
            gram=gram(features.mid[:, self.backbone.fine]),
            base=self.learner.classify(stage5),
            size=size,
        )

    def match(
        self, support: HDMNetSupport, query: HDMNetQuery, *, classes: Tensor | None = None
    ) -> HDMNetOutput:
        """Segment prepared queries.

        Args:
            support: Of B tasks, or of one that serves all B queries.
            query: Of B pictures.
            classes: See ``BAM.match``.
        """
        support = for_queries(support, len(query.features))
        priors = torch.stack(
            [
                best_cosine(ours, theirs, support.cells).mean(1)
                for ours, theirs in zip(query.high, support.high, strict=True)
            ],
            1,
        )  # (B, 2, h, w)
        prototype = spread(support.prototype, grid_of(priors))
        seen = torch.cat([query.features, prototype, PRIOR_FACTOR * priors], 1)
        levels = self.hierarchy(self.merge_query(seen))
        matched = [
            match(level, tokens, inside, priors)
            for match, level, tokens, inside in zip(
                self.matching, levels, support.tokens, support.inside, strict=True
            )
        ]
        meta = self.decoder([maps for maps, _ in matched])

        distances = style_distance(query.gram, support.gram)
        distance = (self.shot_weights(distances) * distances).sum(1)
        base = base_probability(query.base, classes)
        final = self.ensemble(meta.softmax(1), base, distance)
        correlations = tuple(correlation for _, correlation in matched)
        return HDMNetOutput(at_size(final, query.size), meta, query.base, distance, correlations)

    def losses(
        self, support: HDMNetSupport, query: HDMNetQuery, truth: TrainingTruth
    ) -> dict[str, Tensor]:
        """BAM's terms and ``distillation``, the divergence between levels."""
        labels, classes = known_labels(truth)
        output = self.match(support, query, classes=classes)
        terms = ensemble_losses(output, truth, labels)
        distillation = distillation_loss(output.correlations, truth.query_masks)
        total = terms["total"] + DISTILLATION_WEIGHT * distillation
        return {**terms, "distillation": distillation, "total": total}


def build_hdmnet(
    weights: str | None,
    *,
    backbone: BackboneOption = "resnet50",
    base_classes: int = 15,
    shots: int = 1,
    width: int = 256,
    learner_width: int = PYRAMID_WIDTH,
    released: bool = False,
) -> HDMNet:
    """Build HDMNet, by default at its published size; see ``fcp.method.bam.model.build_bam``.

    Args:
        weights: ImageNet weights of the backbone; None for random ones.
        backbone: "resnet50" or "vgg16_bn" as published, or any other; see ``build_stages``.
        base_classes: 15 for PASCAL-5i, 60 for COCO-20i.
        shots: See ``HDMNet``.
        width: See ``HDMNet``.
        learner_width: ``width`` of the base learner.
        released: See ``HDMNet``.

    Raises:
        FcpError: Unknown backbone, or weights that are missing or do not fit.
    """
    stages = build_stages(backbone, weights)
    learner = BaseLearner(stages.high_channels, base_classes, learner_width)
    return HDMNet(stages, learner, shots=shots, width=width, released=released)
