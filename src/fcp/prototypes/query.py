"""Query prototypes (Eq. 6, 7, 8, 10, 11, 17): tokens gather the query's foreground.

Nobody knows the query's mask, so each step's attention makes the mask that guides the next.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fcp.layers.attention import AttentionBlock
from fcp.prototypes.pseudo_mask import attention_mask

Guide = Callable[[Tensor], Tensor]  # mask (S, L) → guided cells (S, L, C)


@dataclass(frozen=True)
class Gathered:
    """What the query branch found.

    Attributes:
        prototypes: tokens after each step, T × (S, N, C).
        masks: attention-based pseudo masks of steps 1 … T-1, each (S, L) in 0 … 1.
        attention: (S, T, N, L), or None when not asked for.
    """

    prototypes: tuple[Tensor, ...]
    masks: tuple[Tensor, ...]
    attention: Tensor | None


class QueryPrototypes(nn.Module):
    """N tokens, refined by one attention block a step; not the support's tokens.

    Args:
        tokens: N.
        width: C.
        layers: one block for each of the T steps.
        attention_guided: make pseudo masks from the attention (Eq. 8); else the conventional one
            guides throughout.
        refresh: guide the keys anew with each of those masks (released program), or once, with the
            conventional one (Eq. 6).
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
        prior: Tensor,
        position: Tensor,
        *,
        guide: Guide,
        guide_last: Guide | None,
        with_maps: bool,
    ) -> Gathered:
        """Gather the foreground.

        Args:
            prior: (S, L) the conventional pseudo mask.
            position: (L, C) position code, on the keys only.
            guide: guides the feature that all steps read.
            guide_last: guides the values of step T; None reads the same feature there.
            with_maps: return the attention of all steps.
        """
        tokens = self.tokens.expand(len(prior), -1, -1)
        prototypes, masks, maps = [], [], []
        mask, cells = prior, guide(prior)
        for step, layer in enumerate(self.layers, 1):
            is_last = step == len(self.layers)
            values = guide_last(mask) if is_last and guide_last else cells
            makes_mask = self.attention_guided and not is_last
            tokens, attention = layer(
                tokens, cells + position, values, need_map=makes_mask or with_maps
            )
            prototypes.append(tokens)
            maps.append(attention)
            if makes_mask:
                mask = attention_mask(attention)
                masks.append(mask)
                cells = guide(mask) if self.refresh else cells
        attention = torch.stack(maps, 1) if with_maps else None
        return Gathered(tuple(prototypes), tuple(masks), attention)
