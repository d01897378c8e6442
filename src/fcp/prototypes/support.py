"""Support prototypes (Eq. 2, 4, 16): learnable tokens gather the support's foreground."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fcp.layers.attention import AttentionBlock


class SupportPrototypes(nn.Module):
    """N tokens, refined by one attention block a step.

    Args:
        tokens: N.
        width: C.
        layers: one block for each of the T steps.
    """

    def __init__(self, tokens: int, width: int, layers: Sequence[AttentionBlock]) -> None:
        super().__init__()
        self.tokens = nn.Parameter(torch.randn(tokens, width))
        self.layers = nn.ModuleList(layers)

    def forward(
        self, keys: Tensor, values: Sequence[Tensor], excluded: Tensor | None
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """Gather the foreground.

        Args:
            keys: (S, n, C) guided cells plus position code.
            values: guided cells (S, n, C) for each of the T steps.
            excluded: (S, n) boolean, cells outside the mask; None lets tokens read all.

        Returns:
            The tokens after each step, T × (S, N, C), and their attention (S, T, N, n).
        """
        tokens = self.tokens.expand(len(keys), -1, -1)
        prototypes, maps = [], []
        for layer, step_values in zip(self.layers, values, strict=True):
            tokens, attention = layer(tokens, keys, step_values, excluded=excluded, need_map=True)
            prototypes.append(tokens)
            maps.append(attention)
        return tuple(prototypes), torch.stack(maps, 1)
