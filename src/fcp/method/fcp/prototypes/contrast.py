"""Contrast (ours): similarity of a cell to the support's foreground and to its background.

The conventional mask compares only with the foreground, at one layer. With a small backbone the
means of foreground *and* background at every level tell classes apart that training never showed
(measured in docs/lab/tiny.md). Guidance may read these similarities beside its mask, and presence
is judged by them.

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
        units: Cells (S, Cm, L), each level of length 1.
        inside: Boolean mask (S, L), True inside the mask.
        levels: Channels of each level.

    Returns:
        Means (S, 2, Cm): foreground, background. A mask that covers all has a background of 0.
    """
    weights = torch.stack([inside, ~inside], 1).to(units.dtype)  # (S, 2, L)
    return level_units((weights @ units.mT).mT, levels).mT


def contrast_maps(means: Tensor, units: Tensor, levels: Sequence[int]) -> Tensor:
    """Compare cells with both means at each level by cosine similarity.

    Args:
        means: Foreground and background means (…, 2, Cm) of ``level_means``.
        units: Cells (…, Cm, n), each level of length 1; leading axes broadcast.
        levels: Channels of each level.

    Returns:
        Cosines (…, 2·levels, n) in -1 … 1: to foreground and background at the first level, then
        at the next.
    """
    parts = zip(means.split(list(levels), -1), units.split(list(levels), -2), strict=True)
    return torch.cat([mean @ cells for mean, cells in parts], -2)
