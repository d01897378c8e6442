"""What was drawn on pictures → examples by class, each picture of a class once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fcp.data.prompts import Box, Points, Scribble, annotation_mask
from fcp.errors import FcpError
from fcp.formats.run_lengths import RunLengths, area, to_mask, to_runs, union

Drawn = RunLengths | Box | Points | Scribble


@dataclass(frozen=True, eq=False)
class Example:
    """A picture that shows a class, and where.

    Attributes:
        picture: its file, or (H, W, 3) uint8 where the picture lies inside the annotation file.
        drawn: the mask's file, or what was drawn; masks stay packed until they are asked for, since
            a large data set's would not fit into memory.
    """

    picture: Path | np.ndarray
    drawn: Path | RunLengths | Points

    @property
    def annotation(self) -> Path | np.ndarray | Points:
        """Return the mask's file, a mask (H, W) bool (unpacked at each access), or points."""
        return to_mask(self.drawn) if isinstance(self.drawn, Mapping) else self.drawn


@dataclass(frozen=True, eq=False)
class DrawnPicture:
    """A picture and all that was drawn on it.

    Attributes:
        picture: as in ``Example``.
        size: (H, W) px of the upright picture.
        source: the annotation file, for errors.
        drawings: class and drawing, in the file's order.
    """

    picture: Path | np.ndarray
    size: tuple[int, int]
    source: Path
    drawings: Sequence[tuple[str, Drawn]]


def examples_by_class(
    pictures: Iterable[DrawnPicture], order: Iterable[str] = ()
) -> dict[str, list[Example]]:
    """Join what was drawn of a class on a picture: the most exact kind alone counts.

    Areas (polygons, masks, circles) before boxes, boxes before lines, lines (and then also points)
    before points alone. All but points alone become one mask.

    Args:
        pictures: in the order that the examples shall have.
        order: the classes that come first; the others follow as they are met.

    Returns:
        Class → examples; only classes that have one.

    Raises:
        FcpError: a class without a name, or a drawing that covers no pixel of its picture.
    """
    found: dict[str, list[Example]] = {name: [] for name in order}
    for picture in pictures:
        by_class: dict[str, list[Drawn]] = {}
        for name, drawn in picture.drawings:
            by_class.setdefault(name, []).append(drawn)
        for name, drawings in by_class.items():
            where = f"{picture.source}: class {name!r}"
            if not name.strip():
                raise FcpError(f"{where}: a class needs a name; label it in your annotation tool")
            example = Example(picture.picture, _join(drawings, picture.size, where))
            found.setdefault(name, []).append(example)
    return {name: examples for name, examples in found.items() if examples}


def inside(
    points: Iterable[tuple[float, float]], size: tuple[int, int]
) -> tuple[tuple[float, float], ...]:
    """Pull points on the picture's right or lower edge, as tools allow them, onto its last pixel.

    Args:
        points: of x and y in px.
        size: (H, W).
    """
    height, width = size
    return tuple(
        (min(x, width - 0.5) if x <= width else x, min(y, height - 0.5) if y <= height else y)
        for x, y in points
    )


def _join(drawings: Sequence[Drawn], size: tuple[int, int], where: str) -> RunLengths | Points:
    areas: list[RunLengths] = [drawn for drawn in drawings if isinstance(drawn, Mapping)]
    boxes = [drawn for drawn in drawings if isinstance(drawn, Box)]
    lines = [drawn for drawn in drawings if isinstance(drawn, Points | Scribble)]
    if not areas:
        # Points alone are painted too: it says at once which point lies outside its picture.
        areas = [to_runs(annotation_mask(drawn, size, where)) for drawn in boxes or lines]
        if not boxes and all(isinstance(drawn, Points) for drawn in lines):
            return Points([point for drawn in lines for point in drawn.points])
    joined = union(areas)
    if area(joined) == 0:
        raise FcpError(f"{where}: what is drawn covers no pixel of its picture; draw it anew")
    return joined
