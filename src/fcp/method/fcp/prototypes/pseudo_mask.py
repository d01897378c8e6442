"""Attention-based pseudo mask (Eq. 8): the cells that the query's tokens attend to."""

from __future__ import annotations

from torch import Tensor

from fcp.layers.masked import min_max


def attention_mask(attention: Tensor) -> Tensor:
    """Turn the head-averaged attention of a step (S, N, L) into a mask (S, L) in 0 … 1.

    Each token's map is stretched to 0 … 1 over the cells; a cell gets the maximum over the tokens.
    """
    return min_max(attention).amax(1)
