"""The trainable head of FCP: features of support and query → prompt tokens.

The middle and the right of Figure 3: prototypes of support and query, then matching. The switches
of ``HeadConfig`` make the ablations of Table 2 and the baseline VRP-SAM.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fcp.config import HeadConfig
from fcp.errors import FcpError
from fcp.layers.attention import AttentionBlock
from fcp.layers.grid import join_levels, on_grid
from fcp.layers.masked import (
    foreground_cells,
    mask_to_grid,
    pool_cells,
    take_cells,
)
from fcp.layers.position import sine_position
from fcp.matching import PixelMatching, PrototypeMatching
from fcp.prototypes import correlation
from fcp.prototypes.contrast import Contrast
from fcp.prototypes.correlation import Correlation
from fcp.prototypes.guidance import GuidedFeature
from fcp.prototypes.output import head_output
from fcp.prototypes.prior import conventional_mask, unit_cells
from fcp.prototypes.query import Gathered, QueryPrototypes
from fcp.prototypes.support import SupportPrototypes
from fcp.structures import (
    BackboneFeatures,
    CorrelationOutput,
    CorrelationSupport,
    Embedding,
    HeadOutput,
    QueryFeatures,
    SupportSet,
)

_LEAST_LEVELS = 2  # a fine and a coarse one


class FCPHead(nn.Module):
    """The trainable part: features of support and query → prompt tokens.

    It has the parameters that its switches use and no others.

    Args:
        config: sizes and switches.
        mid_channels: Cm, channels of the backbone's mid-level map.
        level_channels: channels of its levels, for a head with correlation.

    Raises:
        FcpError: ``contrast_levels`` do not sum to Cm, or levels are missing.
    """

    query: QueryPrototypes  # absent when pixels are matched
    matching: PrototypeMatching | PixelMatching

    def __init__(
        self, config: HeadConfig, mid_channels: int, level_channels: Sequence[int] = ()
    ) -> None:
        super().__init__()
        self.config = config
        self.correlation = _build_correlation(config, level_channels)
        C, N = config.width, config.tokens
        levels = config.contrast_levels
        self.levels = Contrast(levels or level_channels or [mid_channels], mid_channels)
        raw = {"F": (mid_channels, config.feature_dropout), "G": (C, 0.0)}
        self.features = nn.ModuleDict(
            {
                name: GuidedFeature(
                    raw[name][0],
                    C,
                    dropout=raw[name][1],
                    mean_of_projected=name == "F",
                    contrast_channels=2 * len(levels),
                )
                for name in config.features.split("+")
            }
        )
        if config.matching == "pixel":
            self.support = SupportPrototypes(N, C, _steps(config, 1))
            self.matching = PixelMatching(
                C,
                config.heads,
                dropout=config.attention_dropout,
                maps_after_dropout=config.maps_after_dropout,
            )
            return
        self.support = SupportPrototypes(N, C, _steps(config, config.steps))
        self.query = QueryPrototypes(
            N,
            C,
            _steps(config, config.steps),
            attention_guided=config.pseudo_mask == "attention",
            refresh=config.refresh_guidance,
        )
        self.matching = PrototypeMatching(C, config.heads, dropout=config.matching_dropout)

    def prepare_support(
        self,
        features: BackboneFeatures,
        embedding: Embedding,
        masks: Tensor,
        *,
        pooled: bool = False,
    ) -> SupportSet:
        """Do all work on K examples that no query changes, on their foreground cells alone.

        Args:
            features: of B·K pictures; their stage 4 ran under the mask.
            embedding: of the same pictures.
            masks: (B, K, H, W) 0 or 1, of any size.
            pooled: make one example of the K, whose cells are those of all pictures.

        Raises:
            FcpError: a mask has no foreground at all.
        """
        B, K = masks.shape[:2]
        raw, high, grid = self._on_one_grid(features, embedding)
        grid_mask = mask_to_grid(masks.flatten(0, 1), grid)  # (S, h, w), S = B·K
        inside_grid = grid_mask.flatten(1)
        _refuse_empty(inside_grid, shots=K)
        if pooled:  # from here on S = B, one shot, and K·L takes the place of L
            raw, high = {n: pool_cells(maps, K) for n, maps in raw.items()}, pool_cells(high, K)
            inside_grid = pool_cells(inside_grid, K)
        split = (B, len(inside_grid) // B)

        cells, inside = foreground_cells(inside_grid)  # (S, n)
        units = unit_cells(take_cells(high, cells)) * inside[:, None]
        excluded: Tensor | None = ~inside
        if isinstance(self.matching, PixelMatching):  # VRP-SAM's tokens read the whole picture
            cells, inside, excluded = _all_cells(inside_grid), inside_grid, None
        level_means, contrast = self._contrast_support(raw, inside_grid, cells)
        guided, means = self._guide_support(raw, cells, inside, contrast)
        keys, last = guided[self._key_name].mT, guided[self._value_name].mT  # (S, n, C)
        position = sine_position(self.config.width, grid, keys.device).flatten(1).mT  # (L, C)
        values = [keys] * (len(self.support.layers) - 1) + [last]
        tokens, attention = self.support(keys + position[cells % len(position)], values, excluded)
        return SupportSet(
            prototypes=tuple(step.unflatten(0, split) for step in tokens),
            means={name: mean.unflatten(0, split) for name, mean in means.items()},
            high=units.mT.contiguous().unflatten(0, split),
            grid_mask=grid_mask.unflatten(0, (B, K)),
            cells=cells.unflatten(0, split),
            attention=attention.unflatten(0, split),
            level_means=None if level_means is None else level_means.unflatten(0, split),
            correlation=self._prepare_correlation(features, masks, pooled=pooled),
        )

    def prepare_query(self, features: BackboneFeatures, embedding: Embedding) -> QueryFeatures:
        """Do all work on B query pictures that no support changes."""
        raw, high, grid = self._on_one_grid(features, embedding)
        shares = {name: self._feature(name).query_share(raw[name]) for name in self.features}
        return QueryFeatures(
            shares=shares,
            high=high,
            grid=grid,
            embedding=embedding,
            level_units=self._level_units(raw),
            correlation=correlation.prepare_query(features.levels) if self.correlation else None,
        )

    def forward(
        self, support: SupportSet, query: QueryFeatures, *, with_maps: bool = False
    ) -> HeadOutput:
        """Make prompts; each statement is a box of Figure 3.

        Args:
            support: of B tasks, or of one that serves all B queries.
            query: of B pictures.
            with_maps: return the attention maps; training always does.
        """
        with_maps = with_maps or self.training
        tokens = support.prototypes[-1].expand(len(query.high), -1, -1, -1)
        asking = tokens.flatten(0, 1)  # (S, N, C)
        position = sine_position(self.config.width, query.grid, asking.device).flatten(1).mT

        prior = conventional_mask(support.high, query.high).flatten(0, 1)  # (S, L), Eq. 5
        correlated = self._correlate(support, query)
        shown = prior if correlated is None else _shown(correlated, query.grid)
        contrast = self._contrast_query(support, query)
        guided = partial(self._guide_query, support, query, contrast)
        guide = partial(guided, self._key_name)  # Eq. 6
        guide_last = partial(guided, self._value_name)  # Eq. 10
        if isinstance(self.matching, PixelMatching):
            pixels = guide(shown)
            prompts, attention = self.matching(
                asking, pixels + position, pixels, need_map=with_maps
            )
            found = Gathered((), (), None if attention is None else attention[:, None])
        else:
            found = self.query(  # Eq. 7, 8, 11
                shown,
                position,
                guide=guide,
                guide_last=guide_last if self._value_name != self._key_name else None,
                with_maps=with_maps,
            )
            prompts = self.matching(asking, found.prototypes[-1])  # Eq. 12
        output = head_output(prompts, prior, found, support, query.grid, with_maps=with_maps)
        return replace(output, correlation=correlated)

    def _prepare_correlation(
        self, features: BackboneFeatures, masks: Tensor, *, pooled: bool
    ) -> CorrelationSupport | None:
        if self.correlation is None:
            return None
        shots = masks.shape[1] if pooled else 1
        return correlation.prepare_support(features.levels, masks.flatten(0, 1), shots)

    def _correlate(self, support: SupportSet, query: QueryFeatures) -> CorrelationOutput | None:
        """Correlate each shot with each query; None of a head without correlation."""
        theirs, ours = support.correlation, query.correlation
        if self.correlation is None or theirs is None or ours is None:
            return None
        found: CorrelationOutput = self.correlation(theirs, ours, support.high.shape[1])
        return found

    @property
    def _uses_levels(self) -> bool:
        """Training without contrast has no use for the levels of F; presence is judged after it."""
        return bool(self.config.contrast_levels) or not self.training

    @property
    def _key_name(self) -> str:
        """The feature that tokens are compared with, at all steps."""
        return "G" if "G" in self.features else "F"

    @property
    def _value_name(self) -> str:
        """The feature that step T gathers."""
        return "F" if "F" in self.features else "G"

    def _feature(self, name: str) -> GuidedFeature:
        return cast(GuidedFeature, self.features[name])

    def _guide_support(
        self, raw: dict[str, Tensor], cells: Tensor, inside: Tensor, contrast: Tensor | None
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return each feature's guided cells (S, C, n), of those listed, and its mean (S, C)."""
        guided, means = {}, {}
        for name in self.features:
            guided[name], means[name] = self._feature(name).guide_support(
                take_cells(raw[name], cells), inside, contrast
            )
        return guided, means

    def _level_units(self, raw: dict[str, Tensor]) -> Tensor | None:
        """Return F's cells (S, Cm, L) by level, for the contrast or to judge presence by."""
        return self.levels.units(raw["F"]) if self._uses_levels else None

    def _contrast_support(
        self, raw: dict[str, Tensor], inside: Tensor, cells: Tensor
    ) -> tuple[Tensor | None, Tensor | None]:
        """Return the means (S, 2, Cm) and the contrast (S, 2·levels, n) of the listed cells."""
        units = self._level_units(raw)
        if units is None:
            return None, None
        means = self.levels.means(units, inside)
        if not self.config.contrast_levels:
            return means, None
        return means, self.levels.maps(means, take_cells(units, cells))

    def _contrast_query(self, support: SupportSet, query: QueryFeatures) -> Tensor | None:
        """Contrast the query's cells with each shot: (B, K, 2·levels, L)."""
        means, units = support.level_means, query.level_units
        if not self.config.contrast_levels or means is None or units is None:
            return None
        return self.levels.maps(means, units[:, None])

    def _guide_query(
        self,
        support: SupportSet,
        query: QueryFeatures,
        contrast: Tensor | None,
        name: str,
        mask: Tensor,
    ) -> Tensor:
        """Guide the query by masks (S, L), each shot with its own mean: (S, L, C)."""
        share = query.shares[name][:, None]  # (B, 1, C, L): the same for each shot
        mask = mask.unflatten(0, (len(share), -1))  # (B, K, L)
        guided = self._feature(name).guide(share, support.means[name], mask, contrast)
        return guided.flatten(0, 1).mT

    def _on_one_grid(
        self, features: BackboneFeatures, embedding: Embedding
    ) -> tuple[dict[str, Tensor], Tensor, tuple[int, int]]:
        """Bring the features in use, and the stage-4 map, to the grid of the keys, as (S, ·, L).

        F is in use where the head gathers it, or looks at its levels.
        """
        mid = join_levels(features.levels) if self.correlation else features.mid
        raw = {"F": mid, "G": embedding.image}
        height, width = raw[self._key_name].shape[-2:]
        grid = (height, width)
        names = {*self.features, "F"} if self._uses_levels else {*self.features}
        used = {name: on_grid(raw[name], grid).flatten(2) for name in names}
        return used, on_grid(features.high, grid).flatten(2), grid


