"""Reader of CVAT for images 1.1: one XML of all pictures, as CVAT or ``fcp.formats.cvat`` write."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from fcp.data.prompts import Box, Points, Scribble
from fcp.errors import FcpError
from fcp.formats.examples import Drawn, DrawnPicture, Example, examples_by_class, inside
from fcp.formats.places import Finder
from fcp.formats.polygons import fill_ellipse, fill_polygons, read_points
from fcp.formats.reading import Reading, frame_of
from fcp.formats.run_lengths import to_runs
from fcp.formats.text import parse_xml

Size = tuple[int, int]
# Outermost element of an XML of another program → what it is.
_OTHERS = {
    "OME": "regions of OMERO or Bio-Formats (OME-XML)",
    "Annotations": "regions of Aperio ImageScope",
    "ASAP_Annotations": "regions of ASAP",
    "kml": "shapes of a GIS (KML)",
    "svg": "a drawing (SVG)",
    "dataset": "a list of dlib's imglab",
}


def read_cvat(
    file: Path, reading: Reading | None = None, root: Element | None = None
) -> dict[str, list[Example]]:
    """Read masks, polygons, boxes, ellipses, lines and points.

    Args:
        file: File of the annotations.
        reading: Options of the reading, which also collects its notes; None for the defaults.
        root: Parsed root of the file, if it has been read already.

    Returns:
        Label → examples; labels in the order of their first shape, pictures in the order of the
        file.

    Raises:
        FcpError: no XML of CVAT, or shapes with faults; all faults are listed.
    """
    own = reading or Reading()
    root = parse_xml(file) if root is None else root
    if root.tag != "annotations":
        what = _OTHERS.get(
            root.tag.rpartition("}")[2], "not an XML of CVAT for images (<annotations>)"
        )
        raise FcpError(f"{file}: {what}; export masks, COCO, or CVAT for images")
    if root.find("track") is not None:
        raise FcpError(f"{file}: a video's tracks; export it as CVAT for images")
    folders = (file.parent, file.parent / "images", file.parent.parent / "images")
    finder = Finder(file, folders, own)
    pictures = []
    for image in root.iter("image"):
        with own.each():
            if len(image):
                pictures.append(_picture(image, finder, own))
    examples = examples_by_class(pictures, reading=own)
    own.finish(file)
    return examples


def _picture(image: Element, finder: Finder, reading: Reading) -> DrawnPicture:
    name = image.get("name", "")
    picture = finder.find(name)
    stated = (image.get("height"), image.get("width"))
    frame = frame_of(picture, finder.file, reading, stated)
    drawings = []
    for number, shape in enumerate(image, start=1):
        where = f"{finder.file}: {picture.name}: shape {number}"
        with reading.each():
            if shape.tag == "tag":
                reading.note(where, "describes the whole picture, not a shape; left out")
                continue
            if shape.tag not in _SHAPES:
                known = ", ".join(_SHAPES)
                raise FcpError(f"{where}: unknown shape <{shape.tag}>; known: {known}")
            try:
                drawn = _SHAPES[shape.tag](shape, frame.size, where)
            except (TypeError, ValueError, OverflowError) as error:
                raise FcpError(f"{where}: invalid or missing numbers in <{shape.tag}>") from error
            drawings.append((shape.get("label", ""), drawn))
    return DrawnPicture(picture, frame.size, finder.file, drawings, frame.turn, name)


def _points(shape: Element, size: Size, where: str) -> np.ndarray:
    text = shape.get("points", "")
    pairs = [[float(part) for part in pair.split(",")] for pair in text.split(";") if pair.strip()]
    return read_points(pairs, size, where)


def _mask(shape: Element, size: Size, where: str) -> Drawn:
    left, top, width, height = (
        int(float(shape.get(name, ""))) for name in ("left", "top", "width", "height")
    )
    counts = np.array([int(part) for part in shape.get("rle", "").split(",")], np.int64)
    if (counts < 0).any() or counts.sum() != width * height or width < 1 or height < 1:
        raise FcpError(f"{where}: run lengths that do not fill their box of {width}×{height} px")
    if not (0 <= left and left + width <= size[1] and 0 <= top and top + height <= size[0]):
        raise FcpError(f"{where}: the mask's box is not inside its picture")
    values = np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(height, width)
    mask = np.zeros(size, bool)
    mask[top : top + height, left : left + width] = values
    return to_runs(mask)


def _polygon(shape: Element, size: Size, where: str) -> Drawn:
    points = _points(shape, size, where)
    if len(points) < 3:
        raise FcpError(f"{where}: a polygon needs 3 points, got {len(points)}")
    return fill_polygons([points], size)


def _box(shape: Element, size: Size, where: str) -> Drawn:
    corners = [float(shape.get(name, "")) for name in ("xtl", "ytl", "xbr", "ybr")]
    (x0, y0), (x1, y1) = read_points(corners, size, where).tolist()
    angle = np.deg2rad(float(shape.get("rotation", 0)))
    if angle == 0:
        return Box(x0, y0, x1, y1)
    middle = np.array([(x0 + x1) / 2, (y0 + y1) / 2])
    around = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]) - middle
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return fill_polygons([read_points(around @ turn + middle, size, where)], size)


def _ellipse(shape: Element, size: Size, where: str) -> Drawn:
    x, y, across, down = (float(shape.get(name, "")) for name in ("cx", "cy", "rx", "ry"))
    angle = np.deg2rad(float(shape.get("rotation", 0)))
    return fill_ellipse((x, y), (across, down), angle, size, where)


def _line(shape: Element, size: Size, where: str) -> Drawn:
    return Scribble(inside(_points(shape, size, where).tolist(), size))


def _clicks(shape: Element, size: Size, where: str) -> Drawn:
    return Points(inside(_points(shape, size, where).tolist(), size))


_SHAPES: Mapping[str, Callable[[Element, Size, str], Drawn]] = {
    "mask": _mask,
    "polygon": _polygon,
    "box": _box,
    "ellipse": _ellipse,
    "polyline": _line,
    "points": _clicks,
}
