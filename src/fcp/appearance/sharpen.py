"""Small log-odds → large ones whose edges are the picture's (guided filter, He et al. 2010, 2015).

In each window of the small picture the log-odds are taken for a linear function of the colours.
These functions are enlarged, and read with the colours of the large picture.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

WINDOW = 5  # cells a side
NOISE = 0.03**2  # variance of colours, 0 … 1, that no edge is made of


def enlarge_guided(odds: Tensor, picture: Tensor) -> Tensor:
    """Enlarge log-odds along the edges of a picture.

    Args:
        odds: (h, w).
        picture: (3, H, W) RGB in 0 … 1.

    Returns:
        (H, W).
    """
    size, small = picture.shape[1:], odds.shape
    guide = F.interpolate(picture[None], small, mode="bilinear", antialias=True)[0]
    slopes, rest = _fit_windows(odds, guide)
    lines = F.interpolate(torch.cat([slopes, rest[None]])[None], size, mode="bilinear")[0]
    return (lines[:3] * picture).sum(0) + lines[3]


def _fit_windows(odds: Tensor, guide: Tensor) -> tuple[Tensor, Tensor]:
    """Return slopes (3, h, w) and rests (h, w) of the lines, each the mean of the windows here."""
    products = (guide[:, None] * guide[None]).flatten(0, 1)
    means = _mean(torch.cat([guide, odds[None], products, guide * odds]))
    colour, odd, square, cross = means.split([3, 1, 9, 3])
    covariance = square.unflatten(0, (3, 3)) - colour[:, None] * colour[None]
    matrix = covariance.permute(2, 3, 0, 1) + NOISE * torch.eye(3)
    target = (cross - colour * odd).permute(1, 2, 0)
    slopes = torch.linalg.solve(matrix, target).permute(2, 0, 1)
    rest = odd[0] - (slopes * colour).sum(0)
    found = _mean(torch.cat([slopes, rest[None]]))
    return found[:3], found[3]


def _mean(maps: Tensor) -> Tensor:
    """Average (C, h, w) over windows; at the border over what there is of them."""
    pad = WINDOW // 2
    return F.avg_pool2d(maps[None], WINDOW, 1, pad, count_include_pad=False)[0]