def run_head(
    head: FCPHead,
    *,
    support_mid: Tensor,
    support_high: Tensor,
    support_sam: Tensor,
    support_mask: Tensor,
    query_mid: Tensor,
    query_high: Tensor,
    query_sam: Tensor,
    with_maps: bool = True,
    pooled: bool = False,
) -> HeadOutput:
    """Run the head on ready-made feature maps, without any encoder.

    The maps of one shot may come without their axis K.

    Args:
        head: to run, in the mode it is in.
        support_mid: (B, K, Cm, h, w) F before its projection.
        support_high: (B, K, Ch, h, w) stage 4, run under the mask.
        support_sam: (B, K, C, h, w) G.
        support_mask: (B, K, H, W) 0 or 1, of any size.
        query_mid: (B, Cm, h, w).
        query_high: (B, Ch, h, w).
        query_sam: (B, C, h, w).
        with_maps: return the attention maps too.
        pooled: make one example of the K.

    Raises:
        FcpError: a mask has no foreground at all.
    """
    mid, high, sam = (
        maps.flatten(0, 1) if maps.ndim == 5 else maps
        for maps in (support_mid, support_high, support_sam)
    )
    masks = support_mask if support_mask.ndim == 4 else support_mask[:, None]
    support = head.prepare_support(
        BackboneFeatures(mid, high), Embedding(sam), masks, pooled=pooled
    )
    query = head.prepare_query(BackboneFeatures(query_mid, query_high), Embedding(query_sam))
    return head(support, query, with_maps=with_maps)


