"""The values that modules exchange, as frozen dataclasses with their shapes.

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
    """Features of the class-consistent backbone for a batch of pictures, on one grid.

    Attributes:
        mid: Mid-level maps (B, Cm, h, w), concatenated: F before its projection.
        high: Stage-4 map (B, Ch, h, w), used only for the conventional pseudo mask (Eq. 5). For a
            support picture stage 4 ran on stage-3 features multiplied by the mask.
        levels: Mid-level maps (B, Cl, hl, wl) on their own grids, finest first; empty for a
            backbone that returns none.
    """

    mid: Tensor
    high: Tensor
    levels: tuple[Tensor, ...] = ()

    @classmethod
    def cat(cls, items: Sequence[BackboneFeatures]) -> BackboneFeatures:
        """Join several batches, at least one, to one batch."""
        return cls(
            mid=torch.cat([item.mid for item in items]),
            high=torch.cat([item.high for item in items]),
            levels=tuple(torch.cat(maps) for maps in zip(*(i.levels for i in items), strict=True)),
        )


@dataclass(frozen=True)
class Embedding:
    """Output of the promptable segmenter's image encoder for a batch of pictures.

    Attributes:
        image: Embedding (B, C, h, w): G.
        high_resolution: Finer maps for decoders that take them (SAM 2, SAM-HQ, tiny); else empty.
    """

    image: Tensor
    high_resolution: tuple[Tensor, ...] = ()

    @classmethod
    def cat(cls, items: Sequence[Embedding]) -> Embedding:
        """Join examples, at least one, to one batch without finer maps, which only queries need."""
        return cls(torch.cat([item.image for item in items]))

    def of(self, picture: int) -> Embedding:
        """Return the maps of one picture, B = 1; a batch of one serves every index."""
        rows = slice(picture, picture + 1) if len(self.image) > 1 else slice(None)
        return Embedding(self.image[rows], tuple(one[rows] for one in self.high_resolution))

    def repeat(self, shots: int) -> Embedding:
        """Repeat each picture's maps for each shot: B → B·K."""
        if shots == 1:
            return self
        maps = (self.image, *self.high_resolution)
        image, *finer = (one.repeat_interleave(shots, 0) for one in maps)
        return Embedding(image, tuple(finer))


@dataclass(frozen=True)
class Decoded:
    """Output of the mask decoder.

    Attributes:
        logits: Low-resolution mask logits (B, H', W'); > 0 is foreground.
        iou: Estimate (B,) by the decoder of its mask's IoU, about 0 … 1.
    """

    logits: Tensor
    iou: Tensor


@dataclass(frozen=True)
class Episode:
    """One batch of few-shot tasks. The query has no mask here, so that the model cannot use it.

    Attributes:
        support_images: Support pictures (B, K, 3, H, W) RGB in 0 … 1.
        support_masks: Support masks (B, K, H, W) of 0 and 1.
        query_images: Query pictures (B, 3, H, W) RGB in 0 … 1.
    """

    support_images: Tensor
    support_masks: Tensor
    query_images: Tensor


@dataclass(frozen=True)
class CorrelationSupport:
    """Features of the examples of S tasks for the correlation (``prototypes.correlation``).

    Attributes:
        levels: Cells (S, C, n) of each coarse level, of length 1.
        share: Foreground share (S, n) of each cell, 0 … 1.
        weight: Number (S, n) of cells that each stands for, 0 where padded.
        fine_means: Mean foreground and background (S, 2, C) of the finest level, of length 1.
    """

    levels: tuple[Tensor, ...]
    share: Tensor
    weight: Tensor
    fine_means: Tensor


@dataclass(frozen=True)
class ContrastSupport:
    """What tells the object from its surroundings in the pooled examples of B tasks.

    Attributes:
        direction: Prototype of the foreground less that of the background (B, Cm).
        middle: Value (B,) of ``direction`` · cell at which foreground and background part.
    """

    direction: Tensor
    middle: Tensor


@dataclass(frozen=True)
class CorrelationQuery:
    """Features of B query pictures for the correlation.

    Attributes:
        levels: Cells (B, C, h, w) of each coarse level, of length 1, on one grid.
        fine: Cells (B, C, h', w') of the finest level, of length 1.
    """

    levels: tuple[Tensor, ...]
    fine: Tensor


@dataclass(frozen=True)
class CorrelationOutput:
    """Output of the correlation.

    Attributes:
        estimates: Mask logits, coarse to fine: (S, h, w), (S, h, w), (S, h', w').
        presence: Logit (S,) of whether the object is in the query at all.
    """

    estimates: tuple[Tensor, ...]
    presence: Tensor


