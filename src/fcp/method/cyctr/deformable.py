"""Self-attention of the query that reads few cells, at learnt places (arXiv 2010.04159).

Letters: B batch, C channels, h w grid, L = h·w, d channels of a head.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

POINTS = 9
TEMPERATURE = 10000.0
COUNT_EPSILON = 1e-6


def position_code(padded: Tensor, channels: int) -> Tensor:
    """Return the sine code (B, L, channels) of each cell: first half from y, second from x.

    A coordinate is the share of the cells without padding up to there, times 2π; sine and cosine
    of one frequency alternate.

    Args:
        padded: (B, h, w) True where the picture has no pixels.
        channels: A multiple of 4.
    """
    half = channels // 2
    pair = torch.arange(half // 2, device=padded.device)
    scale = 2 * math.pi / TEMPERATURE ** (2 * pair / half)
    codes = []
    for axis in (1, 2):
        count = (~padded).cumsum(axis).float()
        share = count / (count.select(axis, -1).unsqueeze(axis) + COUNT_EPSILON)
        angles = share[..., None] * scale  # (B, h, w, half/2)
        codes.append(torch.stack([angles.sin(), angles.cos()], -1).flatten(3))
    return torch.cat(codes, 3).flatten(1, 2)


class DeformableAttention(nn.Module):
    """Each token reads ``POINTS`` places per head, between cells, around its own cell.

    Args:
        width: C.
        heads: Attention heads, a divisor of ``width``.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.offsets = nn.Linear(width, heads * POINTS * 2)
        self.weights = nn.Linear(width, heads * POINTS)
        self.value = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self._start_with_neighbours()

    def _start_with_neighbours(self) -> None:
        """Let each head begin with the cell and its eight neighbours, all alike."""
        steps = torch.arange(-1.0, 2.0)
        around = torch.cartesian_prod(steps, steps).flip(1)  # (9, 2) of x, y
        with torch.no_grad():
            for layer in (self.offsets, self.weights):
                layer.weight.zero_()
                layer.bias.zero_()
            self.offsets.bias.copy_(around.flatten().repeat(self.heads))

    def forward(self, tokens: Tensor, code: Tensor, padded: Tensor) -> Tensor:
        """Map tokens (B, L, C) to the same shape.

        Args:
            tokens: Those that ask and are read.
            code: (B, L, C) position code, added to what asks only.
            padded: (B, h, w) cells that read as 0.
        """
        B, h, w = padded.shape
        asked, shape = tokens + code, (self.heads, POINTS)
        offsets = self.offsets(asked).unflatten(2, (*shape, 2))  # (B, L, heads, points, x y)
        shares = self.weights(asked).unflatten(2, shape).softmax(3)
        values = self.value(tokens).masked_fill(padded.flatten(1)[..., None], 0)
        maps = values.mT.unflatten(1, (self.heads, -1)).flatten(0, 1).unflatten(2, (h, w))

        places = 2 * (cell_centres(h, w, tokens) + offsets) / offsets.new_tensor([w, h]) - 1
        places = places.transpose(1, 2).flatten(0, 1)  # (B·heads, L, points, 2)
        read = F.grid_sample(maps, places, align_corners=False)  # (B·heads, d, L, points)
        shares = shares.transpose(1, 2).flatten(0, 1)[:, None]
        answer = (read * shares).sum(3)  # (B·heads, d, L)
        return self.out(answer.unflatten(0, (B, self.heads)).flatten(1, 2).mT)


def cell_centres(height: int, width: int, like: Tensor) -> Tensor:
    """Return x and y of each cell's centre, in cells: (L, 1, 1, 2)."""
    y = torch.arange(height, device=like.device, dtype=like.dtype) + 0.5
    x = torch.arange(width, device=like.device, dtype=like.dtype) + 0.5
    return torch.cartesian_prod(y, x).flip(1)[:, None, None]
