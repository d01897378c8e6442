"""Any picture a person may have → RGB array; any mask → boolean array; clear errors otherwise.

A picture is turned as its EXIF orientation says, laid over white where it is transparent, and
scaled to 8 bits by the range of its number type: 16-bit values are divided by 257. Pillow's own
limit on the number of pixels stays in force and no Pillow setting is changed.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from fcp.errors import FcpError

ImageLike = str | Path | Image.Image | np.ndarray

PICTURE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})

# What Pillow's decoders raise on damaged files, beside OSError.
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error)
_SIDEWAYS = frozenset({5, 6, 7, 8})  # EXIF orientations that swap width and height
_DEEP_MODES = frozenset({"I", "F", "I;16", "I;16B", "I;16L", "I;16N"})


def read_image(image: ImageLike) -> np.ndarray:
    """Bring a picture to 8-bit RGB.

    Args:
        image: file, Pillow picture of any mode, or array (H, W), (H, W, 1), (H, W, 3) or
            (H, W, 4) of uint8, uint16, bool, or floats in 0 … 1.

    Returns:
        (H, W, 3) uint8 RGB, upright; a fresh or read-only array that the caller should not edit.

    Raises:
        FcpError: missing, empty, truncated, too large or no picture; an array of another kind.
    """
    name = name_of(image)
    if isinstance(image, np.ndarray):
        return _to_rgb(Image.fromarray(_to_uint8(_squeeze(image, name), name)))
    picture = _open(image, name)
    if picture.mode in _DEEP_MODES:
        picture = Image.fromarray(_to_uint8(_deep_values(picture), name))
    return _to_rgb(picture)


def read_mask(mask: ImageLike, size: tuple[int, int], picture: str = "its picture") -> np.ndarray:
    """Read a mask of a picture: every nonzero pixel is foreground, whatever its value.

    A palette PNG counts by index, not by colour. In a colour mask a pixel is foreground where any
    channel but the transparency is nonzero and the pixel is not fully transparent.

    Args:
        mask: file, Pillow picture, or array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4).
        size: (H, W) of the upright picture.
        picture: what to call the picture in an error.

    Returns:
        (H, W) bool.

    Raises:
        FcpError: unreadable, or of another size than its picture.
    """
    name = name_of(mask)
    if isinstance(mask, np.ndarray):
        values = _squeeze(mask, name)
    else:
        values = np.asarray(_open(mask, name))
    if values.ndim == 3:
        colours, alpha = np.split(values, [values.shape[2] - (values.shape[2] in (2, 4))], axis=2)
        values = (colours != 0).any(axis=2) & (alpha != 0).all(axis=2)
    if values.shape != size:
        raise FcpError(_size_message(name, values.shape, picture, size))
    return values != 0


def read_labels(path: Path) -> np.ndarray:
    """Read a label mask: palette indices or grey values are the labels.

    Returns:
        (H, W) uint8, or uint16 where the PNG has 16 bits; read-only.

    Raises:
        FcpError: unreadable, or a colour picture instead of label ids.
    """
    picture = _open(path, str(path))
    if picture.mode not in {"P", "L", "I;16"}:
        raise FcpError(f"{path}: expected a palette or grey PNG of label ids, got {picture.mode}")
    return np.asarray(picture)


def empty_labels(size: tuple[int, int], classes: int) -> np.ndarray:
    """Return a label mask (H, W) of background: uint8, or uint16 for more than 255 classes."""
    return np.zeros(size, dtype=np.uint8 if classes <= 255 else np.uint16)


def label_png(labels: np.ndarray) -> bytes:
    """Encode a label mask as a PNG that ``read_labels`` reads.

    Args:
        labels: (H, W) uint8, which takes VOC's colours, or uint16, which becomes grey.
    """
    picture = Image.fromarray(labels)
    if labels.dtype == np.uint8:
        picture.putpalette(voc_palette().reshape(-1).tolist())
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


def voc_palette() -> np.ndarray:
    """Return VOC's colour of each label, (256, 3) uint8: the label's bits, three by three."""
    labels = np.arange(256)
    colours = np.zeros((256, 3), np.int64)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] += (labels >> (3 * bit + channel) & 1) << (7 - bit)
    return colours.astype(np.uint8)


def require_same_size(mask: Path, got: tuple[int, ...], picture: Path) -> None:
    """Compare a mask's size with its picture's, of which the header alone is read.

    Args:
        mask: file of the mask, for the error.
        got: (H, W) of the mask.
        picture: file of the picture.

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
    with _clear_errors(str(path)), Image.open(path) as picture:
        width, height = picture.size
        turned = picture.getexif().get(ExifTags.Base.Orientation) in _SIDEWAYS
    return (width, height) if turned else (height, width)