@dataclass(frozen=True)
class SupportSet:
    """Encoded form of K examples; computed once, it serves any number of queries.

    Pooled examples are one shot: K is 1 in all fields except ``grid_mask``, and a cell is an index
    into the cells of all pictures.

    Attributes:
        prototypes: Support tokens after each step, T × (B, K, N, C).
        key_mean: Masked mean (B, K, C) of the feature that tokens are compared with.
        value_mean: Masked mean (B, K, C) of the feature that step T gathers; may be the same.
        high: Stage-4 foreground cells (B, K, n, Ch) scaled to length 1, zero where padded.
        grid_mask: Masks (B, K, h, w) boolean on the grid.
        cells: Grid cells (B, K, m) that tokens could read, as indices into h·w.
        attention: Attention (B, K, T, N, m) of the tokens to those cells.
        level_means: Mean foreground and background (B, K, 2, Cm) at each level of the backbone.
        fusion: Rule by which the K examples give one result (``fcp.method.fusion``).
        correlation: Cells of all levels, of S = B·K tasks; None for a head without correlation.
        contrast_mask: What the mask of Contrast needs of several pooled examples; None for one
            example, without pooling, in training, and for a head without a share of it.
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
    contrast_mask: ContrastSupport | None = None

    def to(self, device: torch.device) -> SupportSet:
        """Return it with all tensors on a device."""
        return moved(self, device)


ValueT = TypeVar("ValueT")


def moved(value: ValueT, device: torch.device) -> ValueT:
    """Move the tensors of a dataclass, of its tuples and of the dataclasses in it to a device."""
    if isinstance(value, Tensor):
        return cast(ValueT, value.to(device))
    if isinstance(value, tuple):
        return cast(ValueT, tuple(moved(one, device) for one in value))
    if is_dataclass(value) and not isinstance(value, type):
        parts = {field.name: moved(getattr(value, field.name), device) for field in fields(value)}
        return replace(value, **parts)
    return value


@dataclass(frozen=True)
class QueryFeatures:
    """Features of a query picture that do not depend on the support; computed once for all shots.

    Attributes:
        key_share: Part (B, C, L) of the key feature's guidance that does not depend on the support.
        value_share: Part (B, C, L) of the value feature's guidance that does not depend on the
            support; may be the same.
        high: Stage-4 cells (B, Ch, L).
        grid: Grid size (h, w) in cells.
        embedding: Embedding for the mask decoder.
        level_units: Mid-level cells (B, Cm, L), each level's part of length 1.
        correlation: Cells of all levels; None for a head without correlation.
        mid_units: Mid-level cells (B, Cm, L) of length 1; None in training, and for a head without
            a share of Contrast's mask.
    """

    key_share: Tensor
    value_share: Tensor
    high: Tensor
    grid: tuple[int, int]
    embedding: Embedding
    level_units: Tensor
    correlation: CorrelationQuery | None = None
    mid_units: Tensor | None = None


@dataclass(frozen=True)
class HeadOutput:
    """Output of the head for a query and K examples. Masks are in 0 … 1.

    For pooled examples K is 1, except in ``support_attention``, where a row sums to 1 over all
    pictures.

    Attributes:
        prompts: Visual reference prompts (B, K, N, C) for the mask decoder.
        support_prototypes: Support tokens after each step, T × (B, K, N, C).
        query_prototypes: Query tokens after each step, T × (B, K, N, C); none when pixels are
            matched.
        conventional_mask: Pseudo mask (B, K, h, w) from cosine similarity (Eq. 5).
        attention_masks: Pseudo masks (B, K, T-1, h, w) of steps 1 … T-1 (Eq. 8); an empty axis when
            the head's switches make none.
        support_attention: Attention (B, K, T, N, L) to the support, averaged over the heads, each
            row sums to 1; None unless requested.
        query_attention: Attention (B, K, T, N, L) to the query, averaged over the heads, each row
            sums to 1; None unless requested.
        correlation: Output of the correlation for S = B·K pairs; None for a head without
            correlation.
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
        """Pseudo masks (B, K, h, w) by shot: the last attention mask, else the conventional one."""
        has_attention = self.attention_masks.shape[2] > 0
        return self.attention_masks[:, :, -1] if has_attention else self.conventional_mask

    @property
    def pseudo_mask(self) -> Tensor:
        """Mean (B, h, w) of ``pseudo_masks`` over the shots."""
        return self.pseudo_masks.mean(1)


@dataclass(frozen=True)
class Output(HeadOutput):
    """Output of the whole model for a query.

    Attributes:
        mask_logits: Mask logits (B, H, W), fused over the K shots; > 0 is foreground.
        iou: Estimate (B,) by the decoder of its mask's IoU, averaged over the shots.
    """

    mask_logits: Tensor
    iou: Tensor
