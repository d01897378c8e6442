"""SAM's two-way transformer for many prompts of one picture: the same numbers with less work.

A prompt has few tokens and the picture many cells, so projections of cells are done on the tokens'
side: q·(W_k x) = (W_kᵀ q)·x and Σ a·(W_v x) = W_v (Σ a·x), and the cells' position enters once for
all prompts. A key's bias shifts all scores of a token alike, which softmax does not see.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn


def for_many_prompts(decoder: nn.Module) -> nn.Module:
    """Return a mask decoder of transformers that shares all weights and takes the shorter way."""
    return with_parts(decoder, transformer=_FewTokens(decoder.transformer))


def with_parts(module: nn.Module, **parts: nn.Module) -> nn.Module:
    """Return a shallow copy of a module with some of its parts replaced; weights are shared."""
    twin = copy.copy(module)
    twin._modules = {**module._modules, **parts}
    return twin


class _FewTokens(nn.Module):
    """The two-way transformer; letters: S prompts, N tokens, H heads, L cells, C channels."""

    transformer: Any

    def __init__(self, transformer: Any) -> None:  # noqa: ANN401  (untyped)
        super().__init__()
        self.transformer = transformer

    def forward(
        self,
        point_embeddings: Tensor,
        image_embeddings: Tensor,
        image_positional_embeddings: Tensor,
        **_: object,
    ) -> tuple[Tensor, Tensor]:
        """Map tokens (B, P, N, C) and maps (B·P, C, h, w) to tokens and cells (B·P, 1, h·w, C)."""
        own = point_embeddings.flatten(0, 1)  # (S, N, C); the tokens' position, too
        cells = image_embeddings.flatten(2).mT
        place = image_positional_embeddings[0].flatten(1).T  # (L, C), of every picture
        tokens = own
        for block in self.transformer.layers:
            tokens = _tokens_to_tokens(block, tokens, own)
            seen = _tokens_to_cells(block.cross_attn_token_to_image, tokens + own, cells, place)
            tokens = block.layer_norm2(tokens + seen)
            tokens = block.layer_norm3(tokens + block.mlp(tokens))
            told = _cells_to_tokens(
                block.cross_attn_image_to_token, cells, place, tokens + own, tokens
            )
            cells = block.layer_norm4(told)
        last = self.transformer.final_attn_token_to_image
        seen = _tokens_to_cells(last, tokens + own, cells, place)
        tokens = self.transformer.layer_norm_final_attn(tokens + seen)
        return tokens.unflatten(0, point_embeddings.shape[:2]), cells[:, None]


def _tokens_to_tokens(block: Any, tokens: Tensor, own: Tensor) -> Tensor:  # noqa: ANN401
    """Self-attention of a block, as it is: (S, N, C)."""
    asking = tokens if block.skip_first_layer_pe else tokens + own
    seen, _ = block.self_attn(query=asking[None], key=asking[None], value=tokens[None])
    return block.layer_norm1(seen[0] if block.skip_first_layer_pe else tokens + seen[0])


def _tokens_to_cells(layer: Any, asking: Tensor, cells: Tensor, place: Tensor) -> Tensor:  # noqa: ANN401
    """What tokens (S, N, C) see in cells (S, L, C): (S, N, C)."""
    heads = (layer.num_attention_heads, -1)
    query = layer.q_proj(asking).unflatten(-1, heads) * layer.scaling  # (S, N, H, d)
    key, value = (m.weight.unflatten(0, heads) for m in (layer.k_proj, layer.v_proj))
    asked = torch.einsum("snhd,hdc->shnc", query, key).flatten(1, 2)
    weights = torch.baddbmm(asked @ place.T, asked, cells.mT).softmax(-1)  # (S, H·N, L)
    seen = (weights @ cells).unflatten(1, heads)
    joined = torch.einsum("shnc,hdc->snhd", seen, value).flatten(2) + layer.v_proj.bias
    return output_projection(layer)(joined)


def _cells_to_tokens(
    layer: Any,  # noqa: ANN401
    cells: Tensor,
    place: Tensor,
    shown: Tensor,
    tokens: Tensor,
) -> Tensor:
    """Cells (S, L, C) and what they see in tokens (S, N, C), added: (S, L, C)."""
    heads = (layer.num_attention_heads, -1)
    key = layer.k_proj(shown).unflatten(-1, heads) * layer.scaling  # (S, N, H, d)
    value = layer.v_proj(tokens).unflatten(-1, heads)
    query, out = layer.q_proj, output_projection(layer)
    asked = torch.einsum("snhd,hdc->shnc", key, query.weight.unflatten(0, heads)).flatten(1, 2)
    bias = torch.einsum("snhd,hd->shn", key, query.bias.unflatten(0, heads)).flatten(1)
    scores = torch.baddbmm(place @ asked.mT, cells, asked.mT) + bias[:, None]  # (S, L, H·N)
    weights = scores.unflatten(2, heads).softmax(-1).flatten(2)
    given = torch.einsum("snhd,chd->shnc", value, out.weight.unflatten(1, heads)).flatten(1, 2)
    return torch.baddbmm(cells + out.bias, weights, given)


def output_projection(layer: Any) -> Any:  # noqa: ANN401
    """Return the last projection of an attention, which SAM 2 gives another name."""
    return layer.out_proj if hasattr(layer, "out_proj") else layer.o_proj