def picture_of(content: bytes, name: str) -> Image.Image:
    """Open a picture that lies inside another file, for ``read_image`` or ``read_mask``.

    Args:
        content: of a picture's file.
        name: what to call it in an error.

    Raises:
        FcpError: empty, or no picture; what is damaged further in is told when it is read.
    """
    with _clear_errors(name):
        picture = Image.open(io.BytesIO(content))
    picture.filename = name  # name_of asks for it
    return picture


def name_of(image: object) -> str:
    """Say in an error which picture is meant: its file, or its kind when it has none."""
    if isinstance(image, str | Path):
        return str(image)
    if isinstance(image, Image.Image):
        return str(getattr(image, "filename", "") or "the given picture")
    return "the given array" if isinstance(image, np.ndarray) else f"the given {type(image)}"


def _open(image: str | Path | Image.Image, name: str) -> Image.Image:
    """Open, decode and turn upright; every failure is one line that names the file."""
    if not isinstance(image, str | Path | Image.Image):
        raise FcpError(f"{name}: expected a path, a Pillow picture or a numpy array")
    with _clear_errors(name):
        if isinstance(image, Image.Image):
            return ImageOps.exif_transpose(image)
        if Path(image).stat().st_size == 0:
            raise FcpError(f"{name}: the file is empty; copy it again")
        with Image.open(image) as picture:
            return ImageOps.exif_transpose(picture)


@contextmanager
def _clear_errors(name: str) -> Iterator[None]:
    try:
        yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        # Pillow refuses at twice its setting; it never refuses where the setting is None.
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        message = f"{name}: more pixels than the safe limit of {limit:,}; make it smaller"
        raise FcpError(message) from error
    except _DAMAGE as error:
        raise FcpError(f"{name}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """Say in a few words why a file could not be decoded, and what to do."""
    if isinstance(error, FileNotFoundError):
        return "no such file; check the path"
    if isinstance(error, IsADirectoryError):
        return "is a folder, expected a picture"
    if isinstance(error, UnidentifiedImageError):
        return "not a picture that can be read; convert it to PNG or JPEG"
    # Only the system's own errors carry a number: what Pillow finds wrong in a file has none.
    if isinstance(error, OSError) and error.errno is not None:
        return f"cannot be read ({error.strerror})"
    return f"damaged or truncated ({error}); copy it again"


def _squeeze(array: np.ndarray, name: str) -> np.ndarray:
    """Check an array's shape; (H, W, 1) becomes (H, W)."""
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.ndim not in (2, 3) or channels not in (1, 3, 4) or 0 in array.shape:
        expected = "(H, W), (H, W, 1), (H, W, 3) or (H, W, 4)"
        raise FcpError(f"{name}: expected the shape {expected}, got {array.shape}")
    return array[..., 0] if array.ndim == 3 and channels == 1 else array


def _deep_values(picture: Image.Image) -> np.ndarray:
    """Return the numbers of a picture with more than 8 bits: uint16, or floats of mode F."""
    values = np.asarray(picture)
    if picture.mode != "I":
        return values
    # Pillow also opens some 16-bit files as 32-bit integers ("I"); no other use of it is common.
    in_range = values.min() >= 0 and values.max() <= np.iinfo(np.uint16).max
    return values.astype(np.uint16) if in_range else values


def _to_uint8(array: np.ndarray, name: str) -> np.ndarray:
    """Scale numbers to 8 bits by the range of their type: 16-bit / 257, floats and bool × 255."""
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    if array.dtype == bool:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype.kind == "u" and array.dtype.itemsize == 2:
        return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if array.dtype.kind == "f" and bool(((array >= 0) & (array <= 1)).all()):
        return np.rint(array.astype(np.float32) * 255).astype(np.uint8)
    got = array.dtype if array.dtype.kind != "f" else f"{array.dtype} outside 0 … 1"
    raise FcpError(f"{name}: expected uint8, uint16, bool or floats in 0 … 1, got {got}")


def _to_rgb(picture: Image.Image) -> np.ndarray:
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    return np.asarray(picture.convert("RGB"))


def _size_message(name: str, got: tuple[int, ...], picture: str, expected: tuple[int, int]) -> str:
    height, width = cast(tuple[int, int], got)
    message = (
        f"{name}: the mask is {width}×{height} px but {picture} is {expected[1]}×{expected[0]} px"
    )
    if (width, height) == expected:
        return f"{message}; the photo is shown turned (EXIF orientation): turn the mask likewise"
    return f"{message}; make the mask at the picture's own size"
