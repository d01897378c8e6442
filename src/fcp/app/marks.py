"""What was drawn over a picture → an example: paint, an outline, a box or clicks.

All four are drawn with the same brush, by mouse or finger, and told apart by what the visitor says:
an outline is filled, a box is what encloses the strokes, and each dot is a click.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from fcp.data.prompts import MAX_POINTS, Box, Points, annotation_mask
from fcp.data.strips import resize_nearest
from fcp.errors import FcpError
from fcp.formats.examples import Example
from fcp.formats.run_lengths import RunLengths, to_runs

# Key → the words on the page.
KINDS: Mapping[str, str] = {
    "paint": "Paint over it",
    "outline": "Draw around it",
    "box": "Box: dab two corners",
    "click": "Click: dab on it",
}
PAINT_ALPHA = 0.6  # of the brush, so that the picture shows through
_PAINTED = 64  # of 255, under half the brush's: an edge pixel counts where half of it is covered
_TOUCHING = np.ones((3, 3), dtype=bool)
LONGEST_CLASS_NAME = 60


@dataclass(frozen=True, eq=False)
class Marked:
    """An example of a visitor.

    Attributes:
        number: tells it from the visitor's others.
        class_name: None for what is none of the classes.
        kind: how it was marked, key of ``KINDS``.
        example: picture and drawing.
        shown: file of a small picture of it.
        called: what the visitor calls its picture.
        corrects: whether it was painted over what a run had found: then it is all of its class in
            the picture.
    """

    number: int
    class_name: str | None
    kind: str
    example: Example
    shown: Path
    called: str
    corrects: bool = False

    @property
    def caption(self) -> str:
        """What is said under it."""
        return "not it" if self.class_name is None else self.class_name


def painted(layers: Sequence[np.ndarray | None]) -> np.ndarray | None:
    """Return what is painted on any layer (h, w, 4) as (h, w) bool, or None without a layer.

    Raises:
        FcpError: layers of several sizes, which the page never sends.
    """
    alphas = [layer[..., -1] for layer in layers if layer is not None and layer.ndim == 3]
    if not alphas:
        return None
    if len({alpha.shape for alpha in alphas}) > 1:
        raise FcpError("the drawing has layers of several sizes; load the picture again")
    mask: np.ndarray = np.max(alphas, axis=0) >= _PAINTED
    return mask


def drawn_on(
    layers: Sequence[np.ndarray | None], kind: str, size: tuple[int, int]
) -> RunLengths | Points:
    """Turn the editor's layers into what was drawn, at the picture's own size.

    Args:
        layers: (h, w, 4) uint8 of the picture as shown.
        kind: key of ``KINDS``.
        size: (H, W) of the picture.

    Raises:
        FcpError: nothing is drawn, or more clicks than count.
    """
    mask = painted(layers)
    if mask is None or not mask.any():
        raise FcpError("nothing is marked yet; draw on the picture with the brush")
    if kind == "box":
        return to_runs(annotation_mask(_enclosing(mask, size), size))
    if kind == "click":
        return _dots(mask, size)
    full = resize_nearest(ndimage.binary_fill_holes(mask) if kind == "outline" else mask, size)
    return to_runs(full if full.any() else resize_nearest(mask, size))


def clean_class_name(name: str) -> str:
    """Bring a class name to one line.

    Raises:
        FcpError: nothing is left, or it is too long.
    """
    clean = " ".join("".join(c if c.isprintable() else " " for c in name).split())
    if not clean:
        raise FcpError("name the class first: what is it that you marked?")
    if len(clean) > LONGEST_CLASS_NAME:
        raise FcpError(f"the name of a class is limited to {LONGEST_CLASS_NAME} letters")
    return clean


def by_class(marked: Sequence[Marked]) -> tuple[dict[str, list[Example]], list[Example]]:
    """Sort examples into classes, in the order in which these came, and those of none.

    Raises:
        FcpError: no example of any class.
    """
    classes: dict[str, list[Example]] = {}
    for one in marked:
        if one.class_name is not None:
            classes.setdefault(one.class_name, []).append(one.example)
    against = [one.example for one in marked if one.class_name is None]
    if not classes and against:
        raise FcpError(
            "all examples are marked “not it”, which does not say what to find; add an example "
            "of the thing"
        )
    if not classes:
        raise FcpError("there is no example yet; mark the thing in a picture and add it")
    return classes, against


def _enclosing(mask: np.ndarray, size: tuple[int, int]) -> Box:
    down, across = (new / old for new, old in zip(size, mask.shape, strict=True))
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return Box(
        x0=float(columns[0] * across),
        y0=float(rows[0] * down),
        x1=float((columns[-1] + 1) * across),
        y1=float((rows[-1] + 1) * down),
    )


def _dots(mask: np.ndarray, size: tuple[int, int]) -> Points:
    """Take the middle of each dot, or of the painted pixel nearest to it."""
    pieces, count = ndimage.label(mask, structure=_TOUCHING)
    if count > MAX_POINTS:
        raise FcpError(f"{count} clicks; at most {MAX_POINTS} count, use paint for more")
    down, across = (new / old for new, old in zip(size, mask.shape, strict=True))
    points = []
    for number in range(1, count + 1):
        inside = np.argwhere(pieces == number)
        row, column = inside[((inside - inside.mean(axis=0)) ** 2).sum(axis=1).argmin()]
        points.append((float((column + 0.5) * across), float((row + 0.5) * down)))
    return Points(tuple(points))
