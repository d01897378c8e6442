"""What the head returns: its branches' results with the batch's two axes and the grids' again."""

from __future__ import annotations

import torch
from torch import Tensor

from fcp.layers.masked import spread_cells
from fcp.prototypes.query import Gathered
from fcp.structures import HeadOutput, SupportSet


def head_output(
    prompts: Tensor,
    prior: Tensor,
    found: Gathered,
    support: SupportSet,
    grid: tuple[int, int],
    *,
    with_maps: bool,
) -> HeadOutput:
    """Give the batch its two axes B, K and the cells theirs, h, w."""
    K = support.high.shape[1]
    split = (len(prompts) // K, K)
    length = grid[0] * grid[1]
    masks = torch.stack(found.masks, 1) if found.masks else prior.new_zeros(len(prior), 0, length)
    attention = found.attention
    return HeadOutput(
        prompts=prompts.unflatten(0, split),
        support_prototypes=tuple(p.expand(split[0], -1, -1, -1) for p in support.prototypes),
        query_prototypes=tuple(p.unflatten(0, split) for p in found.prototypes),
        conventional_mask=prior.unflatten(0, split).unflatten(2, grid),
        attention_masks=masks.unflatten(0, split).unflatten(3, grid),
        support_attention=support_maps(support, *split, length) if with_maps else None,
        query_attention=None if attention is None else attention.unflatten(0, split),
    )


def support_maps(support: SupportSet, batch: int, shots: int, length: int) -> Tensor:
    """Put what the support's tokens read back on the pictures' grids: (batch, K, T, N, L).

    Pooled examples count as one shot, whose cells are those of K pictures.
    """
    pictures = support.grid_mask.shape[1] // shots
    read, cells = support.attention.flatten(0, 1), support.cells.flatten(0, 1)
    spread = spread_cells(read.flatten(1, 2), cells, pictures * length)
    maps = spread.unflatten(1, read.shape[1:3]).unflatten(3, (pictures, length)).movedim(3, 1)
    maps = maps.reshape(-1, shots * pictures, *maps.shape[2:])  # (S, pictures, T, N, L) before
    return maps.expand(batch, -1, -1, -1, -1)
