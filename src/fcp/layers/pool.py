"""Pooling to a grid of any size, on every device."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

# Pools to divisors of a map's sides alone, and returns wrong maxima for others (pytorch issue
# 190064): there the CPU pools.
_CANNOT = ("mps",)


def mean_pool(maps: Tensor, grid: tuple[int, int]) -> Tensor:
    """Average maps (S, C, h', w') over the cells of a grid (h, w): (S, C, h, w)."""
    return _pool(F.adaptive_avg_pool2d, maps, grid)


def max_pool(maps: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return the largest values of maps (S, C, h', w') in the cells of a grid: (S, C, h, w)."""
    return _pool(F.adaptive_max_pool2d, maps, grid)


def _pool(
    pool: Callable[[Tensor, tuple[int, int]], Tensor], maps: Tensor, grid: tuple[int, int]
) -> Tensor:
    if maps.device.type in _CANNOT:
        return pool(maps.cpu(), grid).to(maps.device)
    return pool(maps, grid)
