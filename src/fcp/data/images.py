"""Any common picture → RGB array; any mask → boolean array; otherwise a clear error.

A picture is turned as its EXIF orientation says, laid over white where it is transparent, and
scaled to 8 bits (``fcp.data.value_range``). Pillow's own limit on the number of pixels stays in
force and no Pillow setting is changed.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import cast

import numpy as np
from PIL import Image

from fcp.data.bands import choose_bands
from fcp.data.decode import (
    Decoding,
    ImageLike,
    Opened,
    open_picture,
    stored_size,
)
from fcp.data.decode_errors import clear_errors
from fcp.data.mask_files import (
    DEEP_MODES,
    decoding_of,
    large_samples,
    mask_values,
    require_not_cut,
    samples_of,
    squeeze,
)
from fcp.data.mask_values import foreground, refuse_without_background
from fcp.data.png import png_of, require_whole_png
from fcp.data.strips import edges
from fcp.data.turns import upright
from fcp.data.value_range import opacity_range, to_uint8
from fcp.errors import FcpError

DEFAULT = Decoding()


def read_image(image: ImageLike, how: Decoding = DEFAULT) -> np.ndarray:
    """Convert a picture to 8-bit RGB; see ``read_picture``, which also returns notes."""
    return read_picture(image, how)[0]


def read_picture(image: ImageLike, how: Decoding = DEFAULT) -> tuple[np.ndarray, list[str]]:
    """Convert a picture to 8-bit RGB.

    Args:
        image: File, Pillow picture of any mode, or array (H, W), (H, W, 1), (H, W, 3) or
            (H, W, 4) of numbers or bool.
        how: Options of page, bands and values.

    Returns:
        (H, W, 3) uint8 RGB, upright, not to be edited by the caller; and a sentence on each part
        that was left out or assumed.

    Raises:
        FcpError: missing, empty, damaged, too large or no picture; an array of another kind.
    """
    name = name_of(image)
    if isinstance(image, np.ndarray):
        values = squeeze(image, name)
        return rgb_of_numbers(values, how, name, alpha=values.ndim == 3 and values.shape[2] == 4)
    return rgb_of_opened(open_picture(image, name, how), how, name)


def is_shallow(content: Image.Image | np.ndarray) -> bool:
    """Return whether a decoded picture has 8 bits, so that each value is converted by itself."""
    return isinstance(content, Image.Image) and content.mode not in DEEP_MODES


def rgb_of_opened(opened: Opened, how: Decoding, name: str) -> tuple[np.ndarray, list[str]]:
    """Convert a decoded picture to 8-bit RGB, turned or not; see ``read_picture``."""
    notes = list(opened.notes)
    content = opened.content
    if isinstance(content, np.ndarray):
        rgb, more = rgb_of_numbers(content, how, name, alpha=opened.alpha, nodata=opened.nodata)
        return rgb, notes + more
    with clear_errors(name):  # Pillow detects a damaged palette only now
        if content.mode in DEEP_MODES or how.bands is not None:
            content = content.convert("RGBA") if content.mode in ("P", "PA") else content
            values = _deep_values(content) if content.mode in DEEP_MODES else np.asarray(content)
            rgb, more = rgb_of_numbers(values, how, name)
        else:
            rgb, more = to_uint8(to_rgb(content), how.values, name)
            notes += invisible([content])
    return rgb, notes + more


def read_mask(mask: ImageLike, size: tuple[int, int], picture: str = "its picture") -> np.ndarray:
    """Read a mask of a picture: (H, W) bool; see ``look_at_mask``, which also returns notes."""
    return look_at_mask(mask, size, picture)[0]


def look_at_mask(
    mask: ImageLike,
    size: tuple[int, int],
    picture: str = "its picture",
    page: int | None = None,
) -> tuple[np.ndarray, list[str]]:
    """Read a mask of a picture: every nonzero pixel is foreground, whatever its value.

    A palette PNG is read by index, not by colour, and greys of fewer than 8 bits by their samples.
    In a colour mask a pixel is foreground where any channel but the transparency is nonzero and the
    pixel is not fully transparent. Soft edges and JPEG's noise are cut at half of the highest
    value.

    Args:
        mask: File, Pillow picture, or array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4).
        size: Size (H, W) of the upright picture.
        picture: Name of the picture in an error.
        page: Page or frame of the picture, from 1, which is read of a mask that has it too; None
            for the usual one.

    Returns:
        (H, W) bool, and one sentence for each oddity.

    Raises:
        FcpError: unreadable, of another size than its picture, or in colours without black.
    """
    name = name_of(mask)
    found = mask_values(mask, name, page)
    if found.values.shape[:2] != size:
        raise FcpError(_size_message(name, found.values.shape[:2], picture, size))
    marked, notes = foreground(found.values, lossy=found.lossy, is_index=found.is_index)
    if marked.all():
        refuse_without_background(found.values, name)
    return marked, [*found.notes, *notes]


def read_labels(path: Path) -> np.ndarray:
    """Read a label mask: palette indices or grey values are the labels.

    Returns:
        (H, W) uint8, or uint16 where the PNG has 16 bits; read-only.

    Raises:
        FcpError: unreadable, or a colour picture instead of label ids.
    """
    labels = read_label_picture(path)
    if labels.ndim != 2:
        raise FcpError(f"{path}: expected a palette or grey PNG of label ids, got a colour picture")
    return labels


def read_label_picture(path: Path, *, colours: bool = False, page: int | None = None) -> np.ndarray:
    """Read a label mask of ids or of colours, both exact.

    Args:
        path: Path of the mask.
        colours: Whether the colours of a palette PNG are returned in place of its indices.
        page: Page or frame to read, as for ``look_at_mask``.

    Returns:
        (H, W) uint8 or uint16 of ids, or (H, W, 3) uint8 RGB; 0 where it is transparent.

    Raises:
        FcpError: unreadable, or in a format that changes values.
    """
    name = str(path)
    large = large_samples(path, name)
    if large is not None and not (colours and large[1]):
        return large[0]
    opened = open_picture(path, name, decoding_of(path, page))
    if opened.lossy:
        raise FcpError(f"{name}: its format changes the values of label ids; save them as PNG")
    picture = opened.content
    if isinstance(picture, Image.Image) and picture.mode == "LA":
        ids, alpha = np.moveaxis(np.asarray(picture), -1, 0)
        return ids * (alpha > 0)
    modes = {"1", "L", "I;16", "I"} if colours else {"1", "L", "I;16", "I", "P"}
    if isinstance(picture, Image.Image) and picture.mode not in modes:
        with clear_errors(name):
            rgba = np.asarray(picture.convert("RGBA"))
        require_not_cut(opened, rgba, name)
        return rgba[..., :3] * (rgba[..., 3:] > 0)
    values = samples_of(opened)
    if values.ndim != 2 or values.min() < 0 or values.max() > np.iinfo(np.uint16).max:
        raise FcpError(f"{name}: expected label ids of one band, 0 … 65,535")
    return values.astype(np.uint8 if values.dtype.itemsize == 1 else np.uint16)


def empty_labels(size: tuple[int, int], classes: int) -> np.ndarray:
    """Return a label mask (H, W) of background: uint8, or uint16 for more than 255 classes."""
    return np.zeros(size, dtype=np.uint8 if classes <= 255 else np.uint16)


def label_png(labels: np.ndarray) -> bytes:
    """Encode a label mask as a PNG that ``read_labels`` reads.

    Args:
        labels: Label mask (H, W): uint8 becomes a palette PNG in VOC's colours, uint16 a grey PNG.
    """
    if labels.dtype == np.uint8:
        return palette_png(labels, voc_palette())
    size = (labels.shape[0], labels.shape[1])
    return png_of((labels[top:end] for top, end in edges(size)), size, None)


def palette_png(labels: np.ndarray, palette: np.ndarray) -> bytes:
    """Encode a label map (H, W) uint8 as a PNG with a palette (256, 3) uint8 of colours."""
    size = (labels.shape[0], labels.shape[1])
    return png_of((labels[top:end] for top, end in edges(size)), size, palette.tobytes())


def mask_png(labels: np.ndarray) -> bytes:
    """Encode a label map (H, W) as a grey PNG: 255 where it is not 0, else 0."""
    size = (labels.shape[0], labels.shape[1])
    rows = (np.where(labels[top:end], np.uint8(255), np.uint8(0)) for top, end in edges(size))
    return png_of(rows, size, None)


def voc_palette() -> np.ndarray:
    """Return VOC's colour of each label, (256, 3) uint8: the label's bits, three by three."""
    labels = np.arange(256)
    colours = np.zeros((256, 3), np.int64)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] += (labels >> (3 * bit + channel) & 1) << (7 - bit)
    return colours.astype(np.uint8)


def require_same_size(mask: Path, got: tuple[int, ...], picture: Path) -> None:
    """Compare a mask's size with its picture's, which is read from the header.

    Args:
        mask: File of the mask, for the error.
        got: Size (H, W) of the mask.
        picture: File of the picture.

    Raises:
        FcpError: another size, or a picture that cannot be read.
    """
    size = read_size(picture)
    if got != size:
        raise FcpError(_size_message(str(mask), got, str(picture), size))


def read_size(path: Path) -> tuple[int, int]:
    """Read the size (H, W) of a picture, upright, from its header.

    Raises:
        FcpError: missing, or no picture.
    """
    return upright(*stored_size(path))


def picture_of(content: bytes, name: str) -> Image.Image:
    """Open a picture that lies inside another file, for ``read_image`` or ``read_mask``.

    Args:
        content: Bytes of a picture's file.
        name: Name of the picture in an error.

    Raises:
        FcpError: empty, or no picture; damage after the header is reported when the picture is
            read.
    """
    with clear_errors(name):
        picture = Image.open(io.BytesIO(content))
        if picture.format == "PNG":
            require_whole_png(io.BytesIO(content))
    picture.filename = name  # name_of asks for it
    return picture


def name_of(image: object) -> str:
    """Return a picture's name for an error: its file, or its kind if it has none."""
    if isinstance(image, str | Path):
        return str(image)
    if isinstance(image, Image.Image):
        return str(getattr(image, "filename", "") or "the given picture")
    return "the given array" if isinstance(image, np.ndarray) else f"the given {type(image)}"


