"""Folding: a query and a shot are a pair, and B queries with K shots are S = B·K pairs."""

from __future__ import annotations

from torch import Tensor


def repeat_query(values: Tensor, shots: int) -> Tensor:
    """Repeat each query's values for each shot: (B, …) → (B·K, …); no copy if B or K is 1."""
    return values[:, None].expand(-1, shots, *values.shape[1:]).flatten(0, 1)


def repeat_support(values: Tensor, queries: int) -> Tensor:
    """Repeat the shots for each query: (B or 1, K, …) → (B·K, …); one task serves all queries."""
    return values.expand(queries, *values.shape[1:]).flatten(0, 1)
