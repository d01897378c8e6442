"""Contrast (ours): is a cell more like the support's foreground, or like its background?

The conventional mask knows the foreground of one layer alone. Where the backbone is small, the mean
foreground *and* background at every level tell apart classes that training never showed (measured
in docs/lab/tiny.md), so guidance may read these similarities beside its mask, and presence is
judged by them.

A level is a part of the channels of the backbone's mid-level map: ``levels`` are their channel
counts, which sum to Cm.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def level_units(mid: Tensor, levels: Sequence[int]) -> Tensor:
    """Scale each level's part of each cell (…, Cm, n) to length 1; zeros stay zero."""
    return torch.cat([F.normalize(part, dim=-2) for part in mid.split(list(levels), -2)], -2)


def level_means(units: Tensor, inside: Tensor, levels: Sequence[int]) -> Tensor:
    """Average the support's foreground and its background, each level again of length 1.

    Args:
        units: (S, Cm, L) cells, each level of length 1.
        inside: (S, L) boolean, True inside the mask.
        levels: Channels of each level.

    Returns:
        (S, 2, Cm): foreground, background. A mask that covers all has a background of 0.
    """
    weights = torch.stack([inside, ~inside], 1).to(units.dtype)  # (S, 2, L)
    return level_units((weights @ units.mT).mT, levels).mT


def contrast_maps(means: Tensor, units: Tensor, levels: Sequence[int]) -> Tensor:
    """Compare cells with both means at each level by cosine similarity.

    Args:
        means: (…, 2, Cm) means of ``level_means``.
        units: (…, Cm, n) cells, each level of length 1; leading axes broadcast.
        levels: Channels of each level.

    Returns:
        (…, 2·levels, n) in -1 … 1: foreground and background of the first level, then the next.
    """
    parts = zip(means.split(list(levels), -1), units.split(list(levels), -2), strict=True)
    return torch.cat([mean @ cells for mean, cells in parts], -2)
