"""The head of FCP: Figure 3 from the features of support and query to the prompt tokens.

The support's half is ``prompt_head.py``. The switches of ``HeadConfig`` make the ablations of
Table 2; the baseline VRP-SAM is ``vrp_head.py``.
"""

from __future__ import annotations

from collections.abc import Sequence

from fcp.config import HeadConfig
from fcp.layers.pairs import repeat_support
from fcp.method.fcp.matching import PrototypeMatching
from fcp.method.fcp.plain_decoder import PlainDecoder
from fcp.method.fcp.prompt_head import PromptHead, attention_steps, first_mask
from fcp.method.fcp.prototypes.output import head_output
from fcp.method.fcp.prototypes.prior import conventional_mask
from fcp.method.fcp.prototypes.query import QueryPrototypes
from fcp.structures import HeadOutput, QueryFeatures, SupportSet


class FCPHead(PromptHead):
    """T support steps on the foreground, T query steps, then prototype-prototype matching.

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
        super().__init__(
            config, mid_channels, level_channels, steps=config.steps, reads_background=False
        )
        self.query = QueryPrototypes(
            config.tokens,
            config.width,
            attention_steps(config, config.steps),
            attention_guided=config.pseudo_mask == "attention",
            refresh=config.refresh_guidance,
        )
        self.matching = PrototypeMatching(
            config.width, config.heads, dropout=config.matching_dropout
        )
        if config.plain_decoder:  # last, so that the other parts start alike with and without it
            self.decoder = PlainDecoder(config.width, config.tokens)

    def forward(
        self, support: SupportSet, query: QueryFeatures, *, with_maps: bool = False
    ) -> HeadOutput:
        """Make prompts; S = B·K pairs of a query and a shot, each with L cells and N tokens.

        Args:
            support: Support of B tasks, or of a single one for all B queries.
            query: Features of B pictures.
            with_maps: Whether the attention maps are returned.
        """
        prior = conventional_mask(support.high, query.high).flatten(0, 1)  # (S, L), Eq. 5
        correlated = self.correlate(support, query)  # ours; None unless asked for
        mask = first_mask(prior, correlated, query.grid)
        position = self.position(query.grid, query.high)
        found = self.query(  # Eq. 6, 7, 8, 10, 11
            self.features, self.pair(support, query), mask, position, with_maps=with_maps
        )
        tokens = repeat_support(support.prototypes[-1], len(query.high))  # (S, N, C)
        prompts = self.matching(tokens, found.prototypes[-1])  # Eq. 12
        return head_output(
            prompts, prior, found, support, query.grid, correlation=correlated, with_maps=with_maps
        )
