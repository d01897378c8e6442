"""Equations and layers that several compared methods share (table1.md §0).

Letters: B batch, K shots, C channels, h w grid, H W picture, L = h·w. Masks hold 1 for the object,
0 for the rest and 255 for pixels that do not count.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fcp.config import IGNORE
from fcp.layers.grid import on_grid
from fcp.layers.masked import MEAN_EPSILON, masked_mean

COSINE_EPSILON = 1e-7
STRETCH_EPSILON = 1e-7


def grid_of(maps: Tensor) -> tuple[int, int]:
    """Return rows and columns of maps (…, h, w)."""
    return maps.shape[-2], maps.shape[-1]


def cells_of(masks: Tensor, grid: tuple[int, int], value: int = 1) -> Tensor:
    """Bring the pixels of one value in masks (S, H, W) to a grid, bilinearly: (S, 1, h, w)."""
    return on_grid((masks == value).float()[:, None], grid)


def nearest_cells(masks: Tensor, grid: tuple[int, int]) -> Tensor:
    """Bring the object of masks (S, H, W) to a grid: (S, 1, h, w) 0 or 1.

    Cell i reads pixel floor(i·H/h).
    """
    return F.interpolate((masks == 1).float()[:, None], grid, mode="nearest")


def mean_under(maps: Tensor, cells: Tensor, epsilon: float = MEAN_EPSILON) -> Tensor:
    """Average maps (S, C, h, w) under weights (S, 1, h, w): Σ X·M / (Σ M + ε), (S, C)."""
    return masked_mean(maps.flatten(2), cells.flatten(1), epsilon)


def best_cosine(query: Tensor, support: Tensor, cells: Tensor) -> Tensor:
    """Score each query cell by its best cosine similarity to any support cell under the mask.

    Support cells outside the mask score 0, so that only those inside are multiplied.

    Args:
        query: (B, C, h, w).
        support: (B, K, C, h, w), not yet under the mask.
        cells: (B, K, h, w) mask on the grid, 0 … 1.

    Returns:
        (B, K, h, w) float32.
    """
    rows = query.flatten(2).float(), support.flatten(3).float(), cells.flatten(2)
    with torch.autocast(query.device.type, enabled=False):  # else the products are rounded again
        scores = [
            torch.stack([_best(q, s, m) for s, m in zip(shots, masks, strict=True)])
            for q, shots, masks in zip(*rows, strict=True)
        ]
    return torch.stack(scores).unflatten(2, grid_of(query))


def _best(query: Tensor, support: Tensor, weights: Tensor) -> Tensor:
    """Score the cells (C, L) of one query by those (C, L) of one support under weights (L,)."""
    inside = weights > 0
    kept = (support * weights)[:, inside]  # (C, n)
    if not kept.shape[1]:
        return query.new_zeros(query.shape[1])
    lengths = kept.norm(dim=0)[:, None] * query.norm(dim=0)
    best = ((kept.mT @ query) / (lengths + COSINE_EPSILON)).amax(0)
    return best if inside.all() else best.clamp(min=0)


def stretch(maps: Tensor) -> Tensor:
    """Bring each map (…, h, w) to 0 … 1: (x − min) / (max − min + 1e-7)."""
    low, high = maps.amin((-2, -1), keepdim=True), maps.amax((-2, -1), keepdim=True)
    return (maps - low) / (high - low + STRETCH_EPSILON)


def prior(query: Tensor, support: Tensor, cells: Tensor) -> Tensor:
    """Return ``best_cosine`` stretched to 0 … 1, per picture and shot: (B, K, h, w)."""
    return stretch(best_cosine(query, support, cells))


def spread(vectors: Tensor, grid: tuple[int, int]) -> Tensor:
    """Repeat vectors (S, C) at each cell: (S, C, h, w)."""
    return vectors[:, :, None, None].expand(-1, -1, *grid)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Compare logits (S, n, h, w) with labels (S, H, W), at the labels' size: scalar.

    The mean over all pixels but those of value 255; 0 where there are no others.
    """
    logits = on_grid(logits.float(), grid_of(labels))
    total = F.cross_entropy(logits, labels.long(), ignore_index=IGNORE, reduction="sum")
    return total / (labels != IGNORE).sum().clamp(min=1)


class ReluConv(nn.Conv2d):
    """Convolution that keeps the grid, followed by ReLU.

    Args:
        inputs: Channels that come in.
        outputs: Channels that go out.
        size: Side of the kernel, odd.
        dilation: Spacing of the kernel's points.
        bias: Add a bias.
    """

    def __init__(
        self, inputs: int, outputs: int, size: int = 1, *, dilation: int = 1, bias: bool = False
    ) -> None:
        padding = dilation * (size // 2)
        super().__init__(inputs, outputs, size, padding=padding, dilation=dilation, bias=bias)

    def forward(self, maps: Tensor) -> Tensor:
        """Map (S, inputs, h, w) to (S, outputs, h, w)."""
        return torch.relu(super().forward(maps))


class Residual(nn.Module):
    """Two 3×3 convolutions with ReLU beside a shortcut: R(x) + x."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = ReluConv(width, width, 3)
        self.second = ReluConv(width, width, 3)

    def forward(self, maps: Tensor) -> Tensor:
        """Map (S, C, h, w) to the same shape."""
        return self.second(self.first(maps)) + maps


class MaskHead(nn.Module):
    """Background and object logits of each cell: 3×3 with ReLU, Dropout2d 0.1, 1×1."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix = ReluConv(width, width, 3)
        self.dropout = nn.Dropout2d(0.1)
        self.score = nn.Conv2d(width, 2, 1)

    def forward(self, maps: Tensor) -> Tensor:
        """Map (S, C, h, w) to (S, 2, h, w)."""
        return self.score(self.dropout(self.mix(maps)))
