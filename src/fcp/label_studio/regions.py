"""Label Studio's regions → annotations, and masks → regions.

Coordinates are those of the upright picture (``fcp.formats.label_studio_shapes``), also where it
was shown rotated (``fcp.formats.label_studio_tasks``).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from fcp.data.pieces import connected_pieces
from fcp.errors import FcpError
from fcp.formats.examples import Drawn
from fcp.formats.label_studio import brush_runs
from fcp.formats.label_studio_shapes import KINDS, Size, percent_of, read_shape
from fcp.formats.polygons import mask_polygons
from fcp.label_studio.label_config import Control

Region = Mapping[str, Any]


def labels_of(region: Region) -> list[str]:
    """Return the labels of a region; empty for other kinds of result, such as a choice."""
    value, kind = region.get("value"), region.get("type")
    labels = value.get(kind) if isinstance(value, Mapping) and isinstance(kind, str) else None
    listed = labels if isinstance(labels, list) and kind in KINDS else []
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
    return read_shape(region["type"], region["value"], size, where)


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
    for value in _WRITERS[control.kind](mask) if mask.any() else []:
        yield {
            # A page replaces a region by a later one of the same id, so no two answers share one.
            "id": secrets.token_hex(5),
            "type": control.kind,
            "from_name": control.name,
            "to_name": picture,
            "original_width": width,
            "original_height": height,
            "image_rotation": 0,
            "value": {**value, control.kind: [label]},
            "score": score,
        }


def _write_brush(mask: np.ndarray) -> Iterator[dict[str, Any]]:
    yield {"format": "rle", "rle": brush_runs(mask)}


def _write_polygons(mask: np.ndarray) -> Iterator[dict[str, Any]]:
    for polygon in mask_polygons(mask):
        points = polygon / percent_of((mask.shape[0], mask.shape[1]))
        yield {"points": points.round(4).tolist(), "closed": True}


def _write_rectangles(mask: np.ndarray) -> Iterator[dict[str, Any]]:
    for piece in connected_pieces(mask):
        corners = np.array(piece.box).reshape(2, 2) / percent_of((mask.shape[0], mask.shape[1]))
        (x0, y0), (x1, y1) = corners.tolist()
        yield {"x": x0, "y": y0, "width": x1 - x0, "height": y1 - y0, "rotation": 0}


_WRITERS: Mapping[str, Callable[[np.ndarray], Iterator[dict[str, Any]]]] = {
    "brushlabels": _write_brush,
    "polygonlabels": _write_polygons,
    "rectanglelabels": _write_rectangles,
}
