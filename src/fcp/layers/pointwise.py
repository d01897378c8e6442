"""A 1×1 convolution on a list of grid cells."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class Pointwise(nn.Module):
    """1×1 convolution without bias, computed as a matrix product.

    It takes cells in any number and order, so that a support picture's background need not be
    computed; and matrix products stay float32 where accelerators compute convolutions in TF32.

    Args:
        in_channels: Number of channels of an input cell.
        out_channels: Number of channels of an output cell.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))  # as torch.nn.Conv2d does

    def forward(self, cells: Tensor) -> Tensor:
        """Map (S, in_channels, n) to (S, out_channels, n)."""
        return mix_channels(self.weight, cells)


def mix_channels(weight: Tensor, cells: Tensor) -> Tensor:
    """Multiply a matrix (C', C) by the channels of cells (S, C, n): (S, C', n)."""
    # The batched product keeps the layout; a plain one would fold S into n and copy both ways.
    return torch.bmm(weight.expand(len(cells), -1, -1), cells)
