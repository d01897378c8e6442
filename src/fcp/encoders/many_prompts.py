"""SAM's mask decoder for many prompts of one picture: the same numbers with less work.

A prompt has few tokens and the picture many cells. What the picture alone decides is computed once
for all prompts: its place code, and all cells up to the end of the first block. After that each
prompt has cells of its own, and their projections are done on the tokens' side:
q·(W_k x) = (W_kᵀ q)·x and Σ a·(W_v x) = W_v (Σ a·x). A key's bias shifts all scores of a token
alike, which softmax does not see. Transposed convolutions whose kernels do not overlap are products
of matrices; only the finished masks are put in the order of pixels.

Letters: P prompts of a picture, S of them at a time, N tokens, H heads of width d, L = h·w cells,
C channels.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# On a CPU one prompt at a time, and so many of its cells: what they become stays in its caches.
CPU_CELLS = 512


def for_many_prompts(decoder: nn.Module) -> nn.Module:
    """Return a mask decoder of transformers that shares all weights and takes the shorter way."""
    if hasattr(decoder, "hq_token"):  # it draws more than SAM does; its transformer is SAM's
        return with_parts(decoder, transformer=_FewTokens(decoder.transformer))
    return _ManyPrompts(decoder)


def with_parts(module: nn.Module, **parts: nn.Module) -> nn.Module:
    """Return a shallow copy of a module with some of its parts replaced; weights are shared."""
    twin = copy.copy(module)
    twin._modules = {**module._modules, **parts}
    return twin


class _ManyPrompts(nn.Module):
    """A mask decoder of SAM or SAM 2 with transformers' own arguments."""

    decoder: Any

    def __init__(self, decoder: Any) -> None:  # noqa: ANN401  (untyped)
        super().__init__()
        self.decoder = decoder
        # SAM 2 puts the token of its object score first.
        first = [decoder.obj_score_token.weight] if hasattr(decoder, "obj_score_token") else []
        self.own = torch.cat([*first, decoder.iou_token.weight, decoder.mask_tokens.weight])
        self.iou_at = len(first)

    def forward(
        self,
        image_embeddings: Tensor,
        image_positional_embeddings: Tensor,
        sparse_prompt_embeddings: Tensor,
        dense_prompt_embeddings: Tensor,
        multimask_output: bool,
        high_resolution_features: tuple[Tensor, ...] | list[Tensor] = (),
    ) -> tuple[Tensor, Tensor]:
        """Draw masks (B, P, 1 or 3, 4h, 4w) and estimate their IoU (B, P, 1 or 3)."""
        maps = image_embeddings + dense_prompt_embeddings
        wanted = slice(1, None) if multimask_output else slice(0, 1)
        found = []
        for i, prompts in enumerate(sparse_prompt_embeddings):
            picture = _Picture.of(self.decoder.transformer, maps[i], image_positional_embeddings[0])
            finer = [level[i] for level in high_resolution_features]
            upscale = _Upscale(self.decoder, (maps.shape[2], maps.shape[3]), finer)
            tokens = torch.cat([self.own.expand(len(prompts), -1, -1), prompts], 1)
            found.append(self._draw(picture, upscale, tokens, wanted))
        masks, iou = (torch.stack(part) for part in zip(*found, strict=True))
        return masks.unflatten(-1, (4 * maps.shape[2], 4 * maps.shape[3])), iou

    def _draw(
        self, picture: _Picture, upscale: _Upscale, tokens: Tensor, wanted: slice
    ) -> tuple[Tensor, Tensor]:
        """Masks (P, 1 or 3, 16·L) and estimates (P, 1 or 3) of tokens (P, N, C)."""
        masks, iou = [], []
        for part in tokens.split(1 if tokens.device.type == "cpu" else len(tokens)):
            seen, cells = _two_way(self.decoder.transformer, part, picture)
            iou.append(self.decoder.iou_prediction_head(seen[:, self.iou_at])[:, wanted])
            drawing = zip(
                self.decoder.output_hypernetworks_mlps[wanted],
                seen[:, self.iou_at + 1 :][:, wanted].unbind(1),
                strict=False,  # prompts follow the masks' tokens
            )
            masks.append(upscale(cells, torch.stack([mlp(token) for mlp, token in drawing], 1)))
        return torch.cat(masks), torch.cat(iou)


class _FewTokens(nn.Module):
    """The two-way transformer alone."""

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
        """Map tokens (B, P, N, C) and maps (B·P, C, h, w) to tokens and cells (B·P, 1, L, C).

        The maps of one picture's prompts are equal.
        """
        maps = image_embeddings[:: point_embeddings.shape[1]]
        found = []
        for tokens, one in zip(point_embeddings, maps, strict=True):
            picture = _Picture.of(self.transformer, one, image_positional_embeddings[0])
            found.append(_two_way(self.transformer, tokens, picture))
        return torch.stack([seen for seen, _ in found]), torch.cat([c for _, c in found])[:, None]