def _deep_values(picture: Image.Image) -> np.ndarray:
    """Return the numbers of a picture with more than 8 bits: uint16, or floats of mode F."""
    values = np.asarray(picture)
    if picture.mode != "I":
        return values
    # Pillow also opens some 16-bit files as 32-bit integers ("I"); no other use of it is common.
    in_range = values.min() >= 0 and values.max() <= np.iinfo(np.uint16).max
    return values.astype(np.uint16) if in_range else values


def rgb_of_numbers(
    values: np.ndarray,
    how: Decoding,
    name: str,
    *,
    alpha: bool = False,
    nodata: float | None = None,
) -> tuple[np.ndarray, list[str]]:
    """Choose bands of numbers and scale them to 8 bits.

    Args:
        values: Numbers (H, W) or (H, W, C) of a picture, or of some of its rows.
        how: Options of bands and range.
        name: Name of the picture in an error.
        alpha: Whether the last of four bands is the transparency.
        nodata: Value that stands for "nothing measured here", see ``to_uint8``.

    Returns:
        (H, W, 3) uint8 RGB, and one sentence for each assumption.

    Raises:
        FcpError: it has no such bands, or no finite numbers.
    """
    chosen, notes = choose_bands(values, how, name, alpha=alpha)
    eight, more = to_uint8(chosen, how.values, name, nodata)
    if how.bands is None and values.ndim == 3 and values.shape[2] == 4 and alpha:
        see_through, _ = to_uint8(values[..., 3:], opacity_range(values), name)
        eight = np.concatenate([eight, see_through], axis=2)
    shown = Image.fromarray(eight)
    return to_rgb(shown), [*notes, *more, *invisible([shown])]


def to_rgb(picture: Image.Image) -> np.ndarray:
    """Lay a picture over white: (H, W, 3) uint8, which may be read-only."""
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    return np.asarray(picture.convert("RGB"))


def invisible(strips: Iterable[Image.Image]) -> list[str]:
    """Return a note on a picture that comes in strips and is transparent everywhere."""
    for strip in strips:
        if not strip.has_transparency_data or np.asarray(strip.convert("RGBA"))[..., 3].any():
            return []
    return ["transparent everywhere, and so read as white; save it without transparency"]


def _size_message(name: str, got: tuple[int, ...], picture: str, expected: tuple[int, int]) -> str:
    height, width = cast(tuple[int, int], got)
    message = (
        f"{name}: the mask is {width}×{height} px but {picture} is {expected[1]}×{expected[0]} px"
    )
    if (width, height) == expected:
        remedy = "turn the mask as the photo is shown (with its EXIF orientation)"
        return f"{message}; {remedy}, or read masks of raw pixels by --drawn-on raw"
    return f"{message}; make the mask at the picture's own size"
