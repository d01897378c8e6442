"""Label Studio's regions → annotations, and masks → regions.

Coordinates are percent of the upright picture's width and height, also where it was shown rotated
(``fcp.formats.label_studio_tasks``); angles are degrees, clockwise, around a box's upper left
corner. Brush strokes are in px (``fcp.formats.label_studio``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from math import cos, isfinite, pi, radians, sin
from typing import Any

import numpy as np

from fcp.data.pieces import connected_pieces
from fcp.data.prompts import Box, Points
from fcp.errors import FcpError
from fcp.formats.examples import Drawn, inside
from fcp.formats.label_studio import brush_runs, read_brush_runs
from fcp.formats.polygons import as_points, fill_polygons, mask_polygons, refuse_far
from fcp.formats.run_lengths import to_runs
from fcp.label_studio.label_config import Control

Region = Mapping[str, Any]
Size = tuple[int, int]
CORNERS_OF_ELLIPSE = 64


def labels_of(region: Region) -> list[str]:
    """Return the labels of a region; empty for other kinds of result, such as a choice."""
    value, kind = region.get("value"), region.get("type")
    labels = value.get(kind) if isinstance(value, Mapping) and isinstance(kind, str) else None
    listed = labels if isinstance(labels, list) and kind in _READERS else []
    return [label for label in listed if isinstance(label, str) and label.strip()]


def read_region(region: Region, size: Size, where: str) -> Drawn:
    """Convert a region to an annotation.

    Args:
        region: Region of a kind that ``labels_of`` knows.
        size: (H, W) of the upright picture in px.
        where: Name of the region in error messages.

    Raises:
        FcpError: the region is damaged, or was drawn on a picture of another size.
    """
    stated = (region.get("original_height"), region.get("original_width"))
    if None not in stated and stated != size:
        raise FcpError(
            f"{where}: drawn on a picture of {stated[1]}×{stated[0]} px, but it has "
            f"{size[1]}×{size[0]} px; was the picture replaced?"
        )
    return _READERS[region["type"]](region["value"], size, where)


def write_regions(
    mask: np.ndarray, label: str, control: Control, picture: str, score: float
) -> Iterator[dict[str, Any]]:
    """Yield the regions of a mask: one brush stroke, or a shape for each part.

    Args:
        mask: Mask (H, W) bool; an empty one has no region.
        label: Label of all regions.
        control: Tag that draws the regions.
        picture: Name of the tag that shows the picture.
        score: Score of all regions, 0 … 1.
    """
    height, width = mask.shape
    for index, value in enumerate(_WRITERS[control.kind](mask) if mask.any() else []):
        # Ids must be unique on a page, for all labels and tags.
        name = hashlib.sha256(f"{control.name}/{label}/{index}".encode()).hexdigest()
        yield {
            "id": name[:10],
            "type": control.kind,
            "from_name": control.name,
            "to_name": picture,
            "original_width": width,
            "original_height": height,
            "image_rotation": 0,
            "value": {**value, control.kind: [label]},
            "score": score,
        }


def _brush(value: Region, size: Size, where: str) -> Drawn:
    return to_runs(read_brush_runs(value.get("rle"), size, where))


def _polygon(value: Region, size: Size, where: str) -> Drawn:
    points = as_points(value.get("points"), where, "percent") * _percent(size)
    refuse_far(points, size, where)
    if len(points) < 3:
        raise FcpError(f"{where}: a polygon needs 3 points")
    return fill_polygons([points], size)


def _rectangle(value: Region, size: Size, where: str) -> Drawn:
    x, y, width, height = _numbers(value, ("x", "y", "width", "height"), size, where)
    if not value.get("rotation"):
        return Box(x, y, x + width, y + height)
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)])
    return fill_polygons([_turned(corners, value, where) + np.array([x, y])], size)


def _ellipse(value: Region, size: Size, where: str) -> Drawn:
    x, y, across, down = _numbers(value, ("x", "y", "radiusX", "radiusY"), size, where)
    angles = np.linspace(0, 2 * pi, CORNERS_OF_ELLIPSE, endpoint=False)
    around = np.stack([across * np.cos(angles), down * np.sin(angles)], axis=1)
    return fill_polygons([_turned(around, value, where) + np.array([x, y])], size)


def _key_point(value: Region, size: Size, where: str) -> Drawn:
    x, y = _numbers(value, ("x", "y"), size, where)
    return Points(inside([(x, y)], size))


_READERS: Mapping[str, Callable[[Region, Size, str], Drawn]] = {
    "brushlabels": _brush,
    "polygonlabels": _polygon,
    "rectanglelabels": _rectangle,
    "ellipselabels": _ellipse,
    "keypointlabels": _key_point,
}


def _write_brush(mask: np.ndarray) -> Iterator[dict[str, Any]]:
    yield {"format": "rle", "rle": brush_runs(mask)}


def _write_polygons(mask: np.ndarray) -> Iterator[dict[str, Any]]:
    for polygon in mask_polygons(mask):
        points = polygon / _percent((mask.shape[0], mask.shape[1]))
        yield {"points": points.round(4).tolist(), "closed": True}


def _write_rectangles(mask: np.ndarray) -> Iterator[dict[str, Any]]:
    for piece in connected_pieces(mask):
        corners = np.array(piece.box).reshape(2, 2) / _percent((mask.shape[0], mask.shape[1]))
        (x0, y0), (x1, y1) = corners.tolist()
        yield {"x": x0, "y": y0, "width": x1 - x0, "height": y1 - y0, "rotation": 0}


_WRITERS: Mapping[str, Callable[[np.ndarray], Iterator[dict[str, Any]]]] = {
    "brushlabels": _write_brush,
    "polygonlabels": _write_polygons,
    "rectanglelabels": _write_rectangles,
}


def _percent(size: Size) -> np.ndarray:
    """Return the px of one percent, along x and y."""
    return np.array([size[1], size[0]]) / 100


def _numbers(value: Region, names: tuple[str, ...], size: Size, where: str) -> list[float]:
    """Convert numbers in percent, alternately of width and height, to px."""
    pairs = np.array([_number(value, name, where) for name in names]).reshape(-1, 2)
    points = pairs * _percent(size)
    refuse_far(points, size, where)
    flat: list[float] = points.reshape(-1).tolist()
    return flat


def _number(value: Region, name: str, where: str) -> float:
    try:
        number = float(value[name])
    except (KeyError, TypeError, ValueError) as error:
        raise FcpError(f"{where}: expected a number for {name}") from error
    if not isfinite(number):
        raise FcpError(f"{where}: expected a number for {name}, got {number}")
    return number


def _turned(points: np.ndarray, value: Region, where: str) -> np.ndarray:
    angle = radians(_number(value, "rotation", where)) if value.get("rotation") else 0.0
    turn = np.array([(cos(angle), sin(angle)), (-sin(angle), cos(angle))])
    turned: np.ndarray = points @ turn
    return turned
