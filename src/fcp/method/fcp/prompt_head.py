"""The shared part of the heads of FCP and VRP-SAM: features on one grid, and the support branch.

The left half of Figure 3. Contrast by level, correlation and the mask of Contrast (ours, off by
default) are additions to the paper's steps: maps for the guidance, a mask that replaces the
conventional one, and one that is mixed into the result.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fcp.config import Fusion, HeadConfig
from fcp.errors import FcpError
from fcp.layers.attention import AttentionBlock
from fcp.layers.grid import join_levels, on_grid
from fcp.layers.masked import foreground_cells, mask_to_grid, pool_cells, refuse_empty, take_cells
from fcp.layers.pairs import repeat_query, repeat_support
from fcp.layers.position import sine_position
from fcp.method.fcp import contrast_mask
from fcp.method.fcp.plain_decoder import PlainDecoder
from fcp.method.fcp.prototypes import correlation
from fcp.method.fcp.prototypes.contrast import contrast_maps, level_means, level_units
from fcp.method.fcp.prototypes.correlation import Correlation
from fcp.method.fcp.prototypes.guidance import GuidedFeatures, Unguided
from fcp.method.fcp.prototypes.prior import unit_cells
from fcp.method.fcp.prototypes.support import SupportPrototypes
from fcp.structures import (
    BackboneFeatures,
    ContrastSupport,
    CorrelationOutput,
    CorrelationSupport,
    Embedding,
    QueryFeatures,
    SupportSet,
)

_LEAST_LEVELS = 2  # a fine and a coarse one


class PromptHead(nn.Module):
    """The trainable part: features of support and query → prompt tokens.

    A head has the parameters that its switches use and no others.

    Args:
        config: Sizes and switches.
        mid_channels: Cm, channels of the backbone's mid-level map.
        level_channels: Channels of the backbone's levels, which a head with correlation needs.
        steps: Number of attention blocks of the support branch T.
        reads_background: Whether the support's tokens read the cells outside the mask too.

    Attributes:
        levels: Channels of each level of the mid-level map, by which contrast and presence compare.
        decoder: Decoder that draws the mask; None where the promptable segmenter's does.

    Raises:
        FcpError: ``contrast_levels`` do not sum to Cm, or levels are missing.
    """

    def __init__(
        self,
        config: HeadConfig,
        mid_channels: int,
        level_channels: Sequence[int],
        *,
        steps: int,
        reads_background: bool,
    ) -> None:
        super().__init__()
        self.config = config
        self.reads_background = reads_background
        self.levels = tuple(config.contrast_levels or level_channels or [mid_channels])
        _check_levels(config, self.levels, mid_channels, level_channels)
        self.correlation = (
            Correlation(level_channels, config.correlation) if config.correlation else None
        )
        self.decoder: PlainDecoder | None = None
        self.features = GuidedFeatures(config, mid_channels)
        self.support = SupportPrototypes(
            config.tokens, config.width, attention_steps(config, steps)
        )

    def prepare_support(
        self,
        features: BackboneFeatures,
        embedding: Embedding,
        masks: Tensor,
        *,
        fusion: Fusion = "mean",
    ) -> SupportSet:
        """Encode K examples as far as no query is needed, on their foreground cells alone.

        Args:
            features: Features of B·K pictures, whose stage 4 ran under the mask.
            embedding: Embedding of the same pictures.
            masks: Masks of the examples (B, K, H, W), 0 or 1, of any size.
            fusion: Rule by which the K examples become one answer (``fcp.method.fusion``).

        Raises:
            FcpError: a mask has no foreground at all.
        """
        B, K = masks.shape[:2]
        cells = self._on_one_grid(features, embedding)  # of B·K pictures
        grid_mask = mask_to_grid(masks.flatten(0, 1), cells.grid)
        refuse_empty(grid_mask.unflatten(0, (B, K)))
        inside = grid_mask.flatten(1)
        if fusion == "pooled":  # one shot, whose cells are those of K pictures
            cells, inside = cells.pooled(K), pool_cells(inside, K)
        shots = (B, len(inside) // B)  # from here on S rows, unfolded at the end

        index, is_foreground = foreground_cells(inside)  # (S, n)
        high = unit_cells(take_cells(cells.high, index)) * is_foreground[:, None]
        excluded: Tensor | None = ~is_foreground
        if self.reads_background:
            index, is_foreground, excluded = _all_cells(inside), inside, None
        means, contrast = self._contrast_support(cells, index, inside)
        key, key_mean, value, value_mean = self._guide(cells, index, is_foreground, contrast)
        places = self.position(cells.grid, key)[index % math.prod(cells.grid)]
        tokens, attention = self.support(key.mT, value.mT, places, excluded=excluded)  # Eq. 2, 4
        return SupportSet(
            prototypes=tuple(step.unflatten(0, shots) for step in tokens),
            key_mean=key_mean.unflatten(0, shots),
            value_mean=value_mean.unflatten(0, shots),
            high=high.mT.contiguous().unflatten(0, shots),
            grid_mask=grid_mask.unflatten(0, (B, K)),
            cells=index.unflatten(0, shots),
            attention=attention.unflatten(0, shots),
            level_means=means.unflatten(0, shots),
            fusion=fusion,
            correlation=self._correlation_support(features, masks, fusion),
            contrast_mask=self._contrast_mask(cells, inside, several=K > 1 and fusion == "pooled"),
        )

    def prepare_query(self, features: BackboneFeatures, embedding: Embedding) -> QueryFeatures:
        """Encode B query pictures as far as no support is needed."""
        cells = self._on_one_grid(features, embedding)
        keys, values = self.features.choose(cells.backbone, cells.sam)
        value_share = self.features.value.query_share(values)
        key_share = value_share
        if self.features.key is not self.features.value:
            key_share = self.features.key.query_share(keys)
        return QueryFeatures(
            key_share=key_share,
            value_share=value_share,
            high=cells.high,
            grid=cells.grid,
            embedding=embedding,
            level_units=level_units(cells.backbone, self.levels),
            correlation=correlation.prepare_query(features.levels) if self.correlation else None,
            mid_units=contrast_mask.prepare_query(cells.backbone) if self._contrasts else None,
        )

    def pair(self, support: SupportSet, query: QueryFeatures) -> Unguided:
        """Pair each query with each shot of its task: S = B·K rows."""
        B, K = len(query.high), support.high.shape[1]
        contrast = None
        if self.config.contrast_levels:
            contrast = contrast_maps(
                support.level_means, query.level_units[:, None], self.levels
            ).flatten(0, 1)
        return Unguided(
            key_share=repeat_query(query.key_share, K),
            value_share=repeat_query(query.value_share, K),
            key_bias=repeat_support(self.features.key.bias(support.key_mean), B),
            value_bias=repeat_support(self.features.value.bias(support.value_mean), B),
            contrast=contrast,
        )

    def correlate(self, support: SupportSet, query: QueryFeatures) -> CorrelationOutput | None:
        """Correlate each shot with each query (ours); None for a head without correlation."""
        if self.correlation is None or support.correlation is None or query.correlation is None:
            return None
        found: CorrelationOutput = self.correlation(
            support.correlation, query.correlation, support.high.shape[1]
        )
        return found

    def position(self, grid: tuple[int, int], like: Tensor) -> Tensor:
        """Return the position code (L, C) of a grid, on the device of a tensor."""
        return sine_position(self.config.width, grid, like.device).flatten(1).mT

    def _contrast_support(
        self, cells: _Cells, index: Tensor, inside: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Return the means (S, 2, Cm) of all levels, and the contrast of the listed cells."""
        units = level_units(cells.backbone, self.levels)
        means = level_means(units, inside, self.levels)
        if not self.config.contrast_levels:  # a head without contrast reads the means alone
            return means, None
        return means, contrast_maps(means, take_cells(units, index), self.levels)

    def _guide(
        self, cells: _Cells, index: Tensor, inside: Tensor, contrast: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Guide the listed cells (S, n): keys (S, C, n), their mean (S, C), values, their mean."""
        keys, values = self.features.choose(cells.backbone, cells.sam)
        value = self.features.value.guide_support(  # Eq. 3
            take_cells(values, index), inside, contrast
        )
        if self.features.key is self.features.value:
            return *value, *value
        key = self.features.key.guide_support(  # Eq. 1
            take_cells(keys, index), inside, contrast
        )
        return *key, *value

    def _contrast_mask(
        self, cells: _Cells, inside: Tensor, *, several: bool
    ) -> ContrastSupport | None:
        """Return what the mask of Contrast needs of several pooled examples; None without it."""
        if not several or not self._contrasts:
            return None
        return contrast_mask.prepare_support(cells.backbone, inside)

    @property
    def _contrasts(self) -> bool:
        """Whether Contrast's mask has a share; training judges the head alone."""
        return self.config.contrast_share > 0 and not self.training

    def _correlation_support(
        self, features: BackboneFeatures, masks: Tensor, fusion: Fusion
    ) -> CorrelationSupport | None:
        if self.correlation is None:
            return None
        shots = masks.shape[1] if fusion == "pooled" else 1
        return correlation.prepare_support(features.levels, masks.flatten(0, 1), shots)

    def _on_one_grid(self, features: BackboneFeatures, embedding: Embedding) -> _Cells:
        """Bring all features to the grid of the keys."""
        mid = join_levels(features.levels) if self.correlation else features.mid
        keys, _ = self.features.choose(mid, embedding.image)
        grid = (keys.shape[-2], keys.shape[-1])
        return _Cells(
            backbone=on_grid(mid, grid).flatten(2),
            sam=on_grid(embedding.image, grid).flatten(2),
            high=on_grid(features.high, grid).flatten(2),
            grid=grid,
        )


@dataclass(frozen=True)
class _Cells:
    """Raw features of S pictures on one grid.

    Attributes:
        backbone: Backbone map F (S, Cm, L).
        sam: Segmenter's embedding G (S, C, L).
        high: Stage-4 map (S, Ch, L).
        grid: Grid of each picture (h, w).
    """

    backbone: Tensor
    sam: Tensor
    high: Tensor
    grid: tuple[int, int]

    def pooled(self, shots: int) -> _Cells:
        """Put the cells of each task's K pictures in one row."""
        return _Cells(
            backbone=pool_cells(self.backbone, shots),
            sam=pool_cells(self.sam, shots),
            high=pool_cells(self.high, shots),
            grid=self.grid,
        )


def attention_steps(config: HeadConfig, count: int) -> list[AttentionBlock]:
    """Build the attention blocks of a branch; each step has its own."""
    return [
        AttentionBlock(
            config.width,
            config.heads,
            dropout=config.attention_dropout,
            maps_after_dropout=config.maps_after_dropout,
        )
        for _ in range(count)
    ]


def first_mask(
    prior: Tensor, correlated: CorrelationOutput | None, grid: tuple[int, int]
) -> Tensor:
    """Return the first guiding mask: the conventional one, or the correlation's (ours).

    Args:
        prior: Conventional pseudo mask (S, L).
        correlated: Result of a head with correlation, else None.
        grid: Grid of the query (h, w).

    Returns:
        Mask (S, L) in 0 … 1.
    """
    if correlated is None:
        return prior
    mask = correlated.estimates[-1].sigmoid()[:, None]
    return F.interpolate(mask, grid, mode="bilinear").flatten(1)


def _check_levels(
    config: HeadConfig, levels: Sequence[int], mid_channels: int, level_channels: Sequence[int]
) -> None:
    if config.correlation and len(level_channels) < _LEAST_LEVELS:
        raise FcpError(
            "head.correlation: needs a backbone that gives its levels, such as efficientnet_lite"
        )
    if sum(levels) != mid_channels:
        raise FcpError(
            f"contrast_levels: {list(levels)} sum to {sum(levels)}, but the backbone's "
            f"mid-level map has {mid_channels} channels"
        )


def _all_cells(inside: Tensor) -> Tensor:
    """List all cells (S, L) of each picture."""
    return torch.arange(inside.shape[1], device=inside.device).expand(len(inside), -1)
