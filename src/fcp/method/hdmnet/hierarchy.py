"""Tokens of a picture at three levels, fine to coarse, by self-attention (table1.md §4).

Letters: S pictures, C channels, h w grid of the level, L = h·w.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HEADS = (2, 4, 8)
SHRINK = (4, 2, 1)  # side of the square of cells that make a key, per level
BLOCKS = 2
EXPANSION = 4
DROPOUT = 0.1
NORM_EPSILON = 1e-6


def tokens_of(maps: Tensor) -> Tensor:
    """Turn maps (S, C, h, w) into tokens (S, L, C). ``maps_of`` is the inverse."""
    return maps.flatten(2).mT


def maps_of(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """Turn tokens (S, L, C) into maps (S, C, h, w)."""
    return tokens.mT.unflatten(2, grid)


def norm(width: int) -> nn.LayerNorm:
    """Build a layer norm with the method's epsilon."""
    return nn.LayerNorm(width, eps=NORM_EPSILON)


class Projections(nn.Module):
    """Matrices of an attention, without bias."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, width, bias=False)


class MixForward(nn.Module):
    """1×1 convolution, depthwise 3×3, GELU, 1×1 convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = width * EXPANSION
        self.expand = nn.Conv2d(width, inner, 1)
        self.depthwise = nn.Conv2d(inner, inner, 3, padding=1, groups=inner)
        self.reduce = nn.Conv2d(inner, width, 1)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Map tokens (S, L, C) to the same shape."""
        maps = F.gelu(self.depthwise(self.expand(maps_of(tokens, grid))))
        return tokens_of(self.dropout(self.reduce(self.dropout(maps))))


class SelfAttention(nn.Module):
    """Attention of each token to squares of tokens.

    Args:
        width: C.
        heads: Attention heads, a divisor of ``width``.
        shrink: Side of the square of cells that make a key; 1 for each cell.
    """

    def __init__(self, width: int, heads: int, shrink: int) -> None:
        super().__init__()
        self.heads = heads
        self.projections = Projections(width)
        self.shrink = nn.Conv2d(width, width, shrink, stride=shrink) if shrink > 1 else None
        self.norm = norm(width) if shrink > 1 else None
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Map tokens (S, L, C) to the same shape."""
        keys = tokens
        if self.shrink is not None and self.norm is not None:
            keys = self.norm(tokens_of(self.shrink(maps_of(tokens, grid))))
        names = self.projections
        q, k, v = (
            layer(x).unflatten(2, (self.heads, -1)).transpose(1, 2)  # (S, heads, L, d)
            for layer, x in ((names.query, tokens), (names.key, keys), (names.value, keys))
        )
        read = F.scaled_dot_product_attention(q, k, v)
        return self.dropout(names.out(read.transpose(1, 2).flatten(2)))


class Block(nn.Module):
    """Pre-norm block: x += Attn(LN x); x += FFN(LN x)."""

    def __init__(self, width: int, heads: int, shrink: int) -> None:
        super().__init__()
        self.norm1 = norm(width)
        self.attention = SelfAttention(width, heads, shrink)
        self.norm2 = norm(width)
        self.feed = MixForward(width)

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Map tokens (S, L, C) to the same shape."""
        tokens = tokens + self.attention(self.norm1(tokens), grid)
        return tokens + self.feed(self.norm2(tokens), grid)


class Level(nn.Module):
    """One level: convolution (strided but at the first level), blocks, norms around them.

    Args:
        width: C.
        number: Of the level, from 0.
    """

    def __init__(self, width: int, number: int) -> None:
        super().__init__()
        self.project = (
            nn.Conv2d(width, width, 3, stride=2, padding=1)
            if number
            else nn.Conv2d(width, width, 1)
        )
        self.norm_in = norm(width)
        self.blocks = nn.ModuleList(
            Block(width, HEADS[number], SHRINK[number]) for _ in range(BLOCKS)
        )
        self.norm_out = norm(width)

    def forward(self, maps: Tensor) -> Tensor:
        """Map (S, C, h, w) to this level's (S, C, h', w')."""
        maps = self.project(maps)
        grid = (maps.shape[-2], maps.shape[-1])
        tokens = self.norm_in(tokens_of(maps))
        for block in self.blocks:
            tokens = block(tokens, grid)
        return maps_of(self.norm_out(tokens), grid)


class Hierarchy(nn.Module):
    """The levels, each of which goes on from the one before."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList(Level(width, number) for number in range(len(HEADS)))

    def forward(self, maps: Tensor) -> tuple[Tensor, ...]:
        """Map (S, C, h, w) to the maps of each level, fine to coarse."""
        found = []
        for level in self.levels:
            maps = level(maps)
            found.append(maps)
        return tuple(found)


def scaled_cosine(query: Tensor, key: Tensor, temperature: float) -> Tensor:
    """Compare tokens (S, heads, L, d) with (S, heads, n, d): cosine / temperature."""
    return F.normalize(query, dim=-1) @ F.normalize(key, dim=-1).mT / temperature


def mean_over(scores: Tensor, inside: Tensor) -> Tensor:
    """Average scores (S, heads, L, n) over the keys inside (S, n) and over heads: (S, L)."""
    weights = inside / (inside.sum(1, keepdim=True) + 1e-9)
    return torch.einsum("shln,sn->shl", scores, weights).mean(1)
