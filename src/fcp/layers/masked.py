"""Arithmetic under a mask, as pure functions: masks on the grid, foreground cells, means, min-max.

Letters: S pictures (B·K), C channels, h w grid, L = h·w, n cells kept.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fcp.errors import FcpError
from fcp.layers.pool import max_pool, mean_pool

MEAN_EPSILON = 5e-4
MIN_MAX_EPSILON = 1e-9


def mask_to_grid(masks: Tensor, grid: tuple[int, int]) -> Tensor:
    """Resize masks (S, H, W), 0 or 1, to the grid: boolean (S, h, w).

    Nearest neighbour (512 → 64: cell i reads row 8i). Of a mask that vanishes by this, every cell
    that it touches is set instead. A mask without any foreground stays empty.
    """
    masks = masks.float()[:, None]
    nearest = F.interpolate(masks, grid, mode="nearest")[:, 0] > 0
    touched = touched_cells(masks[:, 0], grid)
    vanished = ~nearest.flatten(1).any(1)
    return torch.where(vanished[:, None, None], touched, nearest)


def touched_cells(masks: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return the cells (S, h, w) of which any pixel of masks (S, H, W) is set, boolean."""
    return max_pool(masks.float()[:, None], grid)[:, 0] > 0


def refuse_empty(marked: Tensor) -> None:
    """Raise for the first of the examples' masks (B, K, …), boolean, that marks nothing.

    Raises:
        FcpError: names its place.
    """
    empty = (~marked.flatten(2).any(2)).nonzero()
    if len(empty):
        task, shot = empty[0].tolist()
        raise FcpError(
            f"support_masks[{task}, {shot}]: the mask is empty; mark the object in it, "
            "or leave this example out"
        )


def mask_to_share(masks: Tensor, grid: tuple[int, int]) -> Tensor:
    """Resize maps (B, H, W) to the grid by area, as cells in reading order: (B, L)."""
    return mean_pool(masks[:, None], grid).flatten(1)


def foreground_cells(mask: Tensor) -> tuple[Tensor, Tensor]:
    """List the foreground cells of each picture, padded to the longest list of the batch.

    Args:
        mask: Mask (S, L) boolean.

    Returns:
        index: Distinct cells (S, n), the foreground first, in reading order. inside: Boolean (S,
        n), False where the list is padded with background cells.
    """
    longest = int(mask.sum(1).max())
    index = (~mask).long().argsort(dim=1, stable=True)[:, :longest]
    return index, mask.gather(1, index)


def take_cells(maps: Tensor, index: Tensor) -> Tensor:
    """Keep the listed cells of maps (S, C, L): (S, C, n). ``spread_cells`` is the inverse."""
    return maps.gather(2, index[:, None].expand(-1, maps.shape[1], -1))


def spread_cells(cells: Tensor, index: Tensor, length: int) -> Tensor:
    """Put cells (S, C, n) back where ``take_cells`` found them: (S, C, L), 0 elsewhere."""
    index = index[:, None].expand_as(cells)
    return cells.new_zeros(*cells.shape[:2], length).scatter(2, index, cells)


def pool_cells(maps: Tensor, shots: int) -> Tensor:
    """Put the cells of a task's K pictures in one row: (B·K, …, L) → (B, …, K·L)."""
    return maps.unflatten(0, (-1, shots)).movedim(1, -2).flatten(-2)


def masked_mean(cells: Tensor, inside: Tensor, epsilon: float = MEAN_EPSILON) -> Tensor:
    """Average cells (S, C, n) over those inside (S, n): Σ X·M / (Σ M + ε), float32 (S, C)."""
    weights = inside.float()
    total = (cells.float() * weights[:, None]).sum(2)
    return total / (weights.sum(1, keepdim=True) + epsilon)


def min_max(maps: Tensor) -> Tensor:
    """Stretch each map (…, L) to 0 … 1; a constant map becomes 0."""
    low, high = maps.aminmax(dim=-1, keepdim=True)
    return (maps - low) / (high - low + MIN_MAX_EPSILON)
