"""A mask or label map that fcp wrote, perhaps saved again by a paint program → labels.

Such a program may rebuild the palette: the colours stay, and their indices become others. What a
person sees and paints are the colours, so that they decide where the two differ. What was erased is
transparent, and is the background.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from fcp.data.decode import Decoding, Opened, open_picture
from fcp.data.decode_errors import clear_errors
from fcp.data.images import read_label_picture, voc_palette
from fcp.data.mask_files import DEEP_MODES, LEAST_LOSSY, large_samples, samples_of
from fcp.data.mask_values import foreground
from fcp.data.png import PALETTE, Outline, outline_of_png
from fcp.data.strips import count_values, edges
from fcp.errors import FcpError

_NO_COLOUR = 0xFFFFFF  # of an index past the palette's end: white, which is the colour of no label
_GREY = 0x010101  # times a value: its grey


def read_own_mask(path: Path) -> np.ndarray:
    """Read a mask of one class, which fcp wrote in black and white.

    Black and transparent are the background, whichever of them the picture shows, and any other
    colour is the object. Soft edges are cut at half, and so is a picture without any black.

    Returns:
        (H, W) bool.

    Raises:
        FcpError: unreadable.
    """
    large = large_samples(path, str(path))
    if large is not None and not large[1]:
        grey, lossy = large[0], False
    else:
        opened = open_picture(path, str(path), Decoding())
        with clear_errors(str(path)):
            grey, lossy = _over_black(opened), opened.lossy
    if lossy and grey.max() < LEAST_LOSSY:  # noise in black; our objects are white
        return np.zeros(grey.shape, bool)
    return foreground(grey, lossy=lossy or bool(grey.min() > 0))[0]


def _over_black(opened: Opened) -> np.ndarray:
    """Return the brightness (H, W) of a picture laid over black."""
    content = opened.content
    if isinstance(content, np.ndarray):
        return content.max(axis=2) if content.ndim == 3 else content
    if content.mode in DEEP_MODES | {"1", "L"} and not content.has_transparency_data:
        return samples_of(opened)
    rgba = np.asarray(content.convert("RGBA"))
    brightest, alpha = rgba[..., :3].max(axis=2), rgba[..., 3]
    return np.where(alpha > alpha.max() / 2, brightest, np.uint8(0))


def read_own_labels(path: Path) -> np.ndarray:
    """Read a label map in VOC's colours: by its palette indices, or by its colours.

    Indices count where the palette shows each in the colour of its label, or in the grey of its
    value; grey values count as they are. Otherwise each colour is looked up. Transparent pixels
    are the background.

    Returns:
        (H, W) uint8, or uint16 where the PNG has 16 bits; may be read-only.

    Raises:
        FcpError: unreadable, or a colour that is the colour of no label.
    """
    with clear_errors(str(path)):
        outline = outline_of_png(path)
    picture = read_label_picture(path, colours=_is_transparent(outline))
    if picture.ndim == 3:
        return _by_strips(picture, lambda part: _labels_of(_codes(part), path))
    palette = _palette(path, outline)
    if palette is None or picture.dtype != np.uint8:
        return picture
    used = np.flatnonzero(count_values(picture))
    shown = palette[used]
    if (shown == _codes(voc_palette())[used]).all() or (shown == used * _GREY).all():
        return picture
    labels = np.zeros(256, np.uint8)
    labels[used] = _labels_of(shown, path)
    return _by_strips(picture, lambda part: labels[part])


def _palette(path: Path, outline: Outline | None) -> np.ndarray | None:
    """Return the colour code (256,) of each index of a palette; None of other pictures."""
    colours = _palette_bytes(path, outline)
    if colours is None:
        return None
    codes = np.full(256, _NO_COLOUR, np.int64)
    known = _codes(np.frombuffer(colours, np.uint8).reshape(-1, 3))
    codes[: len(known)] = known
    return codes


def _is_transparent(outline: Outline | None) -> bool:
    """Return whether a palette PNG has a transparent colour."""
    return (
        outline is not None
        and outline.kind == PALETTE
        and any(kind == b"tRNS" and 0 in content for kind, content in outline.chunks)
    )


def _palette_bytes(path: Path, outline: Outline | None) -> bytes | None:
    if outline is not None:
        return dict(outline.chunks).get(b"PLTE") if outline.kind == PALETTE else None
    content = open_picture(path, str(path), Decoding()).content
    if isinstance(content, Image.Image) and content.mode == "P":
        return bytes(content.getpalette("RGB") or ())
    return None


def _codes(colours: np.ndarray) -> np.ndarray:
    """Return colours (…, 3) as numbers (…), 0xRRGGBB."""
    red, green, blue = np.moveaxis(colours.astype(np.int64), -1, 0)
    return red << 16 | green << 8 | blue


def _labels_of(codes: np.ndarray, path: Path) -> np.ndarray:
    """Return the labels of colour codes of any shape.

    Raises:
        FcpError: a colour that is the colour of no label.
    """
    ours = _codes(voc_palette())
    order = np.argsort(ours)
    places = np.minimum(np.searchsorted(ours[order], codes), len(ours) - 1)
    strange = ours[order][places] != codes
    if strange.any():
        raise FcpError(
            f"{path}: #{codes[strange][0]:06x} is the colour of no class; paint without smoothing, "
            "in the colours that the map has, and save it as PNG"
        )
    return order[places].astype(np.uint8)


def _by_strips(picture: np.ndarray, labels_of: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Return the labels (H, W) uint8 of a picture (H, W, …), made some rows at a time."""
    size = (picture.shape[0], picture.shape[1])
    labels = np.empty(size, np.uint8)
    for top, end in edges(size):
        labels[top:end] = labels_of(picture[top:end])
    return labels
