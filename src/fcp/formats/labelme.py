"""LabelMe (5.x): a JSON for each picture, whose shapes are points in px.

Coordinates are those of pixel edges; a shape of type ``mask`` is a PNG in the box between two
pixels, both included. A polygon can say no holes: what is written joins them by a bridge without
area. The parts of an object share a ``group_id``.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fcp.config import load_json
from fcp.data.folder import files_in
from fcp.data.images import picture_of, read_image, read_mask, read_size
from fcp.data.prompts import Box, Points, Scribble
from fcp.errors import FcpError
from fcp.formats.examples import Drawn, DrawnPicture, Example, examples_by_class, inside
from fcp.formats.places import find_picture, plain, require_stated_size
from fcp.formats.polygons import fill_polygons, mask_polygons, read_points
from fcp.formats.records import LabelledObject, LabelledPicture
from fcp.formats.run_lengths import to_runs
from fcp.formats.writer import Writer, make_folder, write_beside

VERSION = "5.5.0"  # of LabelMe, whose layout is written


def read_labelme(path: Path) -> dict[str, list[Example]]:
    """Read polygons, masks, circles, boxes, lines and points.

    Args:
        path: a JSON, or a folder in which every JSON is LabelMe's.

    Returns:
        Label → examples; labels in the order in which they are met, pictures in natural order.

    Raises:
        FcpError: no LabelMe JSON, a picture that is missing, elsewhere or of another size, or a
            shape that cannot be painted.
    """
    inside_it = files_in(path) if path.is_dir() else [path]
    files = [file for file in inside_it if file.suffix.lower() == ".json"]
    return examples_by_class(map(_read_file, files))


class LabelMeWriter(Writer):
    """Writes ``labelme/NAME.json``: polygons, and each object's ``score`` beside them.

    The picture is named by its path from the JSON's folder; open that folder in LabelMe.
    """

    def __init__(self, out: Path, class_names: Sequence[str]) -> None:
        super().__init__(out, class_names)
        self.folder = out / "labelme"
        make_folder(self.folder)

    @classmethod
    def files_of(cls, names: Iterable[str]) -> Iterator[str]:
        """Yield the file of each picture; see ``Writer``."""
        yield from (f"labelme/{name}.json" for name in names)

    def close(self) -> None:
        """Nothing speaks of all pictures."""

    def _add(self, picture: LabelledPicture) -> None:
        shapes = [
            shape for group, found in enumerate(picture.objects) for shape in _shapes(found, group)
        ]
        file = self.folder / f"{picture.name}.json"
        relative = os.path.relpath(plain(picture.file), plain(file.parent))
        content: dict[str, Any] = {
            "version": VERSION,
            "flags": {},
            "shapes": shapes,
            "imagePath": Path(relative).as_posix(),
            "imageData": None,
            "imageHeight": picture.size[0],
            "imageWidth": picture.size[1],
        }
        text = json.dumps(content, indent=2) + "\n"
        write_beside(file, text.encode())


def _shapes(found: LabelledObject, group: int) -> list[dict[str, Any]]:
    polygons = mask_polygons(found.mask)
    score = {} if found.score is None else {"score": found.score}
    return [
        {
            "label": found.class_name,
            "points": polygon.round(3).tolist(),
            "group_id": group if len(polygons) > 1 else None,
            "description": "",
            "shape_type": "polygon",
            "flags": {},
            "mask": None,
            **score,
        }
        for polygon in polygons
    ]


def _read_file(file: Path) -> DrawnPicture:
    content = load_json(file)
    shapes = content.get("shapes")
    if not isinstance(shapes, list) or not all(isinstance(shape, dict) for shape in shapes):
        raise FcpError(f"{file}: not a LabelMe JSON (no list of shapes)")
    picture = _picture(content, file)
    size = read_size(picture) if isinstance(picture, Path) else picture.shape[:2]
    stated = (content.get("imageHeight"), content.get("imageWidth"))
    if stated != (None, None):
        require_stated_size(file, stated, size)
    drawings = [
        _read_shape(shape, size, f"{file}: shape {index}")
        for index, shape in enumerate(shapes, start=1)
    ]
    return DrawnPicture(picture, size, file, drawings)


def _picture(content: Mapping[str, Any], file: Path) -> Path | np.ndarray:
    """Find the picture; the copy inside the JSON serves where it is not there."""
    try:
        return find_picture(file, content.get("imagePath"), [file.parent])
    except FcpError:
        if not content.get("imageData"):
            raise
    where = f"{file}: imageData"
    return read_image(picture_of(_from_base64(content["imageData"], where), where))


def _from_base64(text: object, where: str) -> bytes:
    try:
        return base64.b64decode(str(text), validate=True)
    except (binascii.Error, ValueError) as error:
        raise FcpError(f"{where}: not base64 ({error})") from error


def _read_shape(shape: Mapping[str, Any], size: tuple[int, int], where: str) -> tuple[str, Drawn]:
    label, kind = shape.get("label"), shape.get("shape_type") or "polygon"
    if not isinstance(label, str):
        raise FcpError(f"{where}: expected a label, got {label!r}")
    points = read_points(shape.get("points"), size, where)
    if kind == "mask":
        return label, _paste(shape.get("mask"), points, size, where)
    if not isinstance(kind, str) or kind not in _SHAPES:
        raise FcpError(f"{where}: unknown shape_type {kind!r}; known: mask, {', '.join(_SHAPES)}")
    least, draw = _SHAPES[kind]
    if len(points) < least:
        raise FcpError(f"{where}: a {kind} needs {least} points, got {len(points)}")
    return label, draw(points, size)


def _area(points: np.ndarray, size: tuple[int, int]) -> Drawn:
    return fill_polygons([points], size)


def _disc(points: np.ndarray, size: tuple[int, int]) -> Drawn:
    """Fill a circle, given by its centre and a point on it."""
    (x, y), (height, width) = points[0], size
    rows, columns = np.ogrid[0.5:height, 0.5:width]
    radius = ((points[1] - points[0]) ** 2).sum()
    return to_runs((columns - x) ** 2 + (rows - y) ** 2 <= radius)


def _box(points: np.ndarray, size: tuple[int, int]) -> Drawn:
    """Span a box by opposite corners, or by all four."""
    return Box(*points.min(axis=0).tolist(), *points.max(axis=0).tolist())


def _line(points: np.ndarray, size: tuple[int, int]) -> Drawn:
    return Scribble(inside(points.tolist(), size))


def _clicks(points: np.ndarray, size: tuple[int, int]) -> Drawn:
    return Points(inside(points.tolist(), size))


def _paste(mask: object, points: np.ndarray, size: tuple[int, int], where: str) -> Drawn:
    """Put a PNG into the box between two pixels, both included."""
    if len(points) != 2:
        raise FcpError(f"{where}: a mask needs the 2 corners of its box, got {len(points)}")
    (left, top), (right, bottom) = points.astype(int).tolist()
    if not (0 <= left <= right < size[1] and 0 <= top <= bottom < size[0]):
        raise FcpError(f"{where}: the mask's box {points.tolist()} is not inside its picture")
    box = (bottom - top + 1, right - left + 1)
    content = picture_of(_from_base64(mask, where), where)
    canvas = np.zeros(size, bool)
    canvas[top : bottom + 1, left : right + 1] = read_mask(content, box, "its box")
    return to_runs(canvas)


# Type of shape → the least number of its points, and what it draws.
_SHAPES: Mapping[str, tuple[int, Callable[[np.ndarray, tuple[int, int]], Drawn]]] = {
    "polygon": (3, _area),
    "oriented_rectangle": (3, _area),
    "circle": (2, _disc),
    "rectangle": (2, _box),
    "line": (2, _line),
    "linestrip": (2, _line),
    "point": (1, _clicks),
    "points": (1, _clicks),
}
