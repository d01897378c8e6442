"""Feature maps of several encoders on one grid."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def on_grid(maps: Tensor, grid: tuple[int, int]) -> Tensor:
    """Bring maps (S, C, h', w') to a grid (h, w) if theirs is another: bilinear, corners kept."""
    if maps.shape[-2:] == grid:
        return maps
    # With the channels last the CPU's kernel is four times as fast.
    maps = maps.contiguous(memory_format=torch.channels_last)
    return F.interpolate(maps, grid, mode="bilinear", align_corners=True)
