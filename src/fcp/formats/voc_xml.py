"""Reader of PASCAL VOC's XML, as of LabelImg and others: one file a picture, mostly boxes.

CVAT's "LabelMe 3.0" has the same elements with polygons in place of boxes; RectLabel and Roboflow
have both.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import takewhile
from pathlib import Path
from xml.etree.ElementTree import Element

from fcp.data.prompts import Box
from fcp.errors import FcpError
from fcp.formats.examples import Drawn, DrawnPicture, Example, examples_by_class
from fcp.formats.places import find_picture
from fcp.formats.polygons import fill_polygons, read_points
from fcp.formats.reading import Reading, frame_of
from fcp.formats.text import parse_xml

ROOT = "annotation"
CORNERS = ("xmin", "ymin", "xmax", "ymax")  # of pixels counted from 1, both included


def read_voc_xml(files: Sequence[Path], reading: Reading | None = None) -> dict[str, list[Example]]:
    """Read boxes and polygons.

    Args:
        files: XML files, one for each picture, which lies beside it, or in ``images/`` or
            ``JPEGImages/`` beside the XML's folder.
        reading: Options of the reading, which also collects its notes; None for the defaults.

    Returns:
        Name → examples; names in the order of their first box.

    Raises:
        FcpError: files or boxes with faults; all faults are listed.
    """
    own = reading or Reading()
    pictures = []
    for file in files:
        with own.each():
            pictures.append(_read_file(file, own))
    examples = examples_by_class(pictures, reading=own)
    own.finish(files[0].parent)
    return examples


def _read_file(file: Path, reading: Reading) -> DrawnPicture:
    root = parse_xml(file)
    if root.tag != ROOT:
        raise FcpError(f"{file}: not an XML of PASCAL VOC (<{ROOT}>), as the others here are")
    above = file.parent.parent
    folders = (file.parent, above / "images", above / "JPEGImages")
    picture = find_picture(file, root.findtext("filename") or file.stem, folders, reading)
    stated = (
        root.findtext("size/height") or root.findtext("imagesize/nrows"),
        root.findtext("size/width") or root.findtext("imagesize/ncols"),
    )
    frame = frame_of(picture, file, reading, stated)
    drawings = []
    for number, found in enumerate(root.iter("object"), start=1):
        if (found.findtext("deleted") or "").strip() == "1":
            reading.note(file, "objects that were deleted in the tool were left out")
            continue
        with reading.each():
            drawn = _drawn(found, frame.size, f"{file}: object {number}")
            drawings.append((found.findtext("name") or "", drawn))
    return DrawnPicture(picture, frame.size, file, drawings, frame.turn)


def _drawn(found: Element, size: tuple[int, int], where: str) -> Drawn:
    """Read a polygon of ``<pt>``, or of ``<x1>``, ``<y1>``, … where there is one; or the box."""
    points = [[pt.findtext("x"), pt.findtext("y")] for pt in found.findall("polygon/pt")]
    if not points and (polygon := found.find("polygon")) is not None:
        known = {one.tag: one.text for one in polygon}
        points = [[known[f"x{n}"], known.get(f"y{n}")] for n in _count(known)]
    if not points:
        return _box(found, size, where)
    corners = read_points(points, size, where)
    if len(corners) < 3:
        raise FcpError(f"{where}: a polygon needs 3 points")
    return fill_polygons([corners], size)


def _count(known: Collection[str]) -> list[int]:
    """Return 1, 2, … as far as there are ``x1``, ``x2``, …."""
    return list(takewhile(lambda number: f"x{number}" in known, range(1, len(known) + 1)))


def _box(found: Element, size: tuple[int, int], where: str) -> Box:
    try:
        x0, y0, x1, y1 = (float(found.findtext(f"bndbox/{name}") or "") for name in CORNERS)
    except ValueError as error:
        raise FcpError(f"{where}: invalid or missing numbers in <bndbox>") from error
    x0, x1, y0, y1 = *sorted((x0, x1)), *sorted((y0, y1))  # some tools store them as drawn
    (x0, y0), (x1, y1) = read_points([x0 - 1, y0 - 1, x1, y1], size, where).tolist()
    return Box(x0, y0, x1, y1)
