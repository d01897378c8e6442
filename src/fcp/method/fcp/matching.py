"""The right of Figure 3: support tokens attend to the query and become prompt tokens (Eq. 12)."""

from __future__ import annotations

from torch import Tensor, nn

from fcp.layers.attention import AttentionBlock


class PrototypeMatching(nn.Module):
    """Matching of FCP: support prototypes attend to the query's prototypes.

    Args:
        width: Number of channels C.
        heads: Number of attention heads.
        dropout: Probability of dropout on the cross-attention.
    """

    def __init__(self, width: int, heads: int, *, dropout: float) -> None:
        super().__init__()
        self.cross_attention = AttentionBlock(width, heads, dropout=dropout)
        self.self_attention = AttentionBlock(width, heads)

    def forward(self, support: Tensor, query: Tensor) -> Tensor:
        """Match prototypes of support and query, both (S, N, C), to prompts (S, N, C)."""
        matched, _ = self.cross_attention(support, query, query)
        prompts, _ = self.self_attention(matched, matched, matched)
        return prompts


class PixelMatching(nn.Module):
    """Matching of VRP-SAM, the baseline: support tokens attend to the query's guided pixels.

    Args:
        width: Number of channels C.
        heads: Number of attention heads.
        dropout: Probability of dropout on the attention to the pixels.
        maps_after_dropout: Whether the returned map includes the dropout; see ``AttentionBlock``.
    """

    def __init__(self, width: int, heads: int, *, dropout: float, maps_after_dropout: bool) -> None:
        super().__init__()
        self.support_attention = AttentionBlock(width, heads)
        self.cross_attention = AttentionBlock(
            width, heads, dropout=dropout, maps_after_dropout=maps_after_dropout
        )
        self.self_attention = AttentionBlock(width, heads)

    def forward(
        self, support: Tensor, keys: Tensor, values: Tensor, *, need_map: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Match support tokens (S, N, C) with pixels (S, L, C): prompts, and the map (S, N, L)."""
        asking, _ = self.support_attention(support, support, support)
        matched, attention = self.cross_attention(asking, keys, values, need_map=need_map)
        prompts, _ = self.self_attention(matched, matched, matched)
        return prompts, attention
