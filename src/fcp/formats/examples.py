"""Drawings on pictures → examples by class, with each picture once in a class."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fcp.data.decode import turn_array, turn_points, upright
from fcp.data.mask_values import oddities
from fcp.data.prompts import Box, Mark, Points, Scribble, annotation_mask
from fcp.errors import FcpError
from fcp.formats.polygons import SHARES, are_shares
from fcp.formats.reading import Reading
from fcp.formats.run_lengths import RunLengths, area, to_mask, to_runs, union

Drawn = RunLengths | Mark


@dataclass(frozen=True, eq=False)
class Example:
    """A picture with the place of a class in it.

    Attributes:
        picture: Path of the picture, or (H, W, 3) uint8 where the picture is stored in the
            annotation file.
        drawn: Path of the mask, or the drawing; masks stay packed until they are used, since those
            of a large data set would not fit into memory.
        sources: Files that the drawing was read from, which are no photos.
        marks: Boxes, scribbles or points that the drawing was painted from; none of an area.
    """

    picture: Path | np.ndarray
    drawn: Path | RunLengths | Points
    sources: tuple[Path, ...] = ()
    marks: tuple[Mark, ...] = ()

    @property
    def annotation(self) -> Path | np.ndarray | Points:
        """Return the mask's file, a mask (H, W) bool (unpacked at each access), or points."""
        return to_mask(self.drawn) if isinstance(self.drawn, Mapping) else self.drawn

    @property
    def given(self) -> Path | np.ndarray | Points | tuple[Mark, ...]:
        """Return the marks, or the annotation where there are none."""
        return self.marks or self.annotation


@dataclass(frozen=True, eq=False)
class DrawnPicture:
    """A picture with all drawings on it.

    Attributes:
        picture: Path or pixels of the picture, as in ``Example``.
        size: Size (H, W) in px of the picture as it was when annotated.
        source: Annotation file, for errors.
        drawings: Pairs of class and drawing, in the file's order.
        turn: EXIF orientation that makes the drawings upright.
    """

    picture: Path | np.ndarray
    size: tuple[int, int]
    source: Path
    drawings: Sequence[tuple[str, Drawn]]
    turn: int = 1


def examples_by_class(
    pictures: Iterable[DrawnPicture], order: Iterable[str] = (), reading: Reading | None = None
) -> dict[str, list[Example]]:
    """Join the drawings of a class on a picture; only the most exact kind counts.

    The kinds, from the most exact: areas (polygons, masks, circles), boxes, lines with points,
    points alone. Points alone stay points; the others become one mask. Class names are trimmed.

    Args:
        pictures: Annotated pictures, in the order of the examples.
        order: Classes that come first; the others follow in the order of their first drawing.
        reading: Collector of faults and notes; None to raise the first fault.

    Returns:
        Class → examples; only classes that have at least one.

    Raises:
        FcpError: ``reading`` is None, and a class has no name or a drawing covers no pixel of its
            picture.
    """
    found: dict[str, list[Example]] = {class_key(name): [] for name in order}
    for picture in pictures:
        by_class: dict[str, list[Drawn]] = {}
        for name, drawn in picture.drawings:
            by_class.setdefault(class_key(name), []).append(drawn)
        for name, drawings in by_class.items():
            with _each(reading):
                found.setdefault(name, []).extend(_join(name, drawings, picture, reading))
    return {name: examples for name, examples in found.items() if examples}


def _each(reading: Reading | None) -> AbstractContextManager[None]:
    return reading.each() if reading is not None else nullcontext()


def class_key(name: str) -> str:
    """Return a class's name without outer blanks and with composed letters, for comparison."""
    return unicodedata.normalize("NFC", name).strip()


def inside(
    points: Iterable[tuple[float, float]], size: tuple[int, int]
) -> tuple[tuple[float, float], ...]:
    """Move points on the picture's edge, or less than a pixel outside, as tools allow, onto it.

    Args:
        points: Points x and y in px.
        size: Size (H, W) of the picture.
    """
    (height, width), far = size, 1.0
    return tuple(
        (
            min(max(x, 0.0), width - 0.5) if -far < x < width + far else x,
            min(max(y, 0.0), height - 0.5) if -far < y < height + far else y,
        )
        for x, y in points
    )