@dataclass(frozen=True)
class _Picture:
    """What one picture decides for all its prompts.

    Attributes:
        cells: (L, C) as they enter.
        key: (H, d, L), of the first block's tokens → cells.
        value: (H, L, d), of the same.
        query: (H, d, L), of the first block's cells → tokens.
        places: Place codes (H, d, L) as projected by the later attentions: tokens → cells and back
            for each block but the first, then the last attention.
    """

    cells: Tensor
    key: Tensor
    value: Tensor
    query: Tensor
    places: tuple[Tensor, ...]

    @classmethod
    def of(cls, transformer: Any, maps: Tensor, place: Tensor) -> _Picture:  # noqa: ANN401
        """Project a map (C, h, w) and its place code (C, h, w)."""
        cells, at = maps.flatten(1).T, place.flatten(1).T
        first, *later = transformer.layers
        asked, told = first.cross_attn_token_to_image, first.cross_attn_image_to_token
        projections = [
            part
            for block in later
            for part in (
                block.cross_attn_token_to_image.k_proj,
                block.cross_attn_image_to_token.q_proj,
            )
        ]
        projections.append(transformer.final_attn_token_to_image.k_proj)
        heads = asked.num_attention_heads
        return cls(
            cells=cells,
            key=_by_head(asked.k_proj(cells + at), heads).mT,
            value=_by_head(asked.v_proj(cells), heads),
            query=_by_head(told.q_proj(cells + at), heads).mT,
            places=tuple(_by_head(at @ part.weight.T, heads).mT for part in projections),
        )


def _two_way(transformer: Any, own: Tensor, picture: _Picture) -> tuple[Tensor, Tensor]:  # noqa: ANN401
    """Map tokens (S, N, C), which are their own place code too, to tokens and cells (S, L, C)."""
    places = iter(picture.places)
    tokens, cells = own, picture.cells
    for number, block in enumerate(transformer.layers):
        tokens = _tokens_to_tokens(block, tokens, own)
        layer = block.cross_attn_token_to_image
        if number == 0:
            seen = _tokens_to_picture(layer, tokens + own, picture)
        else:
            seen = _tokens_to_cells(layer, tokens + own, cells, next(places))
        tokens = block.layer_norm2(tokens + seen)
        tokens = block.layer_norm3(tokens + block.mlp(tokens))
        layer = block.cross_attn_image_to_token
        if number == 0:
            key = _by_head(layer.k_proj(tokens + own) * layer.scaling, layer.num_attention_heads)
            scores = key @ picture.query  # (S, H, N, L)
        else:
            scores = _cells_ask(layer, tokens + own, cells, next(places))
        cells = block.layer_norm4(_told(layer, cells, scores, tokens))
    last = transformer.final_attn_token_to_image
    seen = _tokens_to_cells(last, tokens + own, cells, next(places))
    return transformer.layer_norm_final_attn(tokens + seen), cells


def _tokens_to_tokens(block: Any, tokens: Tensor, own: Tensor) -> Tensor:  # noqa: ANN401
    """Self-attention of a block, as it is: (S, N, C)."""
    asking = tokens if block.skip_first_layer_pe else tokens + own
    seen, _ = block.self_attn(query=asking[None], key=asking[None], value=tokens[None])
    return block.layer_norm1(seen[0] if block.skip_first_layer_pe else tokens + seen[0])


def _tokens_to_picture(layer: Any, asking: Tensor, picture: _Picture) -> Tensor:  # noqa: ANN401
    """What tokens (S, N, C) see in the cells that all prompts share: (S, N, C)."""
    query = _by_head(layer.q_proj(asking) * layer.scaling, layer.num_attention_heads)
    seen = (query @ picture.key).softmax(-1) @ picture.value  # (S, H, N, d)
    return output_projection(layer)(seen.transpose(1, 2).flatten(2))


def _tokens_to_cells(layer: Any, asking: Tensor, cells: Tensor, place: Tensor) -> Tensor:  # noqa: ANN401
    """What tokens (S, N, C) see in their own cells (S, L, C): (S, N, C)."""
    heads = layer.num_attention_heads
    query = _by_head(layer.q_proj(asking) * layer.scaling, heads)  # (S, H, N, d)
    scores = _scores(query, layer.k_proj.weight, cells, place)
    seen = (scores.flatten(1, 2).softmax(-1) @ cells).unflatten(1, (heads, -1))  # (S, H, N, C)
    joined = seen @ layer.v_proj.weight.unflatten(0, (heads, -1)).mT  # (S, H, N, d)
    return output_projection(layer)(joined.transpose(1, 2).flatten(2) + layer.v_proj.bias)


