"""Contrast (ours): is a cell more like the support's foreground, or like its background?

The conventional mask knows the foreground of one layer alone. Where the backbone is small, the mean
foreground *and* background at every level tell apart things that training never showed (measured in
docs/tiny.md), so guidance may read these similarities beside its mask.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from fcp.errors import FcpError


class Contrast:
    """Compares cells of the backbone's mid-level map, each level's part on its own.

    Args:
        levels: channels of each level.
        mid_channels: Cm, channels of the whole map.

    Raises:
        FcpError: the levels do not sum to Cm.
    """

    def __init__(self, levels: Sequence[int], mid_channels: int) -> None:
        self.levels = list(levels)
        if sum(levels) != mid_channels:
            raise FcpError(
                f"contrast_levels: {self.levels} sum to {sum(levels)}, but the backbone's "
                f"mid-level map has {mid_channels} channels"
            )

    def units(self, mid: Tensor) -> Tensor:
        """Scale each level's part of each cell (…, Cm, n) to length 1; zeros stay zero."""
        return torch.cat([F.normalize(part, dim=-2) for part in mid.split(self.levels, -2)], -2)

    def means(self, units: Tensor, inside: Tensor) -> Tensor:
        """Average the support's foreground and its background, each level again of length 1.

        Args:
            units: (S, Cm, L) of ``units``.
            inside: (S, L) boolean.

        Returns:
            (S, 2, Cm): foreground, background. A mask that covers all has a background of 0.
        """
        weights = torch.stack([inside, ~inside], 1).to(units.dtype)  # (S, 2, L)
        return self.units((weights @ units.mT).mT).mT

    def maps(self, means: Tensor, units: Tensor) -> Tensor:
        """Compare cells with both means at each level by cosine similarity.

        Args:
            means: (…, 2, Cm) of ``means``.
            units: (…, Cm, n) of ``units``; leading axes broadcast.

        Returns:
            (…, 2·levels, n) in -1 … 1: foreground and background of the first level, then the next.
        """
        parts = zip(means.split(self.levels, -1), units.split(self.levels, -2), strict=True)
        return torch.cat([mean @ cells for mean, cells in parts], -2)
