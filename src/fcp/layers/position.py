"""Sine position code of a grid (Carion et al. 2020, arXiv 2005.12872, as method.md §3 sets it)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

TEMPERATURE = 10000.0
EPSILON = 1e-6


def sine_position(
    channels: int, grid: tuple[int, int], device: torch.device | None = None
) -> Tensor:
    """Return the code (C, h, w) of each cell, in -1 … 1: first half from y, second half from x.

    Within a half, sine and cosine of the same frequency alternate.

    Args:
        channels: Number C of channels, a multiple of 4.
        grid: Grid size (h, w).
        device: Device of the code; None for torch's default.
    """
    height, width = grid
    half = channels // 2
    y = _axis_code(half, height, device)[:, :, None].expand(half, height, width)
    x = _axis_code(half, width, device)[:, None, :].expand(half, height, width)
    return torch.cat([y, x])


def _axis_code(channels: int, length: int, device: torch.device | None) -> Tensor:
    """Return (channels, length): coordinates 1 … length scaled to 2π, at each frequency."""
    coordinates = torch.arange(1, length + 1, dtype=torch.float32, device=device)
    coordinates = coordinates * (2 * math.pi / (length + EPSILON))
    pair = torch.arange(channels // 2, dtype=torch.float32, device=device)
    angles = coordinates / TEMPERATURE ** (2 * pair[:, None] / channels)  # (channels/2, length)
    return torch.stack([angles.sin(), angles.cos()], dim=1).flatten(0, 1)
