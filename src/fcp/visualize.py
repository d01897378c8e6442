"""Masks and maps as pictures: overlays, colours, heat maps, and the bytes of a PNG or JPEG."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fcp.data.strips import edges

Colour = tuple[int, int, int]

RED: Colour = (230, 40, 60)

# One colour per class, in the order of the classes. Seven are chosen by hand; each next is the
# colour farthest (OKLab) from those before it, in normal sight and as red-, green- and blue-blind
# people see it, so that a few classes differ strongly and twenty still differ.
PALETTE: tuple[Colour, ...] = (
    RED,
    (30, 110, 240),
    (250, 200, 40),
    (0, 200, 160),
    (120, 30, 150),
    (140, 220, 255),
    (255, 140, 30),
    (150, 110, 150),
    (150, 0, 0),
    (180, 150, 250),
    (30, 20, 220),
    (180, 250, 170),
    (180, 0, 100),
    (0, 130, 0),
    (160, 70, 180),
    (100, 160, 190),
    (20, 100, 120),
    (200, 140, 100),
    (130, 130, 220),
    (180, 210, 130),
)

# Dark blue, violet, red, orange, pale yellow at 0, ¼, ½, ¾, 1; brightness rises throughout.
_HEAT = np.array([(13, 8, 60), (110, 20, 120), (200, 50, 80), (245, 140, 30), (250, 250, 170)])


def overlay(
    image: np.ndarray,
    mask: np.ndarray,
    *,
    colour: Colour = RED,
    alpha: float = 0.45,
    outline: int | None = None,
) -> np.ndarray:
    """Tint the pixels of a mask and draw its outline.

    Args:
        image: Picture (H, W, 3) uint8 RGB.
        mask: Mask (H, W), nonzero where the object is.
        colour: Colour of tint and outline, RGB 0 … 255.
        alpha: Share of the colour in the tint, 0 … 1.
        outline: Width of the line in px, inside the mask; None for 1/300 of the longer side.

    Returns:
        (H, W, 3) uint8, a new array.
    """
    if mask.shape != image.shape[:2]:
        raise ValueError(f"overlay: mask {mask.shape} does not fit the picture {image.shape}")
    result = image.copy()
    _tint(result, mask != 0, colour, alpha, outline)
    return result


def overlay_labels(
    image: np.ndarray,
    labels: np.ndarray,
    colours: Sequence[Colour],
    *,
    alpha: float = 0.45,
    outline: int | None = None,
) -> np.ndarray:
    """Tint each class of a label map in its colour and draw the outlines.

    Args:
        image: Picture (H, W, 3) uint8 RGB.
        labels: Label map (H, W) of ints: 0 for background, k for the class of ``colours[k - 1]``.
        colours: Colours of the classes, RGB 0 … 255.
        alpha: Share of the colour in the tint, 0 … 1.
        outline: Width of the lines in px, see ``overlay``.

    Returns:
        (H, W, 3) uint8, a new array.
    """
    result = image.copy()
    for label in _labels_in(labels):
        if not 0 < label <= len(colours):
            raise ValueError(f"overlay_labels: label {label} has none of {len(colours)} colours")
        _tint(result, labels == label, colours[label - 1], alpha, outline)
    return result


def class_colours(names: Iterable[str]) -> dict[str, Colour]:
    """Assign colours to classes by position; after the last colour the first is used again."""
    return dict(zip(names, itertools.cycle(PALETTE)))


def heatmap(
    values: np.ndarray, image: np.ndarray | None = None, *, alpha: float = 0.65
) -> np.ndarray:
    """Colour a map from dark blue (0) to pale yellow (1), alone or laid over its grey picture.

    Args:
        values: Map (H, W) of floats in 0 … 1; values outside are clipped.
        image: Picture (H, W, 3) uint8 RGB under the colours, or None.
        alpha: Share of the colours if there is a picture, 0 … 1.

    Returns:
        (H, W, 3) uint8.
    """
    stops = np.linspace(0, 1, len(_HEAT))
    colours = np.stack([np.interp(values, stops, _HEAT[:, c]) for c in range(3)], axis=-1)
    if image is not None:
        colours = alpha * colours + (1 - alpha) * image.mean(axis=-1, keepdims=True)
    return np.rint(colours).astype(np.uint8)


def thumbnail(image: np.ndarray, longest: int) -> np.ndarray:
    """Shrink a picture (H, W, 3) uint8 so that its longer side is ``longest`` px; never enlarge."""
    picture = Image.fromarray(image)
    picture.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return np.asarray(picture)


def contact_sheet(
    rows: Sequence[Sequence[np.ndarray]], titles: Sequence[str], *, cell: int = 240
) -> np.ndarray:
    """Lay pictures out in a table on white, centred in its cell, under column titles.

    Args:
        rows: Pictures (H, W, 3) uint8, as many in each row as there are titles.
        titles: Titles of the columns.
        cell: Side of a cell in px.

    Returns:
        (rows, columns, 3) uint8.
    """
    gap, head, step = cell // 20, cell // 8, cell + cell // 20
    small = [[Image.fromarray(thumbnail(pixels, cell)) for pixels in row] for row in rows]
    heights = [max(picture.height for picture in row) + gap for row in small]
    sheet = Image.new("RGB", (step * len(titles) + gap, head + gap + sum(heights)), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(head * 0.6)
    for column, title in enumerate(titles):
        middle = (gap + column * step + cell // 2, gap + head // 2)
        draw.text(middle, title, fill="black", font=font, anchor="mm")
    top = head + gap
    for row, height in zip(small, heights, strict=True):
        for column, picture in enumerate(row):
            x = gap + column * step + (cell - picture.width) // 2
            sheet.paste(picture, (x, top + (height - gap - picture.height) // 2))
        top += height
    return np.asarray(sheet)


def encode(image: np.ndarray, kind: Literal["png", "jpeg"], *, quality: int = 90) -> bytes:
    """Return a picture as the bytes of a file.

    Args:
        image: Picture (H, W, 3) uint8 RGB, (H, W) uint8 grey, or (H, W) bool, written as 0 and 255.
        kind: Format of the file.
        quality: Quality of a JPEG, 1 … 95; ignored for a PNG, which is lossless.
    """
    pixels = image.astype(np.uint8) * 255 if image.dtype == bool else image
    stream = io.BytesIO()
    options = {"quality": quality} if kind == "jpeg" else {}
    Image.fromarray(pixels).save(stream, format=kind, **options)
    return stream.getvalue()


def _tint(
    image: np.ndarray, mask: np.ndarray, colour: Colour, alpha: float, outline: int | None
) -> None:
    """Do the work of ``overlay`` in place and in strips, so that no large array is made."""
    width = max(1, round(max(mask.shape) / 300)) if outline is None else outline
    tint = np.asarray(colour, dtype=np.float32) * alpha
    for top, end in edges((mask.shape[0], mask.shape[1])):
        first = max(0, top - width)  # pixels up to this far outside the strip can erode it
        around = mask[first : end + width]
        inner = _eroded(around, width)[top - first : end - first]
        part, inside = image[top:end], mask[top:end]
        part[inside] = np.rint(part[inside] * np.float32(1 - alpha) + tint).astype(np.uint8)
        part[inside & ~inner] = colour


def _labels_in(labels: np.ndarray) -> list[int]:
    """Return the labels of a map (H, W) except 0, in order."""
    found: set[int] = set()
    for top, end in edges((labels.shape[0], labels.shape[1])):
        found.update(np.unique(labels[top:end]).tolist())
    return sorted(found - {0})


def _eroded(mask: np.ndarray, steps: int) -> np.ndarray:
    """Take ``steps`` layers of pixels off a mask (H, W); the picture's border counts as outside."""
    for _ in range(steps):
        padded = np.pad(mask, 1)
        sides = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
        mask = mask & sides
    return mask
