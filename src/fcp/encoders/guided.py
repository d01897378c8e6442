"""PerSAM's guidance (arXiv 2305.03048) of the SAM family's mask decoders, with their own weights.

In the two blocks the tokens look at the picture with weights softmax(softmax(QKᵀ/√d) + a), and the
target e is added to every token before each block and to the last attention's query.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from fcp.encoders.many_prompts import for_many_prompts, output_projection, with_parts


@dataclass(frozen=True)
class Guidance:
    """What a guided decoder attends to.

    Attributes:
        bias: a (S, h·w), 0 … 1, of each prompt's picture, the same for heads and tokens.
        target: e (S, C).
        released: The first addition of e also enters the tokens' position term, which both blocks
            and the last query read (the authors' program adds in place); False for the paper's.
    """

    bias: Tensor
    target: Tensor
    released: bool = True


def guided(decoder: nn.Module, guidance: Guidance) -> nn.Module:
    """Return a mask decoder of transformers that shares all weights and is guided.

    Args:
        decoder: a mask decoder whose ``transformer`` is SAM's two-way transformer.
        guidance: Guidance for as many pictures as the decoder will see.
    """
    return with_parts(decoder, transformer=_GuidedTransformer(decoder.transformer, guidance))


def choose_decoder(decoder: nn.Module, prompts: int, guidance: Guidance | None) -> nn.Module:
    """Return a mask decoder as it suits: guided, for many prompts a picture, or itself."""
    if guidance is not None:
        return guided(decoder, guidance)
    return for_many_prompts(decoder) if prompts > 1 else decoder


class _GuidedTransformer(nn.Module):
    """The two-way transformer with e in its tokens and a in its token → image attentions."""

    transformer: Any

    def __init__(self, transformer: Any, guidance: Guidance) -> None:  # noqa: ANN401  (untyped)
        super().__init__()
        self.transformer = transformer
        self.guidance = guidance

    def forward(
        self,
        point_embeddings: Tensor,
        image_embeddings: Tensor,
        image_positional_embeddings: Tensor,
        **_: object,
    ) -> tuple[Tensor, Tensor]:
        """Map tokens (S, 1, N, C) and maps (S, C, h, w) to tokens and cells (S, 1, h·w, C)."""
        keys = image_embeddings.flatten(2).mT[:, None]
        keys_at = image_positional_embeddings.flatten(2).mT[:, None]
        target = self.guidance.target[:, None, None]
        tokens = point_embeddings
        tokens_at = tokens + target if self.guidance.released else tokens
        for layer in self.transformer.layers:
            attention = _GuidedAttention(layer.cross_attn_token_to_image, self.guidance.bias)
            block = with_parts(layer, cross_attn_token_to_image=attention)
            tokens, keys, _ = block(tokens + target, keys, tokens_at, keys_at, None)
        query = tokens + tokens_at + target
        last = self.transformer.final_attn_token_to_image
        attended, _ = last(query=query, key=keys + keys_at, value=keys)
        return self.transformer.layer_norm_final_attn(tokens + attended), keys


class _GuidedAttention(nn.Module):
    """Attention whose weights are softmax(softmax(QKᵀ/√d) + a)."""

    attention: Any

    def __init__(self, attention: Any, bias: Tensor) -> None:  # noqa: ANN401  (untyped)
        super().__init__()
        self.attention = attention
        self.bias = bias

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, **_: object
    ) -> tuple[Tensor, Tensor]:
        """Map (S, 1, N, C) and (S, 1, h·w, C) to (S, 1, N, C), and the weights."""
        layer = self.attention
        heads = (layer.num_attention_heads, -1)
        q, k, v = (
            project(x)[:, 0].unflatten(-1, heads).transpose(1, 2)  # (S, heads, ·, d)
            for project, x in ((layer.q_proj, query), (layer.k_proj, key), (layer.v_proj, value))
        )
        plain = (q @ k.mT * layer.scaling).softmax(-1)
        weights = (plain + self.bias[:, None, None]).softmax(-1)
        joined = (weights @ v).transpose(1, 2).flatten(2)[:, None]
        return output_projection(layer)(joined), weights
