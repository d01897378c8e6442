"""Feature enrichment: the query meets prototype and prior at several scales, fine to coarse.

Information flows from each scale to the next, coarser one (table1.md §2).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fcp.layers.grid import on_grid
from fcp.layers.pool import mean_pool
from fcp.method.parts import MaskHead, ReluConv, Residual, grid_of, spread

PASCAL_BINS = (60, 30, 15, 8)
COCO_BINS = (1.0, 0.5, 0.25, 0.125)


class Enrichment(nn.Module):
    """Merge query features, prototype and prior at each scale, and the scales with each other.

    Args:
        width: C, channels of the features.
        bins: Side of each scale in cells (int) or as a fraction of the grid's rows (float).
    """

    def __init__(self, width: int, bins: Sequence[float]) -> None:
        super().__init__()
        self.bins = tuple(bins)
        later = self.bins[1:]
        self.merge = nn.ModuleList(ReluConv(2 * width + 1, width) for _ in self.bins)
        self.from_finer = nn.ModuleList(ReluConv(2 * width, width) for _ in later)
        self.refine = nn.ModuleList(Residual(width) for _ in self.bins)
        self.heads = nn.ModuleList(MaskHead(width) for _ in self.bins)
        self.join = ReluConv(width * len(self.bins), width)
        self.polish = Residual(width)

    def forward(
        self, query: Tensor, prototype: Tensor, prior: Tensor
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Enrich the query's features.

        Args:
            query: (B, C, h, w).
            prototype: (B, C).
            prior: (B, 1, h, w) in 0 … 1.

        Returns:
            Features (B, C, h, w), and the logits (B, 2, b, b) of each scale.
        """
        grid = grid_of(query)
        enriched: list[Tensor] = []
        logits = []
        for number, bin_ in enumerate(self.bins):
            side = bin_cells(bin_, grid[0])
            pooled = mean_pool(query, (side, side))
            seen = [pooled, spread(prototype, (side, side)), on_grid(prior, (side, side))]
            merged = self.merge[number](torch.cat(seen, 1))
            if enriched:  # the finer scale is at grid size by now: it is resized twice
                finer = on_grid(enriched[-1], (side, side))
                merged = self.from_finer[number - 1](torch.cat([merged, finer], 1)) + merged
            merged = self.refine[number](merged)
            logits.append(self.heads[number](merged))
            enriched.append(on_grid(merged, grid))
        return self.polish(self.join(torch.cat(enriched, 1))), tuple(logits)


def bin_cells(bin_: float, rows: int) -> int:
    """Return a scale's side in cells; a fraction is of the grid's rows, rounded down."""
    return bin_ if isinstance(bin_, int) else max(1, int(rows * bin_))
