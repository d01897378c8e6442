"""The nouns that cross a module's border, as frozen dataclasses with their shapes.

Letters: B batch, K shots, N tokens, T steps, C width, h w feature grid, L = h·w, H W picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import TypeVar, cast

import torch
from torch import Tensor

from fcp.config import Fusion


@dataclass(frozen=True)
class BackboneFeatures:
    """What the class-consistent backbone sees in a batch of pictures, on one grid.

    Attributes:
        mid: (B, Cm, h, w) mid-level maps, concatenated: F before its projection.
        high: (B, Ch, h, w) stage-4 map; it serves only the conventional pseudo mask (Eq. 5).
            For a support picture stage 4 ran on stage-3 features multiplied by the mask.
        levels: The mid-level maps (B, Cl, hl, wl) on their own grids, finest first; empty for a
            backbone that gives none.
    """

    mid: Tensor
    high: Tensor
    levels: tuple[Tensor, ...] = ()

    @classmethod
    def cat(cls, items: Sequence[BackboneFeatures]) -> BackboneFeatures:
        """Make one batch of several; at least one."""
        return cls(
            mid=torch.cat([item.mid for item in items]),
            high=torch.cat([item.high for item in items]),
            levels=tuple(torch.cat(maps) for maps in zip(*(i.levels for i in items), strict=True)),
        )


@dataclass(frozen=True)
class Embedding:
    """What the promptable segmenter's image encoder sees in a batch of pictures.

    Attributes:
        image: (B, C, h, w) the embedding: G.
        high_resolution: Finer maps for decoders that take them (SAM 2, SAM-HQ, tiny); else empty.
    """

    image: Tensor
    high_resolution: tuple[Tensor, ...] = ()

    @classmethod
    def cat(cls, items: Sequence[Embedding]) -> Embedding:
        """Make one batch of several examples, at least one; finer maps serve a query alone."""
        return cls(torch.cat([item.image for item in items]))

    def repeat(self, shots: int) -> Embedding:
        """Repeat each picture's maps once a shot: B → B·K."""
        if shots == 1:
            return self
        maps = (self.image, *self.high_resolution)
        image, *finer = (one.repeat_interleave(shots, 0) for one in maps)
        return Embedding(image, tuple(finer))


@dataclass(frozen=True)
class Decoded:
    """What the mask decoder answers.

    Attributes:
        logits: (B, H', W') low-resolution mask logits; > 0 is foreground.
        iou: (B,) the decoder's own estimate of its mask's IoU, about 0 … 1.
    """

    logits: Tensor
    iou: Tensor


@dataclass(frozen=True)
class Episode:
    """One batch of few-shot tasks. The query carries no mask: the model cannot see it.

    Attributes:
        support_images: (B, K, 3, H, W) RGB in 0 … 1.
        support_masks: (B, K, H, W) 0 or 1.
        query_images: (B, 3, H, W) RGB in 0 … 1.
    """

    support_images: Tensor
    support_masks: Tensor
    query_images: Tensor


@dataclass(frozen=True)
class CorrelationSupport:
    """What the correlation (``prototypes.correlation``) compares of the examples of S tasks.

    Attributes:
        levels: Cells (S, C, n) of each coarse level, of length 1.
        share: (S, n) foreground of each cell, 0 … 1.
        weight: (S, n) number of cells that each stands for, 0 where padded.
        fine_means: (S, 2, C) mean foreground and background of the finest level, of length 1.
    """

    levels: tuple[Tensor, ...]
    share: Tensor
    weight: Tensor
    fine_means: Tensor


@dataclass(frozen=True)
class CorrelationQuery:
    """What the correlation compares of B query pictures.

    Attributes:
        levels: Cells (B, C, h, w) of each coarse level, of length 1, on one grid.
        fine: Cells (B, C, h', w') of the finest level, of length 1.
    """

    levels: tuple[Tensor, ...]
    fine: Tensor


@dataclass(frozen=True)
class CorrelationOutput:
    """What the correlation finds.

    Attributes:
        estimates: Mask logits, coarse to fine: (S, h, w), (S, h, w), (S, h', w').
        presence: (S,) logit of whether the object is in the query at all.
    """

    estimates: tuple[Tensor, ...]
    presence: Tensor


