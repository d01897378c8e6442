"""How alike support and query are in style, and what base and meta learner say together.

Equations of table1.md §3, which HDMNet shares.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fcp.method.parts import ReluConv, grid_of, spread

GRAM_EPSILON = 1e-7


def gram(maps: Tensor) -> Tensor:
    """Compare the channels of maps (S, C, h, w): their cosines (S, C, C)."""
    rows = maps.flatten(2).float()
    lengths = rows.norm(dim=2, keepdim=True)
    with torch.autocast(maps.device.type, enabled=False):  # else the products are rounded again
        return rows @ rows.mT / (lengths * lengths.mT + GRAM_EPSILON)


def style_distance(query: Tensor, support: Tensor) -> Tensor:
    """Measure ψ between Gram matrices (B, C, C) and (B, K, C, C): ‖·‖_F / C, (B, K)."""
    return (query[:, None] - support).norm(dim=(2, 3)) / query.shape[-1]


class ShotWeights(nn.Module):
    """Weigh K shots by their distances in ascending order.

    Args:
        shots: K; with any other number of shots, all weigh the same.
        unsort: Give each weight to the shot that it was made for.
    """

    def __init__(self, shots: int, *, unsort: bool = True) -> None:
        super().__init__()
        self.shots, self.unsort = shots, unsort
        if shots > 1:
            self.first = ReluConv(shots, 2, bias=True)
            self.second = nn.Conv2d(2, shots, 1)

    def forward(self, distances: Tensor) -> Tensor:
        """Map distances (B, K) to weights (B, K) of sum 1."""
        if self.shots == 1 or distances.shape[1] != self.shots:
            return torch.full_like(distances, 1 / distances.shape[1])
        ascending, order = distances.sort(1)
        scores = self.second(self.first(ascending[..., None, None])).flatten(1)
        if self.unsort:
            scores = scores.gather(1, order.argsort(1))
        return scores.softmax(1)


class Ensemble(nn.Module):
    """Lift the background by what the base learner knows, each learner weighed by a number."""

    def __init__(self) -> None:
        super().__init__()
        self.adjust = nn.Conv2d(2, 1, 1, bias=False)  # a: of probability and ψ
        self.suppress = nn.Conv2d(2, 1, 1, bias=False)  # c: of background and base classes
        for conv in (self.adjust, self.suppress):
            with torch.no_grad():
                conv.weight.copy_(torch.tensor([1.0, 0.0]).view(1, 2, 1, 1))

    def forward(self, meta: Tensor, base: Tensor, distance: Tensor) -> Tensor:
        """Join both learners.

        Args:
            meta: (B, 2, h, w) probability of background and object.
            base: (B, 1, h, w) probability of any base class.
            distance: (B,) ψ.

        Returns:
            (B, 2, h, w), used as logits as they are.
        """
        shown = spread(distance[:, None], grid_of(meta))
        background, object_ = (
            self.adjust(torch.cat([part, shown], 1)) for part in meta.split(1, dim=1)
        )
        return torch.cat([self.suppress(torch.cat([background, base], 1)), object_], 1)


def base_probability(logits: Tensor, classes: Tensor | None) -> Tensor:
    """Sum the probability of the base classes.

    Args:
        logits: (B, classes + 1, h, w), background first.
        classes: (B,) label of a class that is left out, 1 or more; None for none.

    Returns:
        (B, 1, h, w).
    """
    counted = logits.float().softmax(1)[:, 1:]
    if classes is not None:
        ranks = torch.arange(1, logits.shape[1], device=logits.device)
        counted = counted * (ranks != classes[:, None])[..., None, None]
    return counted.sum(1, keepdim=True)
