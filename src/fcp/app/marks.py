"""Drawing over a picture → example: paint, an outline, a box or points.

All four are drawn with the same brush, by mouse or finger; the visitor says which is meant. An
outline is filled, a box encloses all strokes, and each dot is a point.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from fcp.app.corrections import Correction
from fcp.data.pieces import connected_pieces
from fcp.data.prompts import MAX_POINTS, Box, Points, annotation_mask
from fcp.data.strips import resize_nearest
from fcp.errors import FcpError
from fcp.formats.examples import Example
from fcp.formats.run_lengths import to_runs

# Key → the words on the page.
KINDS: Mapping[str, str] = {
    "paint": "Paint over the object",
    "outline": "Draw around the object",
    "box": "Box: mark two corners",
    "click": "Points: click on the object",
}
PAINT_ALPHA = 0.6  # opacity of the brush, so that the picture shows through
_PAINTED = 64  # of 255, below half the brush's opacity: a half covered pixel counts
LONGEST_CLASS_NAME = 60


@dataclass(frozen=True, eq=False)
class Marked:
    """An example of a visitor.

    Attributes:
        number: Number of the example, unique for its visitor.
        class_name: Name of its class; None for a negative example.
        kind: Way of marking, key of ``KINDS``.
        example: Picture and annotation.
        shown: File of a small drawing of the example.
        called: The visitor's name for the picture.
        corrects: Whether it corrects a result; it then marks all of its class in the picture.
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
        """Text under the example."""
        return "negative" if self.class_name is None else self.class_name


def painted(layers: Sequence[np.ndarray | None]) -> np.ndarray | None:
    """Return the union of the painted pixels of all layers.

    Args:
        layers: Layers of the editor, (h, w, 4) uint8.

    Returns:
        (h, w) bool, or None without a layer.

    Raises:
        FcpError: the layers differ in size, which the page never sends.
    """
    alphas = [layer[..., -1] for layer in layers if layer is not None and layer.ndim == 3]
    if not alphas:
        return None
    if len({alpha.shape for alpha in alphas}) > 1:
        raise FcpError("the drawing has layers of several sizes; open the picture again")
    mask: np.ndarray = np.max(alphas, axis=0) >= _PAINTED
    return mask


def example_on(
    picture: Path,
    layers: Sequence[np.ndarray | None],
    kind: str,
    size: tuple[int, int],
    correction: Correction | None = None,
) -> Example:
    """Turn the layers of the editor into an example.

    Args:
        picture: File of the picture.
        layers: Layers of the editor, (h, w, 4) uint8, at the size at which the picture is shown.
        kind: Way of marking, key of ``KINDS``.
        size: (H, W) of the picture in px.
        correction: Mask with which the picture was opened, or None; paint and outlines change it
            only where they differ from its painting.

    Raises:
        FcpError: nothing is drawn, or there are more than ``MAX_POINTS`` points.
    """
    mask = painted(layers)
    if mask is None or not mask.any():
        raise FcpError("nothing is marked yet; draw on the picture with the brush")
    if kind == "box":
        box = _enclosing(mask, size)
        return Example(picture, to_runs(annotation_mask(box, size)), marks=(box,))
    if kind == "click":
        points = _dots(mask, size)
        return Example(picture, points, marks=(points,))
    whole = ndimage.binary_fill_holes(mask) if kind == "outline" else mask
    if correction is not None:
        return Example(picture, to_runs(correction.applied(whole)))
    full = resize_nearest(whole, size)
    return Example(picture, to_runs(full if full.any() else resize_nearest(mask, size)))


def clean_class_name(name: str) -> str:
    """Return a class name as one line without control characters.

    Raises:
        FcpError: nothing is left, or the name is too long.
    """
    clean = " ".join("".join(c if c.isprintable() else " " for c in name).split())
    if not clean:
        raise FcpError("name the class of the marked object first")
    if len(clean) > LONGEST_CLASS_NAME:
        raise FcpError(f"a class name is limited to {LONGEST_CLASS_NAME} characters")
    return clean


def by_class(marked: Sequence[Marked]) -> tuple[dict[str, list[Example]], list[Example]]:
    """Group examples by class, in the order of first use.

    Returns:
        Class name → examples, and the negative examples.

    Raises:
        FcpError: no class has an example.
    """
    classes: dict[str, list[Example]] = {}
    for one in marked:
        if one.class_name is not None:
            classes.setdefault(one.class_name, []).append(one.example)
    against = [one.example for one in marked if one.class_name is None]
    if not classes and against:
        raise FcpError(
            "all examples are negative, which does not say what to find; add an example of the "
            "object"
        )
    if not classes:
        raise FcpError("there is no example yet; mark the object in a picture and add it")
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
    """Return the centre of each dot, moved to the nearest painted pixel."""
    pieces = list(connected_pieces(mask))
    count = len(pieces)
    if count > MAX_POINTS:
        raise FcpError(f"{count} points; at most {MAX_POINTS} are allowed, use paint for more")
    down, across = (new / old for new, old in zip(size, mask.shape, strict=True))
    points = []
    for piece in pieces:
        inside = np.argwhere(piece.mask) + np.array([piece.box[1], piece.box[0]])
        row, column = inside[((inside - inside.mean(axis=0)) ** 2).sum(axis=1).argmin()]
        points.append((float((column + 0.5) * across), float((row + 0.5) * down)))
    return Points(tuple(points))
