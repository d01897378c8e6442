"""Layers in which the query reads itself and then the supports, cycle by cycle (table1.md §5).

Letters: B batch, C channels, L query cells, n keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fcp.method.cyctr.deformable import DeformableAttention, position_code
from fcp.method.cyctr.keys import Keys

LAYERS = 2
EXPANSION = 3
DROPOUT = 0.1
CLOSED = -10000.0
SPARED = 0.1  # of the keys without a cycle, in training


def consistent(scores: Tensor, labels: Tensor) -> Tensor:
    """Go from each key to its best query and back; say whether that key has the same label.

    Args:
        scores: (B, heads, L, n) of queries with keys.
        labels: (B, n).

    Returns:
        (B, heads, n) boolean.
    """
    # max is several times faster here than argmax, on bfloat16 above all.
    best_query = scores.max(2).indices  # (B, heads, n)
    best_key = scores.max(3).indices  # (B, heads, L)
    back = best_key.gather(2, best_query)
    ours = labels[:, None].expand_as(back)
    return ours.gather(2, back) == ours


class CycleAttention(nn.Module):
    """Attention to support cells that find back to their own kind through the query.

    Args:
        width: C.
        heads: Attention heads, a divisor of ``width``.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, tokens: Tensor, support: Tensor, keys: Keys) -> Tensor:
        """Let query tokens (B, L, C) read the keys' tokens (B, n, C): (B, L, C)."""
        q, k, v = (
            layer(x).unflatten(2, (self.heads, -1)).transpose(1, 2)  # (B, heads, ·, d)
            for layer, x in ((self.query, tokens), (self.key, support), (self.value, support))
        )
        with torch.no_grad():
            closed = ~consistent(q @ k.mT, keys.labels)  # (B, heads, n)
            if self.training:
                closed &= torch.rand(closed.shape, device=closed.device) >= SPARED
            closed |= keys.padded[:, None]
            bias = (CLOSED * closed[:, :, None]).to(q.dtype).expand(-1, -1, q.shape[2], -1)
        read = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.out(read.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """Two matrices with a ReLU between them, beside a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.expand = nn.Linear(width, EXPANSION * width, bias=False)
        self.reduce = nn.Linear(EXPANSION * width, width, bias=False)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens (B, L, C) to the same shape."""
        inner = self.dropout(torch.relu(self.expand(tokens)))
        return tokens + self.dropout(self.reduce(inner))


class CycleLayer(nn.Module):
    """Self-attention, feed-forward, cross-attention, feed-forward; a norm after each."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.itself = DeformableAttention(width, heads)
        self.supports = CycleAttention(width, heads)
        self.feeds = nn.ModuleList(FeedForward(width) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(4))
        self.dropout = nn.Dropout(DROPOUT)

    def read_itself(self, tokens: Tensor, code: Tensor, padded: Tensor) -> Tensor:
        """Do the first half; see ``DeformableAttention``."""
        read = self.dropout(self.itself(tokens, code, padded))
        return self.norms[1](self.feeds[0](self.norms[0](tokens + read)))

    def read_supports(self, tokens: Tensor, support: Tensor, keys: Keys) -> Tensor:
        """Do the second half; see ``CycleAttention``."""
        read = self.dropout(self.supports(tokens, support, keys))
        return self.norms[3](self.feeds[1](self.norms[2](tokens + read)))


class Transformer(nn.Module):
    """The layers, one after the other.

    Args:
        width: C, a multiple of 8.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        heads = 12 if width % 12 == 0 else 8
        self.level = nn.Parameter(torch.randn(1, width))
        self.layers = nn.ModuleList(CycleLayer(width, heads) for _ in range(LAYERS))

    def forward(
        self, query: Tensor, padded: Tensor, support: Tensor, choose: Callable[[], Keys]
    ) -> Tensor:
        """Let the query read.

        Args:
            query: (B, C, h, w).
            padded: (B, h, w) query cells without pixels.
            support: (B, K·L, C) tokens of all supports.
            choose: Gives the keys of a layer.

        Returns:
            (B, C, h, w).
        """
        code = position_code(padded, query.shape[1]) + self.level
        tokens = query.flatten(2).mT
        for layer in cast(Iterable[CycleLayer], self.layers):
            keys = choose()
            index = keys.index[..., None].expand(-1, -1, support.shape[2])
            tokens = layer.read_itself(tokens, code, padded)
            tokens = layer.read_supports(tokens, support.gather(1, index), keys)
        return tokens.mT.unflatten(2, (query.shape[2], query.shape[3]))