@dataclass(frozen=True)
class SupportSet:
    """All that a query needs to know of K examples; made once, it serves any number of queries.

    Pooled examples are one shot: K is 1 throughout, but for ``grid_mask``, and a cell is an index
    into the cells of all pictures.

    Attributes:
        prototypes: T × (B, K, N, C) support tokens after each step.
        key_mean: (B, K, C) masked mean of the feature that tokens are compared with.
        value_mean: (B, K, C) masked mean of the feature that step T gathers; may be the same.
        high: (B, K, n, Ch) stage-4 foreground cells scaled to length 1, zero where padded.
        grid_mask: (B, K, h, w) boolean, the masks on the grid.
        cells: (B, K, m) grid cells that tokens could read, as indices into h·w.
        attention: (B, K, T, N, m) attention of the tokens to those cells.
        level_means: (B, K, 2, Cm) mean foreground and background at each level of the backbone.
        fusion: Rule by which the K examples become one answer (``fcp.method.fusion``).
        correlation: Cells of all levels, of S = B·K tasks; None of a head without correlation.
    """

    prototypes: tuple[Tensor, ...]
    key_mean: Tensor
    value_mean: Tensor
    high: Tensor
    grid_mask: Tensor
    cells: Tensor
    attention: Tensor
    level_means: Tensor
    fusion: Fusion = "mean"
    correlation: CorrelationSupport | None = None

    def to(self, device: torch.device) -> SupportSet:
        """Return it with all tensors on a device."""
        return _moved(self, device)


ValueT = TypeVar("ValueT")


def _moved(value: ValueT, device: torch.device) -> ValueT:
    """Move the tensors of a dataclass, of its tuples and of the dataclasses in it to a device."""
    if isinstance(value, Tensor):
        return cast(ValueT, value.to(device))
    if isinstance(value, tuple):
        return cast(ValueT, tuple(_moved(one, device) for one in value))
    if is_dataclass(value) and not isinstance(value, type):
        parts = {field.name: _moved(getattr(value, field.name), device) for field in fields(value)}
        return replace(value, **parts)
    return value


@dataclass(frozen=True)
class QueryFeatures:
    """All of a query picture that no support changes; made once, whatever the number of shots.

    Attributes:
        key_share: (B, C, L) part of the key feature's guidance that no support changes.
        value_share: (B, C, L) likewise of the value feature; may be the same.
        high: (B, Ch, L) stage-4 cells.
        grid: (h, w) cells of a picture.
        embedding: Embedding for the mask decoder.
        level_units: (B, Cm, L) mid-level cells, each level's part of length 1.
        correlation: Cells of all levels; None of a head without correlation.
    """

    key_share: Tensor
    value_share: Tensor
    high: Tensor
    grid: tuple[int, int]
    embedding: Embedding
    level_units: Tensor
    correlation: CorrelationQuery | None = None


@dataclass(frozen=True)
class HeadOutput:
    """What the head makes of a query and K examples. Masks are in 0 … 1.

    Of pooled examples K is 1, but for ``support_attention``, where a row's sum is 1 over all
    pictures.

    Attributes:
        prompts: (B, K, N, C) visual reference prompts for the mask decoder.
        support_prototypes: Tokens after each step, T × (B, K, N, C).
        query_prototypes: Tokens after each step, T × (B, K, N, C); none when pixels are matched.
        conventional_mask: (B, K, h, w) pseudo mask from cosine similarity (Eq. 5).
        attention_masks: (B, K, T-1, h, w) pseudo masks of steps 1 … T-1 (Eq. 8); an empty axis
            when the head's switches make none.
        support_attention: (B, K, T, N, L) averaged over the heads, each row sums to 1; None unless
            asked for.
        query_attention: (B, K, T, N, L) likewise.
        correlation: Of S = B·K pairs; None of a head without correlation.
    """

    prompts: Tensor
    support_prototypes: tuple[Tensor, ...]
    query_prototypes: tuple[Tensor, ...]
    conventional_mask: Tensor
    attention_masks: Tensor
    support_attention: Tensor | None
    query_attention: Tensor | None
    correlation: CorrelationOutput | None = field(default=None, kw_only=True)

    @property
    def pseudo_masks(self) -> Tensor:
        """(B, K, h, w) of each shot: the last attention mask, else the conventional one."""
        has_attention = self.attention_masks.shape[2] > 0
        return self.attention_masks[:, :, -1] if has_attention else self.conventional_mask

    @property
    def pseudo_mask(self) -> Tensor:
        """(B, h, w) mean of ``pseudo_masks`` over the shots."""
        return self.pseudo_masks.mean(1)


@dataclass(frozen=True)
class Output(HeadOutput):
    """What the whole model makes of a query.

    Attributes:
        mask_logits: (B, H, W) of the K shots, fused; > 0 is foreground.
        iou: (B,) the decoder's own estimate of its mask's IoU, mean over the shots.
    """

    mask_logits: Tensor
    iou: Tensor
