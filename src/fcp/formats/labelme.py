"""LabelMe (5.x): a JSON for each picture, whose shapes are points in px.

Coordinates are those of pixel edges; a shape of type ``mask`` is a PNG in the box between two
pixels, both included. A polygon has no holes: the writer joins them to the outline by a bridge
without area. The parts of an object share a ``group_id``.
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
from scipy.spatial import ConvexHull, QhullError

from fcp.data.decode import turn_of
from fcp.data.folder import files_in
from fcp.data.images import picture_of, read_image, read_mask
from fcp.data.prompts import Box, Points, Scribble
from fcp.data.turns import upright
from fcp.errors import FcpError
from fcp.formats.examples import Drawn, DrawnPicture, Example, examples_by_class, inside
from fcp.formats.places import find_picture
from fcp.formats.polygons import fill_polygons, mask_polygons, read_points
from fcp.formats.reading import Frame, Reading, frame_of, require_stated_size
from fcp.formats.records import LabelledObject, LabelledPicture
from fcp.formats.run_lengths import to_runs
from fcp.formats.text import load_annotations
from fcp.formats.writer import Writer
from fcp.system.files import make_folder, plain, write_beside

VERSION = "5.5.0"  # of LabelMe, in whose layout files are written
_KEYS = frozenset({"shapes", "flags", "imagePath", "imageData"})  # any is LabelMe's
NO_CLASSES = frozenset({"__ignore__", "_background_", "__background__"})
EDGE = 1e-6  # px; rounding error of a coordinate that was divided and multiplied


def read_labelme(path: Path, reading: Reading | None = None) -> dict[str, list[Example]]:
    """Read polygons, masks, circles, boxes, lines and points.

    A shape of an unknown type, or of LabelMe's labels for what is no object, is left out with a
    note.

    Args:
        path: Path of a JSON, or of a folder in which every JSON is LabelMe's.
        reading: Options of the reading, which also collects its notes; None for the defaults.

    Returns:
        Label → examples; labels in the order of their first shape, pictures in natural order.

    Raises:
        FcpError: files or shapes with faults; all faults are listed.
    """
    own = reading or Reading()
    inside_it = files_in(path) if path.is_dir() else [path]
    files = [file for file in inside_it if file.suffix.lower() == ".json"]
    pictures = []
    for file in files:
        with own.each():
            content = load_annotations(file)
            foreign = isinstance(content, dict) and not _KEYS & content.keys()
            if foreign and len(files) > 1:
                own.note(file, "left out: no JSON of LabelMe")
                continue
            pictures.append(_read_file(file, content, own))
    examples = examples_by_class(pictures, reading=own)
    own.finish(path)
    return examples


class LabelMeWriter(Writer):
    """Writer of ``labelme/NAME.json``: polygons, and each object's ``score`` beside them.

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
        """Do nothing: there is no common file of all pictures."""

    def _add(self, picture: LabelledPicture) -> None:
        shapes = [
            shape for group, found in enumerate(picture.objects) for shape in _shapes(found, group)
        ]
        file = self.folder / f"{picture.name}.json"
        # "../" leads out of the folder itself, not out of a link to it.
        relative = os.path.relpath(plain(picture.file), file.parent.resolve())
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


def _read_file(file: Path, content: Any, reading: Reading) -> DrawnPicture:  # noqa: ANN401
    shapes = content.get("shapes") if isinstance(content, dict) else None
    if not isinstance(shapes, list) or not all(isinstance(shape, dict) for shape in shapes):
        raise FcpError(f"{file}: not a LabelMe JSON (no list of shapes)")
    picture, frame = _picture(content, file, reading)
    drawings = []
    for index, shape in enumerate(shapes, start=1):
        with reading.each():
            drawings += _read_shape(shape, frame.size, f"{file}: shape {index}", reading)
    return DrawnPicture(picture, frame.size, file, drawings, frame.turn)


def _picture(
    content: Mapping[str, Any], file: Path, reading: Reading
) -> tuple[Path | np.ndarray, Frame]:
    """Find the picture; if it does not exist, the copy inside the JSON is used."""
    stated = (content.get("imageHeight"), content.get("imageWidth"))
    try:
        picture = find_picture(file, content.get("imagePath"), [file.parent], reading)
    except FcpError:
        if not content.get("imageData"):
            raise
        return _embedded(content["imageData"], file, reading, stated)
    return picture, frame_of(picture, file, reading, stated)


def _embedded(
    data: object, file: Path, reading: Reading, stated: tuple[object, object]
) -> tuple[np.ndarray, Frame]:
    """Read the picture inside a JSON, upright, and the reference of coordinates on it."""
    where = f"{file}: imageData"
    copy = picture_of(_from_base64(data, where), where)
    turn = turn_of(copy)
    pixels = read_image(copy)
    shown = (pixels.shape[0], pixels.shape[1])
    stored = upright(shown, turn)  # swapping the sides undoes itself
    if reading.drawn_on_raw:
        require_stated_size(file, stated, stored, shown, "upright")
        return pixels, Frame(stored, turn)
    require_stated_size(file, stated, shown, stored)
    if turn != 1 and (stated != shown or stored == shown):
        reading.note(
            file,
            f"its imageData is shown turned (EXIF orientation {turn}), and annotations are taken "
            "as drawn on it upright; if they lie in the wrong place, read them with --drawn-on raw",
        )
    return pixels, Frame(shown)


