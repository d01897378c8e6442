"""Label Studio's shapes: brush strokes, polygons, rectangles, ellipses and key points.

Coordinates are percent of the picture's width and height, 0 … 100; angles are degrees, clockwise,
around a rectangle's upper left corner or an ellipse's middle. Brush strokes are in px
(``fcp.formats.label_studio``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isfinite, radians
from typing import Any

import numpy as np

from fcp.data.prompts import Box, Points
from fcp.errors import FcpError
from fcp.formats.examples import Drawn, inside
from fcp.formats.label_studio import read_brush_runs
from fcp.formats.polygons import as_points, fill_ellipse, fill_polygons, refuse_far
from fcp.formats.run_lengths import to_runs

Size = tuple[int, int]
_DIGITS = 6  # of px: percent are not exact, and a box covers every pixel that it touches


def read_shape(kind: str, value: Mapping[str, Any], size: Size, where: str) -> Drawn:
    """Convert the value of a region to an annotation.

    Args:
        kind: Kind of the shape, one of ``KINDS``.
        value: Numbers of the shape.
        size: Size (H, W) in px of the picture that it was drawn on.
        where: Name of the region in an error.

    Raises:
        FcpError: a number is missing, is no number, or lies far outside the picture.
    """
    return _READERS[kind](value, size, where)


def percent_of(size: Size) -> np.ndarray:
    """Return the px of one percent of a picture (H, W), along x and y."""
    return np.array([size[1], size[0]]) / 100


def _brush(value: Mapping[str, Any], size: Size, where: str) -> Drawn:
    return to_runs(read_brush_runs(value.get("rle"), size, where))


def _polygon(value: Mapping[str, Any], size: Size, where: str) -> Drawn:
    points = _pixels(value.get("points"), size, where)
    if len(points) < 3:
        raise FcpError(f"{where}: a polygon needs 3 points, got {len(points)}")
    return fill_polygons([points], size)


def _rectangle(value: Mapping[str, Any], size: Size, where: str) -> Drawn:
    corner, extent = _pairs(value, ("x", "y", "width", "height"), size, where)
    angle = _angle(value, where)
    if angle == 0:
        return Box(*corner.tolist(), *(corner + extent).round(_DIGITS).tolist())
    # Turned around its first corner, in px and not in percent.
    across = np.array([np.cos(angle), np.sin(angle)]) * extent[0]
    down = np.array([-np.sin(angle), np.cos(angle)]) * extent[1]
    corners = corner + np.array([0 * across, across, across + down, down])
    refuse_far(corners, size, where)
    return fill_polygons([corners], size)


def _ellipse(value: Mapping[str, Any], size: Size, where: str) -> Drawn:
    middle, radii = _pairs(value, ("x", "y", "radiusX", "radiusY"), size, where)
    return fill_ellipse(middle, radii, _angle(value, where), size, where)


def _key_point(value: Mapping[str, Any], size: Size, where: str) -> Drawn:
    return Points(inside(_pairs(value, ("x", "y"), size, where).tolist(), size))


_READERS: Mapping[str, Callable[[Mapping[str, Any], Size, str], Drawn]] = {
    "brushlabels": _brush,
    "polygonlabels": _polygon,
    "rectanglelabels": _rectangle,
    "ellipselabels": _ellipse,
    "keypointlabels": _key_point,
}
KINDS = tuple(_READERS)


def _pairs(value: Mapping[str, Any], names: tuple[str, ...], size: Size, where: str) -> np.ndarray:
    """Return numbers in percent, alternately of width and height, as pairs in px."""
    return _pixels([_number(value, name, where) for name in names], size, where)


def _number(value: Mapping[str, Any], name: str, where: str) -> float:
    try:
        number = float(value[name])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise FcpError(f"{where}: expected a number for {name}") from error
    if not isfinite(number):
        raise FcpError(f"{where}: expected a number for {name}, got {number}")
    return number


def _pixels(values: object, size: Size, where: str) -> np.ndarray:
    """Convert coordinates in percent, as pairs or flat, to points (P, 2) in px."""
    points = (as_points(values, where, "percent") * percent_of(size)).round(_DIGITS)
    refuse_far(points, size, where)
    return points


def _angle(value: Mapping[str, Any], where: str) -> float:
    return radians(_number(value, "rotation", where)) if value.get("rotation") else 0.0