def _cells_ask(layer: Any, shown: Tensor, cells: Tensor, place: Tensor) -> Tensor:  # noqa: ANN401
    """Scores (S, H, N, L) of tokens (S, N, C) as cells (S, L, C) ask for them."""
    heads = layer.num_attention_heads
    key = _by_head(layer.k_proj(shown) * layer.scaling, heads)
    bias = key @ layer.q_proj.bias.unflatten(0, (heads, -1, 1))  # (S, H, N, 1)
    return _scores(key, layer.q_proj.weight, cells, place) + bias


def _scores(few: Tensor, weight: Tensor, cells: Tensor, place: Tensor) -> Tensor:
    """Products (S, H, N, L) of tokens (S, H, N, d) with projected cells and place codes.

    Args:
        few: Projected tokens.
        weight: Projection (H·d, C) of the cells.
        cells: (S, L, C).
        place: (H, d, L), projected.
    """
    back = (few @ weight.unflatten(0, (few.shape[1], -1))).flatten(1, 2)  # (S, H·N, C)
    at_place = (few @ place).flatten(1, 2)
    return torch.baddbmm(at_place, back, cells.mT).unflatten(1, few.shape[1:3])


def _told(layer: Any, cells: Tensor, scores: Tensor, tokens: Tensor) -> Tensor:  # noqa: ANN401
    """Cells (S or 1, L, C) and what they are told by tokens (S, N, C), added: (S, L, C)."""
    heads, out = layer.num_attention_heads, output_projection(layer)
    value = _by_head(layer.v_proj(tokens), heads)
    given = value @ out.weight.T.unflatten(0, (heads, -1))  # (S, H, N, C)
    given = given + out.bias / heads  # the weights of each head sum to 1
    weights = scores.softmax(2).flatten(1, 2)  # (S, H·N, L)
    cells = cells.expand(len(tokens), -1, -1)
    return torch.baddbmm(cells, weights.mT, given.flatten(1, 2))


def output_projection(layer: Any) -> Any:  # noqa: ANN401
    """Return the last projection of an attention, which SAM 2 gives another name."""
    return layer.out_proj if hasattr(layer, "out_proj") else layer.o_proj


def _by_head(values: Tensor, heads: int) -> Tensor:
    """Split the channels of (…, n, H·d) by heads: (…, H, n, d)."""
    return values.unflatten(-1, (heads, -1)).transpose(-3, -2)


class _Upscale:
    """Cells → masks of four times the grid, as SAM's two transposed convolutions draw them.

    A cell's pixels lie side by side until the masks are done: quarters first, then theirs.

    Args:
        decoder: Mask decoder.
        grid: (h, w) of the cells.
        finer: Maps (C/8, 4h, 4w) and (C/4, 2h, 2w) of the picture that SAM 2 adds; SAM has none.
    """

    def __init__(self, decoder: Any, grid: tuple[int, int], finer: Sequence[Tensor]) -> None:  # noqa: ANN401
        self.grid, self.norm, self.activation = grid, decoder.upscale_layer_norm, decoder.activation
        first, second = decoder.upscale_conv1, decoder.upscale_conv2
        self.first, self.second = (
            conv.weight.permute(0, 2, 3, 1).flatten(1) for conv in (first, second)
        )
        h, w = grid
        self.coarse = first.bias.repeat(4).expand(h * w, -1)  # (L, 4·C/4)
        self.fine = second.bias.repeat(4).expand(4 * h * w, -1)  # (4·L, 4·C/8)
        if finer:
            fine, coarse = finer
            quarters = coarse.unflatten(2, (w, 2)).unflatten(1, (h, 2)).permute(1, 3, 2, 4, 0)
            self.coarse = self.coarse + quarters.reshape(h * w, -1)
            pixels = fine.unflatten(2, (w, 2, 2)).unflatten(1, (h, 2, 2))
            self.fine = self.fine + pixels.permute(1, 4, 2, 5, 3, 6, 0).reshape(4 * h * w, -1)

    def __call__(self, cells: Tensor, mask_tokens: Tensor) -> Tensor:
        """Draw masks (S, n, 16·L) of cells (S, L, C) by weights (S, n, C/8) of their pixels."""
        step = CPU_CELLS if cells.device.type == "cpu" else cells.shape[1]
        norm, parts = self.norm, []
        for own, coarse, fine in zip(
            cells.split(step, 1), self.coarse.split(step), self.fine.split(4 * step), strict=True
        ):
            quarters = (own @ self.first + coarse).unflatten(2, (4, -1)).flatten(1, 2)
            quarters = F.layer_norm(quarters, norm.weight.shape, norm.weight, norm.bias, norm.eps)
            pixels = self.activation(self.activation(quarters) @ self.second + fine)
            parts.append(mask_tokens @ pixels.unflatten(2, (4, -1)).flatten(1, 2).mT)
        masks = torch.cat(parts, 2).unflatten(2, (*self.grid, 2, 2, 2, 2))
        return masks.permute(0, 1, 2, 4, 6, 3, 5, 7).flatten(2)
