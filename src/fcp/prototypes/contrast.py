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


def unit_levels(mid: Tensor, levels: Sequence[int]) -> Tensor:
    """Scale each level's part of each cell to length 1; a part of zeros stays zero.

    Args:
        mid: (…, Cm, n) cells of the backbone's mid-level map.
        levels: channels of each level, which sum to Cm.
    """
    return torch.cat([F.normalize(part, dim=-2) for part in mid.split(list(levels), -2)], -2)


def contrast_means(units: Tensor, inside: Tensor, levels: Sequence[int]) -> Tensor:
    """Average the support's foreground and its background, each level again of length 1.

    Args:
        units: (S, Cm, L) of ``unit_levels``.
        inside: (S, L) boolean.
        levels: as there.

    Returns:
        (S, 2, Cm): foreground, background. A mask that covers the picture has a background of 0.
    """
    weights = torch.stack([inside, ~inside], 1).to(units.dtype)  # (S, 2, L)
    return unit_levels((weights @ units.mT).mT, levels).mT


def contrast_maps(means: Tensor, units: Tensor, levels: Sequence[int]) -> Tensor:
    """Compare cells with both means at each level by cosine similarity.

    Args:
        means: (…, 2, Cm) of ``contrast_means``.
        units: (…, Cm, n) of ``unit_levels``; leading axes broadcast.
        levels: as there.

    Returns:
        (…, 2·levels, n) in -1 … 1: foreground and background of the first level, then the next.
    """
    parts = zip(means.split(list(levels), -1), units.split(list(levels), -2), strict=True)
    return torch.cat([mean @ cells for mean, cells in parts], -2)
