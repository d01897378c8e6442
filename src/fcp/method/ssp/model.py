"""SSP, joined: prototypes of the supports → of the query itself → mask (table1.md §1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from fcp.encoders.base import Backbone
from fcp.method.base import TrainedMethod, TrainingTruth, TwoLogits, at_size, for_queries
from fcp.method.parts import cross_entropy, spread
from fcp.method.ssp.prototypes import estimates, similarity, support_prototypes
from fcp.method.stages import BackboneOption, build_stage_three
from fcp.structures import BackboneFeatures

SELF_SUPPORT_WEIGHT = 0.2


@dataclass(frozen=True)
class SSPSupport:
    """What SSP keeps of K examples.

    Attributes:
        object_: (B, C) FP, mean over the shots.
        rest: (B, C) BP likewise.
        features: (B, K, C, h, w), which only training reads.
    """

    object_: Tensor
    rest: Tensor
    features: Tensor


@dataclass(frozen=True)
class SSPQuery:
    """What SSP keeps of query pictures.

    Attributes:
        features: (B, C, h, w).
        size: (H, W) of the pictures.
    """

    features: Tensor
    size: tuple[int, int]


@dataclass(frozen=True)
class SSPOutput(TwoLogits):
    """What SSP makes of a query.

    Attributes:
        rounds: Logits (B, 2, h, w) of each round.
    """

    rounds: tuple[Tensor, ...]


class SSP(TrainedMethod[SSPSupport, SSPQuery, SSPOutput]):
    """Self-support prototypes; it has no weights of its own, training changes the backbone.

    Args:
        backbone: Image encoder.
        refine: Do a second round.
        trained: Beginnings of the names of the backbone's parameters that training changes; none
            for a frozen backbone, with which there is nothing to train.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        refine: bool = True,
        trained: tuple[str, ...] = ("layer2.", "layer3."),
    ) -> None:
        super().__init__(backbone)
        self.refine = refine
        for name, parameter in backbone.named_parameters():
            parameter.requires_grad_(name.startswith(trained))

    def prepare_support(self, features: BackboneFeatures, masks: Tensor) -> SSPSupport:
        """Average the features over object and rest, then over shots."""
        shape = masks.shape[:2]
        pair = support_prototypes(features.mid, masks.flatten(0, 1))
        object_, rest = (mean.unflatten(0, shape).mean(1) for mean in pair)
        return SSPSupport(object_, rest, features.mid.unflatten(0, shape))

    def prepare_query(self, features: BackboneFeatures, size: tuple[int, int]) -> SSPQuery:
        """Keep the query's features."""
        return SSPQuery(features.mid, size)

    def match(self, support: SSPSupport, query: SSPQuery) -> SSPOutput:
        """Segment prepared queries."""
        support = for_queries(support, len(query.features))
        found = estimates(query.features, support.object_, support.rest, refine=self.refine)
        return SSPOutput(at_size(found[-1], query.size), tuple(found))

    def losses(
        self, support: SSPSupport, query: SSPQuery, truth: TrainingTruth
    ) -> dict[str, Tensor]:
        """Cross entropy of each round (``round1``, …) and of what masks find in their own picture.

        ``self_query`` and ``self_support`` compare pictures with the prototypes of their own masks.
        """
        output = self.match(support, query)
        terms = {
            f"round{number}": cross_entropy(logits, truth.query_masks)
            for number, logits in enumerate(output.rounds, 1)
        }
        terms["self_query"] = own_loss(query.features, truth.query_masks)
        terms["self_support"] = own_loss(
            support.features.flatten(0, 1), truth.support_masks.flatten(0, 1)
        )
        total = sum(terms.values()) - (1 - SELF_SUPPORT_WEIGHT) * terms["self_support"]
        return {**terms, "total": total}


def own_loss(features: Tensor, masks: Tensor) -> Tensor:
    """Segment pictures (S, C, h, w) by the prototypes of their own masks (S, H, W): scalar."""
    object_, rest = (spread(mean, (1, 1)) for mean in support_prototypes(features, masks))
    return cross_entropy(similarity(features, object_, rest), masks)


def build_ssp(
    weights: str | None,
    *,
    backbone: BackboneOption = "resnet50",
    refine: bool = True,
    trained: Sequence[str] = ("layer2.", "layer3."),
) -> SSP:
    """Build SSP, by default at its published size.

    Args:
        weights: ImageNet weights of the backbone; None for random ones.
        backbone: "resnet50" as published, or any other, whose mid-level map is compared.
        refine: See ``SSP``; the published numbers on COCO are without.
        trained: See ``SSP``.

    Raises:
        FcpError: Unknown backbone, or weights that are missing or do not fit.
    """
    stages = build_stage_three(backbone, weights)
    return SSP(stages, refine=refine, trained=tuple(trained))
