"""The heads' output: the pairs' results with the axes B, K of the batch and h, w of the grid."""

from __future__ import annotations

import torch
from torch import Tensor

from fcp.layers.masked import spread_cells
from fcp.method.fcp.prototypes.query import Gathered
from fcp.structures import CorrelationOutput, HeadOutput, SupportSet


def head_output(
    prompts: Tensor,
    prior: Tensor,
    found: Gathered,
    support: SupportSet,
    grid: tuple[int, int],
    *,
    correlation: CorrelationOutput | None,
    with_maps: bool,
) -> HeadOutput:
    """Unfold S = B·K pairs to B, K and L cells to h, w.

    Args:
        prompts: Prompt tokens (S, N, C).
        prior: Conventional pseudo mask (S, L).
        found: Prototypes, masks and attention of the query branch.
        support: Support of the B tasks, or of a single one for all queries.
        grid: Grid of the query (h, w).
        correlation: Result of a head with correlation, else None.
        with_maps: Whether the attention maps are returned.
    """
    K = support.high.shape[1]
    pairs = (len(prompts) // K, K)
    length = grid[0] * grid[1]
    masks = torch.stack(found.masks, 1) if found.masks else prior.new_zeros(len(prior), 0, length)
    attention = found.attention
    return HeadOutput(
        prompts=prompts.unflatten(0, pairs),
        support_prototypes=tuple(p.expand(pairs[0], -1, -1, -1) for p in support.prototypes),
        query_prototypes=tuple(p.unflatten(0, pairs) for p in found.prototypes),
        conventional_mask=prior.unflatten(0, pairs).unflatten(2, grid),
        attention_masks=masks.unflatten(0, pairs).unflatten(3, grid),
        support_attention=support_maps(support, pairs[0], length) if with_maps else None,
        query_attention=None if attention is None else attention.unflatten(0, pairs),
        correlation=correlation,
    )


def support_maps(support: SupportSet, queries: int, length: int) -> Tensor:
    """Put the support tokens' attention back on the grids of the pictures: (B, K, T, N, L).

    A pooled support has one row of cells for its K pictures, which is cut into K grids here.

    Args:
        support: Support of B tasks, or of a single one for all queries.
        queries: Number of queries B.
        length: Number of cells of a picture L.
    """
    tasks, rows, steps, tokens, _ = support.attention.shape  # rows: K, or 1 of a pooled support
    pictures = support.grid_mask.shape[1]  # K
    maps = spread_cells(  # (tasks·rows, T·N, K/rows·L)
        support.attention.flatten(0, 1).flatten(1, 2),
        support.cells.flatten(0, 1),
        pictures // rows * length,
    )
    maps = maps.view(tasks, rows, steps, tokens, pictures // rows, length)
    maps = maps.movedim(4, 2).flatten(1, 2)  # (tasks, K, T, N, L)
    return maps.expand(queries, *maps.shape[1:])