def _steps(config: HeadConfig, count: int) -> list[AttentionBlock]:
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


def _shown(correlated: CorrelationOutput, grid: tuple[int, int]) -> Tensor:
    """Bring the finest estimate to the head's grid, as a mask (S, L) in 0 … 1."""
    mask = correlated.estimates[-1].sigmoid()[:, None]
    return F.interpolate(mask, grid, mode="bilinear").flatten(1)


def _build_correlation(config: HeadConfig, level_channels: Sequence[int]) -> Correlation | None:
    if not config.correlation:
        return None
    if len(level_channels) < _LEAST_LEVELS:
        raise FcpError(
            "head.correlation: needs a backbone that gives its levels, such as efficientnet_lite"
        )
    return Correlation(level_channels, config.correlation)


def _all_cells(inside: Tensor) -> Tensor:
    """List all cells (S, L) of each picture."""
    return torch.arange(inside.shape[1], device=inside.device).expand(len(inside), -1)


def _refuse_empty(inside: Tensor, shots: int) -> None:
    """Raise for the first picture without foreground among (B·K, L)."""
    empty = (~inside.any(1)).nonzero()
    if len(empty):
        task, shot = divmod(int(empty[0]), shots)
        raise FcpError(
            f"support_masks[{task}, {shot}]: the mask is empty; mark the object in it, "
            "or leave this example out"
        )
