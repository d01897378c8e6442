"""Support prototypes (Eq. 2, 4, 16): learnable tokens gather the support's foreground."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fcp.layers.attention import AttentionBlock


class SupportPrototypes(nn.Module):
    """N tokens, refined by one attention block a step.

    Args:
        tokens: N, number of tokens.
        width: C, their channels.
        layers: Attention block of each of the T steps.
    """

    def __init__(self, tokens: int, width: int, layers: Sequence[AttentionBlock]) -> None:
        super().__init__()
        self.tokens = nn.Parameter(torch.randn(tokens, width))
        self.layers = nn.ModuleList(layers)

    def forward(
        self, keys: Tensor, last_values: Tensor, position: Tensor, *, excluded: Tensor | None
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """Gather the foreground: values are the keys, and at step T ``last_values``.

        Args:
            keys: (S, n, C) guided cells of the key feature.
            last_values: (S, n, C) guided cells of the value feature.
            position: (S, n, C) position code of the cells, added to the keys only.
            excluded: (S, n) boolean, True outside the mask; None lets tokens read all cells.

        Returns:
            The tokens after each step, T × (S, N, C), and their attention (S, T, N, n).
        """
        tokens, placed = self.tokens.expand(len(keys), -1, -1), keys + position
        prototypes, maps = [], []
        for step, layer in enumerate(self.layers, 1):
            values = last_values if step == len(self.layers) else keys
            tokens, attention = layer(tokens, placed, values, excluded=excluded, need_map=True)
            prototypes.append(tokens)
            maps.append(attention)
        return tuple(prototypes), torch.stack(maps, 1)
