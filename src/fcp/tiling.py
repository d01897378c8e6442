"""Large photos with small things: overlapping windows over the photo, their answers blended.

The photo is resized so that a tile has the side S of the square that the model sees; what is asked
and blended from there on is that canvas, not the photo.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor

from fcp.errors import FcpError
from fcp.prediction import Answer, Maps

OVERLAP = 0.25  # of a window's side, at least
MOST_PIXELS = 1 << 25  # of a canvas: 128 MB of log-odds for each class


@dataclass(frozen=True)
class Plan:
    """Where the windows lie on the canvas.

    Attributes:
        canvas: (H', W') px.
        corners: (top, left) of each window, S×S px, multiples of the stride; row by row.
    """

    canvas: tuple[int, int]
    corners: tuple[tuple[int, int], ...]


def plan_windows(size: tuple[int, int], tile: int, *, square: int, stride: int) -> Plan:
    """Cover a photo with overlapping windows.

    Args:
        size: (H, W) of the photo.
        tile: side of a window in px of the photo.
        square: S, side of a window in px of the canvas.
        stride: of the model's grid, px; S is a multiple of it.

    Returns:
        Windows that overlap by at least a quarter. A side that is shorter than a tile is stretched
        to one.

    Raises:
        FcpError: a tile under 1 px, or so small that the canvas is too large.
    """
    if tile < 1:
        raise FcpError(f"tile: expected at least 1 px, got {tile}")
    steps = [max(0, round((side * square / tile - square) / stride)) for side in size]
    height, width = (square + stride * count for count in steps)
    if height * width > MOST_PIXELS:
        least = ceil(square * (size[0] * size[1] / MOST_PIXELS) ** 0.5)
        raise FcpError(
            f"tile: {tile} px are too few for a photo of {size[1]}×{size[0]} px; "
            f"choose {least} or more"
        )
    tops, lefts = (_starts(count, square // stride) for count in steps)
    corners = tuple((stride * top, stride * left) for top in tops for left in lefts)
    return Plan((height, width), corners)


def _starts(free: int, window: int) -> list[int]:
    """Spread windows evenly over ``window + free`` cells, the first and last at the ends."""
    count = 1 + ceil(free / (window * (1 - OVERLAP)))
    return [round(free * index / max(1, count - 1)) for index in range(count)]


def blend(values: Sequence[Tensor], plan: Plan, *, shrink: int) -> Tensor:
    """Lay the windows' maps over the canvas; where they overlap, the nearer centre counts more.

    Args:
        values: (n, n) of each window, n = S / shrink.
        plan: where they lie.
        shrink: px of the canvas for one cell of a map; 1 or the stride.

    Returns:
        (H' / shrink, W' / shrink). Maps that agree where they overlap come out as they are, so that
        there are no seams.
    """
    side = len(values[0])
    ramp = torch.arange(1.0, side + 1)
    ramp = torch.minimum(ramp, ramp.flip(0))  # 1 … n / 2 … 1, never 0
    weight = ramp[:, None] * ramp
    height, width = (length // shrink for length in plan.canvas)
    total, weights = torch.zeros(height, width), torch.zeros(height, width)
    for one, corner in zip(values, plan.corners, strict=True):
        top, left = (place // shrink for place in corner)
        place = (slice(top, top + side), slice(left, left + side))
        total[place] += weight * one
        weights[place] += weight
    return total.div_(weights)


def blend_answers(answers: Sequence[Answer], plan: Plan, *, square: int) -> Answer:
    """Make one answer for the whole photo from those of its windows, S = ``square`` px wide."""
    against = [one.against for one in answers if one.against is not None]
    return Answer(
        classes={
            name: _blend_maps([one.classes[name] for one in answers], plan, square)
            for name in answers[0].classes
        },
        against=_blend_maps(against, plan, square) if against else None,
    )


def _blend_maps(maps: Sequence[Maps], plan: Plan, square: int) -> Maps:
    kinds = zip(*(vars(one).values() for one in maps), strict=True)
    return Maps(*(blend(kind, plan, shrink=square // len(kind[0])) for kind in kinds))
