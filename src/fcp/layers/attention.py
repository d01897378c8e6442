"""Multi-head attention with a post-norm residual, efficient for few tokens that read many cells."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class AttentionBlock(nn.Module):
    """``x = LayerNorm(x + Attn(x, K, V))``, and the attention map on request (Eq. 2, 4, 16, 17).

    The same function as ``torch.nn.MultiheadAttention`` (whose parameter names it keeps) with the
    products in another order: q·(W_k x) = (W_kᵀ q)·x and Σ a·(W_v x) = W_v (Σ a·x). So the key and
    value projections act on N tokens, not on L cells. The key bias adds the same number to all of
    a token's scores; softmax cancels it, so it is stored (in ``in_proj_bias``) but never used.

    Args:
        width: Number C of channels of tokens, keys and values.
        heads: Number of attention heads, a divisor of ``width``.
        dropout: Dropout rate of the attention weights, in training.
        maps_after_dropout: Whether the returned map is the weights after dropout instead of the
            softmax itself.
    """

    def __init__(
        self, width: int, heads: int, *, dropout: float = 0.0, maps_after_dropout: bool = False
    ) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.maps_after_dropout = maps_after_dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.xavier_uniform_(self.out_proj.weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(
        self,
        tokens: Tensor,
        keys: Tensor,
        values: Tensor,
        *,
        excluded: Tensor | None = None,
        need_map: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Let tokens read cells.

        Args:
            tokens: Tokens (S, N, C), from which the queries are made.
            keys: Keys (S, n, C), position code included.
            values: Values (S, n, C).
            excluded: Mask (S, n) boolean of cells that no token may read; never all cells of a
                picture.
            need_map: Whether the map is returned.

        Returns:
            Tokens (S, N, C), and the attention averaged over the heads, float32 (S, N, n), or None.
        """
        heads, N = self.heads, tokens.shape[1]
        query_weight, key_weight, value_weight = self.in_proj_weight.chunk(3)  # (C, C) each
        query_bias, _, value_bias = self.in_proj_bias.chunk(3)
        query = F.linear(tokens, query_weight, query_bias).unflatten(2, (heads, -1))  # (S, N, H, d)
        key_weight = key_weight.unflatten(0, (heads, -1)) * query.shape[-1] ** -0.5  # (H, d, C)
        asked = torch.einsum("snhd,hdc->shnc", query, key_weight).flatten(1, 2)  # (S, H·N, C)

        scores = asked @ keys.mT  # (S, H·N, n)
        if excluded is not None:
            scores = scores.masked_fill(excluded[:, None], -torch.inf)
        weights = scores.softmax(2, dtype=torch.float32)
        reading = F.dropout(weights, self.dropout, self.training)

        read = (reading @ values).unflatten(1, (heads, N))  # (S, H, N, C)
        value_weight = value_weight.unflatten(0, (heads, -1))  # (H, d, C)
        answer = torch.einsum("shnc,hdc->snhd", read, value_weight)
        # A token's weights sum to 1 only until dropout; its share of the bias is their sum.
        share = reading.sum(2).unflatten(1, (heads, N)).mT[..., None]  # (S, N, H, 1)
        answer = answer + share * value_bias.unflatten(0, (heads, -1))
        updated = self.norm(tokens + self.out_proj(answer.flatten(2)))
        if not need_map:
            return updated, None
        shown = reading if self.maps_after_dropout else weights
        return updated, shown.unflatten(1, (heads, N)).mean(1)
