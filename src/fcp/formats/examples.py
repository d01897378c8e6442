"""Drawings on pictures → examples by class, with each picture once in a class."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from fcp.data.mask_values import oddities
from fcp.data.prompts import SHARES, Box, Mark, Points, Scribble, annotation_mask, are_shares
from fcp.data.turns import turn_array, turn_points, upright
from fcp.errors import FcpError
from fcp.formats.places import common_end, stated_path
from fcp.formats.reading import Reading
from fcp.formats.run_lengths import RunLengths, area, to_mask, to_runs, union
from fcp.system.files import plain

Drawn = RunLengths | Mark
REACHES_OUT = (
    "a box reaches more than a pixel beyond its picture, and is cut off there; are its numbers "
    "those of the format (two corners, or a corner with width and height)?"
)


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
        name: Name that an annotation file of several pictures states for this one; empty for a file
            of this picture alone.
    """

    picture: Path | np.ndarray
    size: tuple[int, int]
    source: Path
    drawings: Sequence[tuple[str, Drawn]]
    turn: int = 1
    name: str = ""


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
        FcpError: ``reading`` is None, and a class has no name, a drawing covers no pixel of its
            picture, or two stated names or files of one picture lead to the same one.
    """
    found: dict[str, list[Example]] = {class_key(name): [] for name in order}
    for picture in _unrivalled(_merged(pictures, reading), reading):
        by_class: dict[str, list[Drawn]] = {}
        for name, drawn in picture.drawings:
            by_class.setdefault(class_key(name), []).append(drawn)
        for name, drawings in by_class.items():
            with _each(reading):
                found.setdefault(name, []).extend(_join(name, drawings, picture, reading))
    return {name: examples for name, examples in found.items() if examples}


def _merged(pictures: Iterable[DrawnPicture], reading: Reading | None) -> Iterable[DrawnPicture]:
    """Join the entries of one file for one picture, such as tasks that were imported twice."""
    found: dict[object, DrawnPicture] = {}
    for one in pictures:
        if not isinstance(one.picture, Path):
            found[len(found)] = one
            continue
        key = (plain(one.picture), _claim(one), one.size, one.turn)
        if key in found:
            one = replace(one, drawings=[*found[key].drawings, *one.drawings])
            if reading is not None:
                reading.note(one.source, f"several entries of {_own_name(one)} count as one")
        found[key] = one
    return found.values()


def _unrivalled(
    pictures: Iterable[DrawnPicture], reading: Reading | None
) -> Iterator[DrawnPicture]:
    """Leave out pictures that another name, or another file, fits as well or better."""
    pictures = list(pictures)
    claims: dict[Path, dict[tuple[Path, PurePath], DrawnPicture]] = {}
    for one in pictures:
        if isinstance(one.picture, Path):
            claims.setdefault(plain(one.picture), {}).setdefault(_claim(one), one)
    for one in pictures:
        rivals = claims[plain(one.picture)] if isinstance(one.picture, Path) else {}
        others = [other for claim, other in rivals.items() if claim != _claim(one)]
        if not others:
            yield one
            continue
        best = max(others, key=_fit)
        if _fit(one) > _fit(best):
            yield one
            continue
        with _each(reading):
            raise FcpError(
                f"{one.source}: {_own_name(one)} leads to {one.picture}, but so does "
                f"{_own_name(best)}; put its own picture there, or put the name right"
            )


def _claim(one: DrawnPicture) -> tuple[Path, PurePath]:
    return one.source, stated_path(one.name)


def _own_name(one: DrawnPicture) -> str:
    return repr(one.name or one.source.name)


def _fit(one: DrawnPicture) -> tuple[int, bool]:
    """Return how many parts of a picture's path are as stated, and whether all stated ones are."""
    picture = plain(one.picture) if isinstance(one.picture, Path) else Path()
    if not one.name:
        return int(one.source.stem == picture.stem), True
    stated = stated_path(one.name).parts
    same = common_end(stated, picture.parts)
    return same, same == len(stated)


def _each(reading: Reading | None) -> AbstractContextManager[None]:
    return reading.each() if reading is not None else nullcontext()


def class_key(name: str) -> str:
    """Return a class's name without outer blanks and with composed letters, for comparison."""
    return unicodedata.normalize("NFC", name).strip()


def note_shared_names(
    names: Mapping[Any, str], reading: Reading, file: Path, kind: str = "ids"
) -> None:
    """Note the names that several ids of a file share, whose drawings become one class.

    Args:
        names: Id → name of its class; an empty name is none.
        reading: Collector of the notes.
        file: File that names the ids.
        kind: What the ids are, in the plural.
    """
    sharing: dict[str, list[str]] = {}
    for key, name in names.items():
        sharing.setdefault(class_key(name), []).append(str(key))
    for name, keys in sharing.items():
        if name and len(keys) > 1:
            listed = f"{', '.join(keys[:-1])} and {keys[-1]}"
            are = "are both" if len(keys) == 2 else "are all"
            reading.note(file, f"the {kind} {listed} {are} called {name!r} and count as one class")


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
    if reading is not None and any(_reaches_out(box, on.size) for box in boxes):
        reading.note(where, REACHES_OUT)
    marks = tuple(_turned(mark, on) for mark, _ in painted)
    points = [point for one in marks if isinstance(one, Points) for point in one.points]
    joined: RunLengths | Points = Points(points)
    if not all(isinstance(one, Points) for one in marks):
        joined = _whole(union(runs for _, runs in painted), on, where, reading)
    return [Example(on.picture, joined, (on.source,), marks)]


def _reaches_out(box: Box, size: tuple[int, int]) -> bool:
    """Return whether a box lies beyond its picture by more than tools' rounding."""
    return min(box.x0, box.y0) < -1 or box.x1 > size[1] + 1 or box.y1 > size[0] + 1


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
