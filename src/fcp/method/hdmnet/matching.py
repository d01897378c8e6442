"""Correlation of query and supports at each level, and the decoder over them (table1.md §4)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fcp.layers.grid import on_grid
from fcp.method.hdmnet.hierarchy import (
    DROPOUT,
    HEADS,
    MixForward,
    Projections,
    maps_of,
    mean_over,
    norm,
    scaled_cosine,
    tokens_of,
)
from fcp.method.parts import grid_of

MATCHING_HEADS = 2
TEMPERATURE = 0.1
PRIORS = 2
INNER = 256  # channels inside the decoder's blocks


class Matching(nn.Module):
    """Attention in which the keys share out among the queries, and the mask closes keys.

    The softmax runs over the queries, so that what a query reads is a sum over the keys of all
    shots, not a mean.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1 = norm(width)
        self.projections = Projections(width)
        self.dropout = nn.Dropout(DROPOUT)
        self.norm2 = norm(width)
        self.feed = MixForward(width)

    def forward(self, query: Tensor, support: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
        """Match one level.

        Args:
            query: (B, C, h, w).
            support: (B, n, C) tokens of all shots.
            inside: (B, n) 1 for tokens of the object, else 0.

        Returns:
            Maps (B, C, h, w), and the correlation (B, h, w) with the object.
        """
        grid = grid_of(query)
        tokens = tokens_of(query)
        asked, keys, names = self.norm1(tokens), self.norm1(support), self.projections
        q, k, v = (
            layer(x).unflatten(2, (MATCHING_HEADS, -1)).transpose(1, 2)  # (B, heads, ·, d)
            for layer, x in ((names.query, asked), (names.key, keys), (names.value, keys))
        )
        scores = scaled_cosine(q, k, TEMPERATURE)  # (B, heads, L, n)
        read = (scores.softmax(2) @ (v * inside[:, None, :, None])).transpose(1, 2).flatten(2)
        tokens = tokens + self.dropout(names.out(read))
        tokens = tokens + self.feed(self.norm2(tokens), grid)
        return maps_of(tokens, grid), mean_over(scores, inside).unflatten(1, grid)


class MatchingLevel(nn.Module):
    """Matching of one level, joined with the priors."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.match = Matching(width)
        self.conv = nn.Conv2d(width + PRIORS, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(
        self, query: Tensor, support: Tensor, inside: Tensor, priors: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Match; see ``Matching``. The priors are (B, 2, h₀, w₀), of the finest level."""
        matched, correlation = self.match(query, support, inside)
        seen = torch.cat([matched, on_grid(priors, grid_of(matched))], 1)
        return torch.relu(self.norm(self.conv(seen))), correlation


class MatchingBottleneck(nn.Module):
    """1×1, batch norm, 3×3, batch norm, 1×1: no ReLU between them."""

    def __init__(self, width: int, outputs: int, inner: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, inner, 1)
        self.norm1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, outputs, 1)

    def forward(self, maps: Tensor) -> Tensor:
        """Map (B, width, h, w) to (B, outputs, h, w)."""
        return self.conv3(self.norm2(self.conv2(self.norm1(self.conv1(maps)))))


class MatchingDecoder(nn.Module):
    """From the coarsest level to the finest, and to the logits of background and object."""

    def __init__(self, width: int, inner: int = INNER) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(MatchingBottleneck(width, width, inner) for _ in HEADS)
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for _ in HEADS)
        self.head = MatchingBottleneck(width, 2, inner)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Map the levels' maps, fine to coarse, to logits (B, 2, h, w) on the finest grid."""
        found = self._block(len(levels) - 1, levels[-1])
        for number in range(len(levels) - 2, -1, -1):
            size = grid_of(levels[number])
            found = F.interpolate(found, size, mode="bilinear", align_corners=False)
            found = found + self._block(number, levels[number] + found)
        return self.head(found)

    def _block(self, number: int, maps: Tensor) -> Tensor:
        return torch.relu(self.norms[number](self.blocks[number](maps)))
