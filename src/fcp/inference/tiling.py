"""Large photos with small objects: overlapping windows over the photo, their answers blended.

The photo is resized so that a tile has the side S of the square that the model reads. The resized
photo is the canvas, on which windows are segmented and blended. Examples are cut to one tile around
the object, so that it has the same size in examples and photos.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from operator import index

import numpy as np
import torch
from torch import Tensor

from fcp.data.pieces import connected_pieces
from fcp.data.transforms import map_to_size
from fcp.errors import FcpError
from fcp.inference.prediction import Maps

OVERLAP = 0.25  # least overlap of two windows, as a share of their side
MOST_CANVAS = 1 << 25  # most pixels of a canvas: 128 MB of log-odds for each class
OBJECT_SHARE = 0.25  # share of a tile's side that an object takes where the side is chosen here
STRIDE = 8  # px of the canvas for one cell of the blended grids
CUT_FACTOR = 1.5  # side of a closer cut, in longer sides of the marked object
LEAST_CUT = 96  # least side of a closer cut, px
MOST_OF_PICTURE = 0.6  # most of the picture that a closer cut shows; else it is no closer
WORTH_CUTTING = 1 / 3  # of a picture's longer side; larger tiles show little more than the whole

Marked = tuple[np.ndarray, np.ndarray]  # a picture (H, W, 3) and its mask (H, W)


@dataclass(frozen=True)
class Plan:
    """Places of the windows on the canvas.

    Attributes:
        canvas: Size of the canvas (H', W'), px.
        corners: Top and left of each window, S×S px, multiples of the stride; row by row.
        stride: Side of a grid's cell, px of the canvas.
    """

    canvas: tuple[int, int]
    corners: tuple[tuple[int, int], ...]
    stride: int


def plan_windows(size: tuple[int, int], tile: int, *, square: int, stride: int) -> Plan:
    """Cover a photo with overlapping windows.

    Args:
        size: Size of the photo (H, W), px.
        tile: Side of a window, px of the photo.
        square: Side S of a window, px of the canvas.
        stride: Side of a grid's cell, px of the canvas; S is a multiple of it.

    Returns:
        Windows that overlap by at least a quarter. A side that is shorter than a tile is stretched
        to one.

    Raises:
        FcpError: a tile under 1 px, or so small that the canvas is too large.
    """
    tile = require_side(tile)
    steps = [max(0, round((side * square / tile - square) / stride)) for side in size]
    height, width = (square + stride * count for count in steps)
    if height * width > MOST_CANVAS:
        raise FcpError(
            f"tile: {tile} px are too few for a photo of {size[1]}×{size[0]} px; "
            f"choose {least_tile(size, square)} or more"
        )
    tops, lefts = (_starts(count, square // stride) for count in steps)
    corners = tuple((stride * top, stride * left) for top in tops for left in lefts)
    return Plan((height, width), corners, stride)


def require_side(tile: int) -> int:
    """Return a tile's side, px, as a plain number.

    Raises:
        FcpError: no whole number, or less than 1.
    """
    try:
        side = index(tile)
    except TypeError as error:
        expected = "expected a whole number of px, 'auto' or None"
        raise FcpError(f"tile: {expected}, got {tile!r}") from error
    if side < 1:
        raise FcpError(f"tile: expected at least 1 px, got {side}")
    return side


def least_tile(size: tuple[int, int], square: int) -> int:
    """Return the smallest tile, px, that ``plan_windows`` takes for a photo of this size (H, W)."""
    by_area = square * (size[0] * size[1] / MOST_CANVAS) ** 0.5
    by_length = max(size) * square**2 / MOST_CANVAS  # of a strip that is thinner than a tile
    return ceil(1.01 * max(by_area, by_length))  # the canvas is rounded to the grid


def choose_tile(classes: Mapping[str, Sequence[Marked]], *, square: int) -> int | None:
    """Choose a tile by the size of the objects in the examples; photos should have their scale.

    An object's side is the square root of the area of a connected piece. The side of a class is the
    median over its pieces, weighted by area so that specks do not count. The tile is four times the
    side of the class with the largest objects, but no smaller than the square that the model reads,
    since magnifying a photo shows nothing new. Where the tile would be longer than a third of an
    example's longer side, photos are segmented as a whole.

    Args:
        classes: Examples of each class by its name.
        square: Side S of the square that the model reads, px.

    Returns:
        The side in px, or None for the whole photo.
    """
    side = max(_object_side(examples) for examples in classes.values())
    tile = max(square, round(side / OBJECT_SHARE))
    shortest = min(max(mask.shape) for examples in classes.values() for _, mask in examples)
    return tile if tile < WORTH_CUTTING * shortest else None


def _object_side(examples: Sequence[Marked]) -> float:
    """Return the median side in px of the objects in the examples of a class."""
    areas = np.sort([int(p.mask.sum()) for _, mask in examples for p in connected_pieces(mask)])
    middle = np.searchsorted(areas.cumsum(), areas.sum() / 2)
    return float(areas[middle]) ** 0.5


def cut_to_tile(image: np.ndarray, mask: np.ndarray, tile: int) -> Marked:
    """Cut an example to a tile around its largest piece, within the picture.

    Returns:
        Picture and mask, ``tile`` px a side or as long as the picture is.
    """
    largest = max(connected_pieces(mask), key=lambda piece: int(piece.mask.sum()))
    x0, y0, x1, y1 = largest.box
    rows = _around((y0 + y1) // 2, tile, mask.shape[0])
    columns = _around((x0 + x1) // 2, tile, mask.shape[1])
    return image[rows, columns], mask[rows, columns]


def cut_closer(image: np.ndarray, mask: np.ndarray) -> Marked | None:
    """Cut an example to 1.5 times the longer side of its marked object, within the picture.

    A small object covers few cells of the whole picture and many of this cut.

    Returns:
        Picture and mask; None where the cut would show more than 60 % of the picture.
    """
    ys, xs = np.nonzero(mask)
    x0, y0, x1, y1 = xs.min(), ys.min(), xs.max() + 1, ys.max() + 1
    side = max(LEAST_CUT, round(CUT_FACTOR * max(x1 - x0, y1 - y0)))
    height, width = mask.shape
    if min(side, height) * min(side, width) > MOST_OF_PICTURE * height * width:
        return None
    rows = _around(int(y0 + y1) // 2, side, height)
    columns = _around(int(x0 + x1) // 2, side, width)
    return image[rows, columns], mask[rows, columns]


def _around(centre: int, length: int, end: int) -> slice:
    start = max(0, min(centre - length // 2, end - length))
    return slice(start, start + length)


def _starts(free: int, window: int) -> list[int]:
    """Spread windows evenly over ``window + free`` cells, the first and last at the ends."""
    count = 1 + ceil(free / (window * (1 - OVERLAP)))
    return [round(free * index / max(1, count - 1)) for index in range(count)]


class Blend:
    """Weighted mean of windows' maps on the canvas; weights fall from a window's centre outwards.

    Maps that agree where they overlap are not changed, so that there are no seams.

    Args:
        plan: Places of the windows.
        side: Side of a map n, cells.
        shrink: Side of a map's cell, px of the canvas; 1 or the stride.
    """

    def __init__(self, plan: Plan, *, side: int, shrink: int) -> None:
        self._shrink = shrink
        ramp = torch.arange(1.0, side + 1)
        self._ramp = torch.minimum(ramp, ramp.flip(0))  # 1 … n / 2 … 1, never 0
        height, width = (length // shrink for length in plan.canvas)
        self._total = torch.zeros(height, width)
        tops, lefts = ({corner[axis] for corner in plan.corners} for axis in (0, 1))
        # The sum of all windows' weights at a cell is the product of those of its row and column.
        self._down, self._across = self._weights(tops, height), self._weights(lefts, width)

    def _weights(self, starts: Iterable[int], length: int) -> Tensor:
        weights = torch.zeros(length)
        for start in (place // self._shrink for place in starts):
            weights[start : start + len(self._ramp)] += self._ramp
        return weights

    def add(self, values: Tensor, corner: tuple[int, int]) -> None:
        """Add the map (n, n) of the window at a corner of the plan; each once."""
        side = len(self._ramp)
        top, left = (place // self._shrink for place in corner)
        weight = self._ramp[:, None] * self._ramp
        self._total[top : top + side, left : left + side] += weight * values

    def result(self) -> Tensor:
        """Return the blended map (H' / shrink, W' / shrink), after the last window."""
        for row, weight in zip(self._total, self._down, strict=True):
            row.div_(weight * self._across)
        return self._total


class _MapsBlend:
    """Blend of the three maps of a class."""

    def __init__(self, plan: Plan, square: int) -> None:
        self._cells = square // plan.stride
        self._logits = Blend(plan, side=square, shrink=1)
        self._grids = [Blend(plan, side=self._cells, shrink=plan.stride) for _ in range(2)]
        self._by_appearance = False
        self._presence: float | None = None

    def add(self, maps: Maps, corner: tuple[int, int]) -> None:
        self._logits.add(maps.logits, corner)
        size = (self._cells, self._cells)  # maps of any grid are resized to the plan's stride
        for blend, grid in zip(
            self._grids, (maps.pseudo_mask, maps.conventional_mask), strict=True
        ):
            blend.add(map_to_size(grid, size), corner)
        self._by_appearance = maps.by_appearance
        if maps.presence is not None:
            self._presence = max(maps.presence, self._presence or 0.0)

    def result(self) -> Maps:
        pseudo, conventional = (blend.result() for blend in self._grids)
        return Maps(
            self._logits.result(), pseudo, conventional, self._presence, self._by_appearance
        )


def blend_answers(answers: Iterable[Sequence[Maps]], plan: Plan, *, square: int) -> list[Maps]:
    """Make one answer for the whole photo from those of its windows, S = ``square`` px wide.

    The windows are taken one at a time, in the order of the plan's corners, and none is kept.

    Args:
        answers: Maps of each class in each window.
        plan: Places of the windows.
        square: Side S of a window, px.

    Returns:
        Maps of each class. A class that is present in any window is present in the photo.
    """
    blends: list[_MapsBlend] = []
    for answer, corner in zip(answers, plan.corners, strict=True):
        blends = blends or [_MapsBlend(plan, square) for _ in answer]
        for blend, maps in zip(blends, answer, strict=True):
            blend.add(maps, corner)
    return [blend.result() for blend in blends]