def _join(
    name: str, drawings: Sequence[Drawn], on: DrawnPicture, reading: Reading | None
) -> list[Example]:
    """Join drawings of a class on a picture; none if all of them are faulty, which is noted."""
    where = f"{on.source}: class {name!r}"
    if isinstance(on.picture, Path) and on.picture.stem != on.source.stem:
        where += f" on {on.picture.name}"
    if not name:
        raise FcpError(f"{where}: a class needs a name; label it in your annotation tool")
    areas: list[RunLengths] = [drawn for drawn in drawings if isinstance(drawn, Mapping)]
    boxes = [drawn for drawn in drawings if isinstance(drawn, Box)]
    lines = [drawn for drawn in drawings if isinstance(drawn, Points | Scribble)]
    if reading is not None and (areas or boxes) and len(areas or boxes) < len(drawings):
        reading.note(where, _dropped(len(areas), len(boxes), len(lines)))
    if areas:
        return [Example(on.picture, _whole(union(areas), on, where, reading), (on.source,))]
    if not boxes:
        _refuse_shares(lines, on.size, where)
    # Points alone are painted too, which reports a point outside its picture at once.
    painted: list[tuple[Mark, RunLengths]] = []
    for drawn in boxes or lines:
        with _each(reading):
            painted.append((drawn, to_runs(annotation_mask(drawn, on.size, where))))
    if not painted:
        return []
    marks = tuple(_turned(mark, on) for mark, _ in painted)
    points = [point for one in marks if isinstance(one, Points) for point in one.points]
    joined: RunLengths | Points = Points(points)
    if not all(isinstance(one, Points) for one in marks):
        joined = _whole(union(runs for _, runs in painted), on, where, reading)
    return [Example(on.picture, joined, (on.source,), marks)]


def _refuse_shares(lines: Sequence[Points | Scribble], size: tuple[int, int], where: str) -> None:
    """Refuse points that all are shares of the picture, though each may be a shape of its own."""
    points = np.array([point for line in lines for point in line.points])
    if len(points) > 1 and are_shares(points, size):
        raise FcpError(f"{where}: {SHARES}")


def _whole(joined: RunLengths, on: DrawnPicture, where: str, reading: Reading | None) -> RunLengths:
    """Turn a mask upright, and note its oddities."""
    if area(joined) == 0:
        raise FcpError(f"{where}: what is drawn covers no pixel of its picture; draw it anew")
    height, width = on.size
    if on.turn == 1 and 2 * area(joined) <= height * width:
        return joined
    mask = turn_array(to_mask(joined), on.turn)
    if reading is not None:
        for oddity in oddities(mask):
            reading.note(where, oddity)
    return to_runs(mask)


def _dropped(areas: int, boxes: int, lines: int) -> str:
    """Describe the shapes that do not count because others are more exact."""
    kept, dropped = ("areas", [(boxes, "boxes")]) if areas else ("boxes", [])
    dropped = [*dropped, (lines, "lines or points")]
    said = " and ".join(f"{count} {kind}" for count, kind in dropped if count)
    return f"{said} do not count beside {kept}, which are more exact"


def _turned(mark: Mark, on: DrawnPicture) -> Mark:
    """Turn a mark upright."""
    if on.turn == 1:
        return mark
    if isinstance(mark, Box):
        corners = np.array([(mark.x0, mark.y0), (mark.x1, mark.y1)])
        turned = turn_points(corners, on.size, on.turn)
        return Box(*turned.min(0).tolist(), *turned.max(0).tolist())
    turned = turn_points(np.array(mark.points), on.size, on.turn)
    # What lay on the left or upper edge may lie on the right or lower one now.
    return type(mark)(inside(turned.tolist(), upright(on.size, on.turn)))
