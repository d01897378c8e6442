"""Support prototypes (Eq. 2, 4, 16): learnable tokens gather the support's foreground."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fcp.layers.attention import AttentionBlock


class SupportPrototypes(nn.Module):
    """N tokens, refined by one attention block a step.

    Args:
        tokens: Number of tokens N.
        width: Channels of the tokens C.
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
            keys: Guided cells of the key feature (S, n, C).
            last_values: Guided cells of the value feature (S, n, C).
            position: Position code of the cells (S, n, C), added to the keys only.
            excluded: Boolean mask (S, n), True outside the object's mask; None lets tokens read all
                cells.

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
