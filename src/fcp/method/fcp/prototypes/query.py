"""Query prototypes (Eq. 6, 7, 8, 10, 11, 17): tokens gather the query's foreground.

The query's mask is unknown, so each step's attention makes the mask that guides the next step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fcp.layers.attention import AttentionBlock
from fcp.method.fcp.prototypes.guidance import GuidedFeatures, Unguided
from fcp.method.fcp.prototypes.pseudo_mask import attention_mask


@dataclass(frozen=True)
class Gathered:
    """Output of the query branch.

    Attributes:
        prototypes: Tokens after each of the T steps (S, N, C).
        masks: Attention-based pseudo masks (S, L) of steps 1 … T-1, in 0 … 1.
        attention: Attention of all steps (S, T, N, L); None when not requested.
    """

    prototypes: tuple[Tensor, ...]
    masks: tuple[Tensor, ...]
    attention: Tensor | None


class QueryPrototypes(nn.Module):
    """N query tokens, refined by one attention block a step; the support has its own.

    Args:
        tokens: Number of tokens N.
        width: Channels of the tokens C.
        layers: Attention block of each of the T steps.
        attention_guided: Whether the attention makes pseudo masks (Eq. 8); else the first mask
            guides throughout.
        refresh: Whether each of those masks guides the keys anew (released program); else only the
            first mask guides them (Eq. 6).
    """

    def __init__(
        self,
        tokens: int,
        width: int,
        layers: Sequence[AttentionBlock],
        *,
        attention_guided: bool,
        refresh: bool,
    ) -> None:
        super().__init__()
        self.tokens = nn.Parameter(torch.randn(tokens, width))
        self.layers = nn.ModuleList(layers)
        self.attention_guided = attention_guided
        self.refresh = refresh

    def forward(
        self,
        features: GuidedFeatures,
        query: Unguided,
        mask: Tensor,
        position: Tensor,
        *,
        with_maps: bool,
    ) -> Gathered:
        """Gather the foreground.

        Args:
            features: Guidance of keys and values, shared with the support.
            query: The query's features before any mask guides them, S pairs.
            mask: First mask (S, L), in 0 … 1.
            position: Position code (L, C), added to the keys only.
            with_maps: Whether the attention of all steps is returned.
        """
        tokens = self.tokens.expand(len(mask), -1, -1)
        prototypes, masks, maps = [], [], []
        keys = features.guide_keys(query, mask)  # Eq. 6
        for step, layer in enumerate(self.layers, 1):
            is_last = step == len(self.layers)
            makes_mask = self.attention_guided and not is_last
            values = keys
            if is_last and features.key is not features.value:
                values = features.guide_values(query, mask)  # Eq. 10
            tokens, attention = layer(  # Eq. 7, 11
                tokens, keys + position, values, need_map=makes_mask or with_maps
            )
            prototypes.append(tokens)
            maps.append(attention)
            if makes_mask:
                mask = attention_mask(attention)  # Eq. 8
                masks.append(mask)
                keys = features.guide_keys(query, mask) if self.refresh else keys
        attention = torch.stack(maps, 1) if with_maps else None
        return Gathered(tuple(prototypes), tuple(masks), attention)
