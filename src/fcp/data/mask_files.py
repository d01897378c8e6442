"""A mask's file → its numbers as stored, before anyone decides which of them are the object."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from fcp.data.decode import Decoding, ImageLike, Opened, open_picture, pages_of, stored_size
from fcp.data.decode_errors import clear_errors
from fcp.data.mask_values import MaskValues, of_bands, of_palette, without_transparent
from fcp.data.png import PALETTE, outline_of_png, strips_of
from fcp.data.textures import is_photo
from fcp.errors import FcpError

LARGE_MASK = 1 << 22  # px
LEAST_LOSSY = 16  # of the highest value of a mask in a lossy format, whose noise may be as high
_PHOTO = "a photo, not a mask; put a mask there that is 0 where the object is not"
DEEP_MODES = frozenset({"I", "F", "I;16", "I;16B", "I;16L", "I;16N"})


def mask_values(mask: ImageLike, name: str, page: int | None = None) -> MaskValues:
    """Read the numbers of a mask.

    Args:
        mask: File, Pillow picture, or array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4).
        name: Name of the mask in an error.
        page: Page or frame to read, see ``decoding_of``.

    Raises:
        FcpError: unreadable, or a file whose values do not tell the object.
    """
    if isinstance(mask, np.ndarray):
        return _no_photo(MaskValues(squeeze(mask, name)), name)
    large = large_samples(mask, name) if isinstance(mask, str | Path) else None
    if large is not None and not large[1]:
        return _no_photo(MaskValues(large[0]), name)
    opened = open_picture(mask, name, decoding_of(mask, page))
    content = opened.content
    # Which page or frame is read is said; only of photos it can be chosen.
    notes = [note.partition(";")[0].partition(":")[0] for note in opened.notes]
    if isinstance(content, np.ndarray):
        return MaskValues(of_bands(samples_of(opened), name, alpha=opened.alpha), notes=notes)
    if content.mode == "P":
        values, more = _of_palette(content, samples_of(opened), name)
        return MaskValues(values, is_index=True, notes=[*notes, *more])
    mode = content.mode
    if mode in ("L", "RGB") and content.has_transparency_data:
        mode += "A"
    elif mode not in DEEP_MODES | {"1", "L", "LA", "RGB", "RGBA"}:
        mode = "RGB"  # CMYK, YCbCr and others
    with clear_errors(name):
        opened = replace(opened, content=content if mode == content.mode else content.convert(mode))
    values = samples_of(opened)
    if opened.lossy and values.max() < LEAST_LOSSY:
        raise FcpError(f"{name}: its format changes small values; save it as PNG")
    require_not_cut(opened, values, name)
    return _no_photo(MaskValues(values, opened.lossy, content.mode == "1", notes), name)


def require_not_cut(opened: Opened, values: np.ndarray, name: str) -> None:
    """Check that the upper 8 of 16 bits, where no more are read, hold colours or a transparency.

    Args:
        opened: Decoded mask.
        values: Values (H, W, C) of the mask, with the transparency as the last of 4 bands.
        name: Name of the mask in an error.

    Raises:
        FcpError: small numbers, such as ids, are lost.
    """
    if not opened.is_cut:
        return
    top, alpha = values[..., :3].max(), values[..., 3:]
    is_drawn = alpha.size > 0 and alpha.min() < alpha.max()
    if top < LEAST_LOSSY and not (top == 0 and is_drawn):
        raise FcpError(f"{name}: of its 16 bits the upper 8 are read; save it as a grey PNG")


def _no_photo(found: MaskValues, name: str) -> MaskValues:
    """Return the values of a mask, unless they are those of a photo that nothing is cut out of."""
    values = found.values
    if values.ndim == 3 and values.shape[2] in (2, 4):
        if values[..., -1].min() < values[..., -1].max():
            return found
        values = values[..., :-1]
    if is_photo(values.max(axis=2) if values.ndim == 3 else values):
        raise FcpError(f"{name}: {_PHOTO}")
    return found


def decoding_of(mask: str | Path | Image.Image, page: int | None) -> Decoding:
    """Return how a mask is read: its page of this number, from 1, or its usual one if it has none.

    Raises:
        FcpError: missing, or no picture.
    """
    if page is None or isinstance(mask, Image.Image) or page > pages_of(Path(mask)).count:
        return Decoding()
    return Decoding(page=page)


def _of_palette(
    picture: Image.Image, indices: np.ndarray, name: str
) -> tuple[np.ndarray, list[str]]:
    """Return values of a palette picture whose 0 is the background; see ``of_palette``."""
    palette = np.array(picture.getpalette("RGB"), np.uint8).reshape(-1, 3)
    alpha = alpha_of(picture)
    bright = np.pad(palette.max(axis=1), (0, 256 - len(palette)))
    if (alpha == 255).all() and is_photo(bright[indices]):
        raise FcpError(f"{name}: {_PHOTO}")
    values, notes = without_transparent(indices, palette, alpha)
    if notes:
        return values, notes
    return of_palette(indices, palette, name)


def alpha_of(picture: Image.Image) -> np.ndarray:
    """Return how opaque each index of a palette is, (256,) uint8."""
    stated = picture.info.get("transparency")
    alpha = np.full(256, 255, np.uint8)
    if isinstance(stated, bytes):
        alpha[: len(stated)] = np.frombuffer(stated[:256], np.uint8)
    elif isinstance(stated, int):
        alpha[stated] = 0
    return alpha


def large_samples(path: str | Path, name: str) -> tuple[np.ndarray, bool] | None:
    """Read a large grey or palette PNG of 8 bits without more memory than its samples take.

    Returns:
        (H, W) uint8, and whether they are indices of a palette; None of any other file.

    Raises:
        FcpError: it is damaged.
    """
    with clear_errors(name):
        outline = outline_of_png(Path(path))
        if outline is None or outline.size[0] * outline.size[1] < LARGE_MASK:
            return None
        one_band = outline.can_be_cut and outline.depth == 8 and outline.step == 1
        if not one_band or stored_size(Path(path))[1] != 1:
            return None
        values, top = np.empty(outline.size, np.uint8), 0
        for strip in strips_of(Path(path), outline):
            values[top : top + strip.height] = np.asarray(strip)
            top += strip.height
    return values, outline.kind == PALETTE


def squeeze(array: np.ndarray, name: str) -> np.ndarray:
    """Check an array's shape; (H, W, 1) becomes (H, W)."""
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.ndim not in (2, 3) or channels not in (1, 3, 4) or 0 in array.shape:
        expected = "(H, W), (H, W, 1), (H, W, 3) or (H, W, 4)"
        raise FcpError(f"{name}: expected the shape {expected}, got {array.shape}")
    return array[..., 0] if array.ndim == 3 and channels == 1 else array


def samples_of(opened: Opened) -> np.ndarray:
    """Return the numbers of a mask as stored in the file, 0 where it has the "no data" value.

    Pillow stretches greys of 2 and 4 bits, which is undone. So is the inversion of ImageJ's masks,
    which display the smallest number as white but have the largest as foreground.
    """
    values = np.asarray(opened.content)
    if opened.white_is_zero and values.dtype == bool:
        values = ~values
    elif opened.white_is_zero:
        values = np.iinfo(values.dtype).max - values
    if opened.nodata is not None:
        values = np.where(values == opened.nodata, values.dtype.type(0), values)
    return values // values.dtype.type(opened.step) if opened.step != 1 else values
