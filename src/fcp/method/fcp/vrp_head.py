"""The head of VRP-SAM, the baseline (Table 2 a, b): support tokens match the query's pixels."""

from __future__ import annotations

from collections.abc import Sequence

from fcp.config import HeadConfig
from fcp.layers.pairs import repeat_support
from fcp.method.fcp.matching import PixelMatching
from fcp.method.fcp.prompt_head import PromptHead, first_mask
from fcp.method.fcp.prototypes.output import head_output
from fcp.method.fcp.prototypes.prior import conventional_mask
from fcp.method.fcp.prototypes.query import Gathered
from fcp.structures import HeadOutput, QueryFeatures, SupportSet


class VRPHead(PromptHead):
    """One support step that reads the whole picture, then prototype-pixel matching.

    Args:
        config: Sizes and switches.
        mid_channels: Cm, channels of the backbone's mid-level map.
        level_channels: Channels of the backbone's levels, which a head with correlation needs.

    Raises:
        FcpError: ``contrast_levels`` do not sum to Cm, or levels are missing.
    """

    def __init__(
        self, config: HeadConfig, mid_channels: int, level_channels: Sequence[int] = ()
    ) -> None:
        super().__init__(config, mid_channels, level_channels, steps=1, reads_background=True)
        self.matching = PixelMatching(
            config.width,
            config.heads,
            dropout=config.attention_dropout,
            maps_after_dropout=config.maps_after_dropout,
        )

    def forward(
        self, support: SupportSet, query: QueryFeatures, *, with_maps: bool = False
    ) -> HeadOutput:
        """Make prompts; S = B·K pairs of a query and a shot, each with L cells.

        Args:
            support: Support of B tasks, or of a single one for all B queries.
            query: Features of B pictures.
            with_maps: Whether the attention maps are returned.
        """
        prior = conventional_mask(support.high, query.high).flatten(0, 1)  # (S, L), Eq. 5
        correlated = self.correlate(support, query)  # ours
        mask = first_mask(prior, correlated, query.grid)
        pixels = self.features.guide_keys(self.pair(support, query), mask)  # Eq. 1
        position = self.position(query.grid, pixels)
        tokens = repeat_support(support.prototypes[-1], len(query.high))  # (S, N, C)
        prompts, attention = self.matching(tokens, pixels + position, pixels, need_map=with_maps)
        found = Gathered((), (), None if attention is None else attention[:, None])
        return head_output(
            prompts, prior, found, support, query.grid, correlation=correlated, with_maps=with_maps
        )
