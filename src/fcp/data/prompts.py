"""Annotations of an example: a mask, or marks, which are boxes, scribbles and points.

As a mask at the picture's own size a box is filled, points become discs and a scribble becomes a
line (method, section 10), both 1/32 of the longer side wide, so that they do not vanish on the
feature grid. ``fcp.inference.outlines`` says more of what points and scribbles are on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, floor
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from fcp.data.decode import ImageLike
from fcp.data.images import name_of, read_image, read_mask
from fcp.errors import FcpError

MAX_POINTS = 20
SHARES = "all its coordinates lie in 0 … 1; expected px, not shares of the picture"
_WHOLE = 1e-3  # px by which a whole coordinate may differ from a whole number

Point = tuple[float, float]


@dataclass(frozen=True)
class Box:
    """A box around the object, in px of the upright picture; (x1, y1) is exclusive.

    Raises:
        FcpError: a coordinate is no number.

    Examples:
        >>> int(annotation_mask(Box(2, 1, 5, 3), (10, 10)).sum())
        6
    """

    x0: float
    y0: float
    x1: float
    y1: float

    def __post_init__(self) -> None:
        """Make the coordinates floats."""
        corners = _read_points("Box", [(self.x0, self.y0), (self.x1, self.y1)])
        names = (("x0", "y0"), ("x1", "y1"))
        for (across, down), (x, y) in zip(names, corners, strict=True):
            object.__setattr__(self, across, x)
            object.__setattr__(self, down, y)


@dataclass(frozen=True)
class Points:
    """Clicks on the object: (x, y) in px of the upright picture; any (N, 2) of numbers is taken.

    Raises:
        FcpError: these are no pairs of numbers.

    Examples:
        >>> bool(annotation_mask(Points([(3, 4)]), (10, 10))[4, 3])
        True
    """

    points: Sequence[Point]

    def __post_init__(self) -> None:
        """Make the points a tuple of pairs of floats."""
        object.__setattr__(self, "points", _read_points("Points", self.points))


@dataclass(frozen=True)
class Scribble:
    """A line drawn through the object: the (x, y) of its corners, in px of the upright picture.

    Raises:
        FcpError: these are no pairs of numbers.

    Examples:
        >>> mask = annotation_mask(Scribble([(1, 4), (8, 4)]), (10, 10))
        >>> bool(mask[4, 1:9].all())
        True
    """

    points: Sequence[Point]

    def __post_init__(self) -> None:
        """Make the corners a tuple of pairs of floats."""
        object.__setattr__(self, "points", _read_points("Scribble", self.points))


def _read_points(kind: str, points: Iterable[Sequence[float]]) -> tuple[Point, ...]:
    """Read the coordinates of a mark of some kind, from rows of an array or tensor too."""
    try:
        return tuple((_number(x), _number(y)) for x, y in points)
    except (TypeError, ValueError, OverflowError) as error:
        reason = str(error).split("\n", 1)[0]
        raise FcpError(
            f"{kind}: expected x and y in px of each point, as numbers; {reason}"
        ) from error


def _number(value: Any) -> float:  # noqa: ANN401  (of any library's numbers)
    if isinstance(value, str | bytes):
        raise TypeError(f"got the text {value!r}")
    return float(value)


Mark = Box | Points | Scribble
Marks = list[Mark] | tuple[Mark, ...]
Annotation = ImageLike | Mark | Marks


def marks_of(annotation: Annotation) -> tuple[Mark, ...]:
    """Return the marks of an annotation; none if it is a mask."""
    if isinstance(annotation, Box | Points | Scribble):
        return (annotation,)
    return tuple(annotation) if isinstance(annotation, list | tuple) else ()


def read_support(image: ImageLike, annotation: Annotation) -> tuple[np.ndarray, np.ndarray]:
    """Read an example: the picture, and its annotation as a mask.

    Returns:
        (H, W, 3) uint8 RGB and (H, W) bool with at least one foreground pixel.

    Raises:
        FcpError: the picture or the annotation is unreadable, they do not fit, or nothing is
            annotated; the message names the files.
    """
    pixels = read_image(image)
    size = (pixels.shape[0], pixels.shape[1])
    mask = annotation_mask(annotation, size, name_of(image))
    if not mask.any():
        raise FcpError(
            f"{name_of(annotation)}: the mask of {name_of(image)} is empty; "
            "mark the object to find in it"
        )
    return pixels, mask


def annotation_mask(
    annotation: Annotation, size: tuple[int, int], picture: str = "its picture"
) -> np.ndarray:
    """Turn any annotation into a mask.

    Args:
        annotation: Mask, or one or several marks.
        size: Size (H, W) of the upright picture.
        picture: Name of the picture in an error.

    Returns:
        (H, W) bool; all False only if a given mask is.

    Raises:
        FcpError: an unreadable mask or one of another size, an empty list, an empty box, no points,
            a box or point outside the picture, or coordinates that are shares of its size.
    """
    if isinstance(annotation, list | tuple):
        return _union(annotation, size, picture)
    if isinstance(annotation, Box):
        return _fill_box(annotation, size, picture)
    if isinstance(annotation, Points | Scribble):
        _refuse_shares(annotation, annotation.points, size, picture)
    if isinstance(annotation, Points):
        return _draw(annotation.points, size, picture, joined=False)
    if isinstance(annotation, Scribble):
        return _draw(annotation.points, size, picture, joined=True)
    return read_mask(annotation, size, picture)


def _union(marks: Sequence[Mark], size: tuple[int, int], picture: str) -> np.ndarray:
    strange = [mark for mark in marks if not isinstance(mark, Box | Points | Scribble)]
    if strange or not marks:
        found = f"an item is of {type(strange[0])}" if strange else "it is empty"
        raise FcpError(f"{picture}: a list of marks holds Box, Points and Scribble; {found}")
    joined: np.ndarray = np.logical_or.reduce([annotation_mask(m, size, picture) for m in marks])
    return joined


def are_shares(points: np.ndarray, size: tuple[int, int]) -> bool:
    """Return whether coordinates lie in 0 … 1 and few are whole, unlike marks in px.

    Args:
        points: Points (N, 2).
        size: Height and width of their picture, px.
    """
    inside = ((points >= 0) & (points <= 1)).all()
    fractions = (abs(points - points.round()) > _WHOLE).sum()
    return bool(inside) and min(size) > 1 and 2 * int(fractions) >= points.size


def _refuse_shares(
    mark: Mark, points: Sequence[Point], size: tuple[int, int], picture: str
) -> None:
    """Refuse shares of the picture's size, which would all lie in its first pixel.

    One point on the edge or in the middle of that pixel is in px: there readers of files put what
    lies on the picture's edge.
    """
    on_edge = len(points) == 1 and set(points[0]) <= {0, 0.5, 1}
    if points and not on_edge and are_shares(np.array(points), size):
        raise FcpError(f"{picture}: {mark}: {SHARES}")


def _fill_box(box: Box, size: tuple[int, int], picture: str) -> np.ndarray:
    _refuse_shares(box, [(box.x0, box.y0), (box.x1, box.y1)], size, picture)
    height, width = size
    if box.x0 < box.x1 and box.y0 < box.y1:
        x0, x1 = floor(max(0, box.x0)), ceil(min(width, box.x1))
        y0, y1 = floor(max(0, box.y0)), ceil(min(height, box.y1))
    else:
        x0 = x1 = y0 = y1 = 0
    if x0 >= x1 or y0 >= y1:
        raise FcpError(
            f"{picture}: {box} holds no pixel of the picture ({width}×{height} px); "
            "expected x0 < x1 and y0 < y1 inside it"
        )
    mask = np.zeros(size, dtype=bool)
    mask[y0:y1, x0:x1] = True
    return mask


def _draw(
    points: Sequence[Point], size: tuple[int, int], picture: str, *, joined: bool
) -> np.ndarray:
    """Draw discs at the points, and the line through them where they are joined."""
    height, width = size
    outside = [(x, y) for x, y in points if not (0 <= x < width and 0 <= y < height)]
    if not points or outside:
        reason = "no points are given for"
        if outside:
            x, y = outside[0]
            reason = f"the point ({x:g}, {y:g}) lies outside"
        raise FcpError(f"{picture}: {reason} the picture ({width}×{height} px)")
    radius = max(height, width) / 64
    canvas = Image.new("1", (width, height))
    draw = ImageDraw.Draw(canvas)
    if joined:
        draw.line(list(points), fill=1, width=max(1, round(2 * radius)))
    for x, y in points:
        draw.circle((x, y), radius, fill=1)
    mask = np.array(canvas.convert("L")) > 0  # of mode 1, Pillow writes True as 255
    # Pillow may draw no pixel for a tiny disc; the marked pixels themselves always count.
    for x, y in points:
        mask[int(y), int(x)] = True
    return mask
