"""Conventional pseudo mask (Eq. 5): similarity of the query to the support's foreground.

The plain form is an L×L×Ch product. Support cells outside the mask score 0, so only the n cells
inside are multiplied, and the others become a clamp at 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

COSINE_EPSILON = 1e-7
_SMALLEST_SQUARE = 1e-24  # far below the epsilon; keeps the root's gradient finite at zero


def unit_cells(cells: Tensor) -> Tensor:
    """Scale cells (S, Ch, n) to length 1, float32; a cell of zeros stays zero."""
    return cells / (_length(cells)[:, None] + COSINE_EPSILON)


def conventional_mask(support: Tensor, query: Tensor) -> Tensor:
    """Score each query cell by its best cosine similarity to the support's foreground.

    Args:
        support: Stage-4 foreground cells (B or 1, K, n, Ch), of length 1, or 0 where padded.
        query: Stage-4 cells (B, Ch, L), not normalised.

    Returns:
        Pseudo masks (B, K, L), float32 in 0 … 1.
    """
    K, n = support.shape[1:3]
    shared = support.flatten(1, 2).expand(len(query), -1, -1)  # (B, K·n, Ch)
    # Query by query: all queries' n×L products at once would be the model's peak of memory.
    best = [(s @ q).unflatten(0, (K, n)).amax(1) for s, q in zip(shared, query, strict=True)]
    # Dividing by the query's length commutes with the maximum and is cheaper after it.
    return (torch.stack(best) / (_length(query)[:, None] + COSINE_EPSILON)).clamp(min=0)


def _length(cells: Tensor) -> Tensor:
    """Return the Euclidean length (S, n) of cells (S, Ch, n), float32."""
    return cells.float().square().sum(1).clamp(min=_SMALLEST_SQUARE).sqrt()