def _from_base64(text: object, where: str) -> bytes:
    try:
        return base64.b64decode(str(text), validate=True)
    except (binascii.Error, ValueError) as error:
        raise FcpError(f"{where}: not base64 ({error})") from error


def _read_shape(
    shape: Mapping[str, Any], size: tuple[int, int], where: str, reading: Reading
) -> list[tuple[str, Drawn]]:
    """Read one shape; none where its type is unknown or its label is no class."""
    label, kind = shape.get("label"), shape.get("shape_type") or "polygon"
    if not isinstance(label, str):
        raise FcpError(f"{where}: expected a label, got {label!r}")
    if label.strip() in NO_CLASSES:
        reading.note(where, f"left out: {label!r} stands for no object in LabelMe")
        return []
    if kind != "mask" and (not isinstance(kind, str) or kind not in _SHAPES):
        known = f"mask, {', '.join(_SHAPES)}"
        reading.note(where, f"unknown shape_type {kind!r}, left out; known: {known}")
        return []
    points = read_points(shape.get("points"), size, where)
    if kind == "mask":
        return [(label, _paste(shape.get("mask"), points, size, where))]
    least, draw = _SHAPES[kind]
    if len(points) < least:
        raise FcpError(f"{where}: a {kind} needs {least} points, got {len(points)}")
    return [(label, draw(points, size))]


def _area(points: np.ndarray, size: tuple[int, int]) -> Drawn:
    return fill_polygons([points], size)


def _disc(points: np.ndarray, size: tuple[int, int]) -> Drawn:
    """Fill a circle, given by its centre and a point on it."""
    (x, y), (height, width) = points[0], size
    rows, columns = np.ogrid[0.5:height, 0.5:width]
    radius = ((points[1] - points[0]) ** 2).sum()
    return to_runs((columns - x) ** 2 + (rows - y) ** 2 <= radius)


def _box(points: np.ndarray, size: tuple[int, int]) -> Drawn:
    """Fill a box, given by opposite corners or by all four."""
    return Box(*points.min(axis=0).tolist(), *points.max(axis=0).tolist())


def _line(points: np.ndarray, size: tuple[int, int]) -> Drawn:
    return Scribble(inside(points.tolist(), size))


def _clicks(points: np.ndarray, size: tuple[int, int]) -> Drawn:
    return Points(inside(points.tolist(), size))


def _hull(points: np.ndarray, size: tuple[int, int]) -> Drawn:
    """Fill the convex hull of the corners of a cuboid, whose faces overlap."""
    try:
        return _area(points[ConvexHull(points).vertices], size)
    except QhullError:  # all on one line: it covers no pixel, which is reported later
        return _area(points, size)


def _paste(mask: object, points: np.ndarray, size: tuple[int, int], where: str) -> Drawn:
    """Put a PNG into the box between two pixels, both included; parts outside are cut off."""
    if len(points) != 2:
        raise FcpError(f"{where}: a mask needs the 2 corners of its box, got {len(points)}")
    first, last = np.floor(points.min(axis=0) + EDGE), np.floor(points.max(axis=0) + EDGE)
    (left, top), (right, bottom) = first.astype(int).tolist(), last.astype(int).tolist()
    content = picture_of(_from_base64(mask, where), where)
    width, height = content.size
    # With bounds that are not whole pixels, the box's size is uncertain by one pixel.
    box = (right - left + 1, bottom - top + 1)
    if abs(box[0] - width) > 1 or abs(box[1] - height) > 1:
        raise FcpError(
            f"{where}: the mask is {width}×{height} px but its box is {box[0]}×{box[1]} px"
        )
    values = read_mask(content, (height, width), "its box")
    canvas = np.zeros(size, bool)
    rows = slice(max(0, top), max(0, min(size[0], top + height)))
    columns = slice(max(0, left), max(0, min(size[1], left + width)))
    cut = values[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    if not cut.any() and values.any():
        raise FcpError(f"{where}: the mask's box {points.tolist()} is not inside its picture")
    canvas[rows, columns] = cut
    return to_runs(canvas)


# Type of shape → the least number of its points, and the function that draws it.
_SHAPES: Mapping[str, tuple[int, Callable[[np.ndarray, tuple[int, int]], Drawn]]] = {
    "polygon": (3, _area),
    "oriented_rectangle": (3, _area),
    "rotation": (3, _area),
    "quadrilateral": (3, _area),
    "cuboid": (4, _hull),
    "circle": (2, _disc),
    "rectangle": (2, _box),
    "line": (2, _line),
    "linestrip": (2, _line),
    "point": (1, _clicks),
    "points": (1, _clicks),
}
