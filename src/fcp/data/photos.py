"""Photos of any size in memory that does not grow with it: large ones are reduced as they are read.

The users of a photo's pixels (a model's square, tiles on a canvas, a drawing) need no more than
some million pixels of it; its mask always has the photo's own size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from fcp.data.bands import choose_bands
from fcp.data.decode import (
    TIFF,
    Decoding,
    ImageLike,
    largest_of,
    open_stored,
    stored_size,
)
from fcp.data.decode_errors import clear_errors
from fcp.data.images import (
    DEFAULT,
    invisible,
    is_shallow,
    name_of,
    read_picture,
    rgb_of_numbers,
    rgb_of_opened,
    to_rgb,
)
from fcp.data.mask_files import squeeze
from fcp.data.png import SIGNATURE, outline_of_png, read_outline, strips_of
from fcp.data.strips import edges, resize_nearest
from fcp.data.tiff import can_be_cut, choose_page, has_alpha, rows_of_tiff, tiff_turn
from fcp.data.turns import turn_array, upright
from fcp.data.value_range import ValueRange, find_limits
from fcp.errors import FcpError

LARGE = 25_000_000  # px; up to here nothing is reduced
BYTES_HELD = 15  # memory for each pixel of a WebP, as measured; other formats take less
MOST_DRAWN = 1 << 23  # px of a large photo, for a model's square and for display

Size = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Photo:
    """A photo as it is given to models and shown.

    Attributes:
        pixels: Pixels (h, w, 3) uint8 RGB, upright; of a large photo they may be fewer than its
            own.
        size: Own size (H, W) of the photo.
    """

    pixels: np.ndarray
    size: Size

    @property
    def drawn(self) -> Photo:
        """The photo with the pixels that are drawn on: of a large photo at most ``MOST_DRAWN``."""
        size = (self.pixels.shape[0], self.pixels.shape[1])
        rows = (self.pixels[top:end] for top, end in edges(size))
        smaller = reduced_size(size, MOST_DRAWN)
        return self if smaller == size else Photo(reduce_strips(rows, size, smaller), self.size)

    def under(self, labels: np.ndarray) -> np.ndarray:
        """Resize a map (H, W) of the photo to the size of ``pixels``, (h, w)."""
        return resize_nearest(labels, (self.pixels.shape[0], self.pixels.shape[1]))


def read_photo(
    image: ImageLike | Photo, how: Decoding = DEFAULT, most: int = MOST_DRAWN
) -> tuple[Photo, list[str]]:
    """Read a photo; one of more than ``LARGE`` pixels is reduced.

    A large PNG is never held in memory as a whole, and a JPEG is decoded smaller where that is
    enough; other formats are held as a whole while they are decoded.

    Args:
        image: Picture as for ``read_picture``, or a photo that was read before.
        how: Options as for ``read_picture``.
        most: Number of pixels that a large photo is reduced to.

    Returns:
        The photo, and a sentence on each part that was left out or assumed.

    Raises:
        FcpError: as ``read_picture``.
    """
    if isinstance(image, Photo):
        return image, []
    known = None
    with suppress(FcpError):  # reported below, as for a small photo
        known = _size_of(image, how.page)
    if known is None or reduced_size(known, most) == known:
        pixels, notes = read_picture(image, how)
        return Photo(pixels, (pixels.shape[0], pixels.shape[1])), notes
    with clear_errors(name_of(image)):
        strips = _open_large(image, how, most)
        reduced = reduce_strips(strips.rows, strips.size, _scaled(strips.size, most))
    pixels, size = turn_array(reduced, strips.turn), upright(strips.own, strips.turn)
    shown = f"{pixels.shape[1]:,}×{pixels.shape[0]:,}"
    said = f"{size[1]:,}×{size[0]:,} px: read and drawn at {shown} px; its mask has the full size"
    return Photo(np.ascontiguousarray(pixels), size), [*strips.notes, said]


def is_large(path: Path) -> bool:
    """Return whether ``read_photo`` reduces a file, by its header; False if it cannot be read."""
    with suppress(FcpError):
        height, width = _size_of(path)
        return height * width > LARGE
    return False


def bytes_held_whole(path: Path) -> int:
    """Return the memory that reading a large photo takes, beside the photo's own, by its header.

    Returns:
        Approximate number of bytes; 0 for a small photo, one that is read by rows or decoded
        smaller, and one that cannot be read.
    """
    if not is_large(path):
        return 0
    with suppress(FcpError), clear_errors(str(path)), path.open("rb") as file:
        head = file.read(len(SIGNATURE))
        by_rows = head.startswith(b"\xff\xd8")
        if head.startswith(SIGNATURE):
            outline = read_outline(path)
            by_rows = outline.can_be_cut and outline.depth <= 8
        elif head.startswith(TIFF):
            with tifffile.TiffFile(path) as opened:
                by_rows = _is_cut(opened.pages[largest_of(path) - 1].aspage())
        height, width = _size_of(path)
        return 0 if by_rows else height * width * BYTES_HELD
    return 0


def reduced_size(size: Size, most: int) -> Size:
    """Return the size (h, w) that a photo of (H, W) is reduced to: its own if it is not large."""
    return size if size[0] * size[1] <= LARGE else _scaled(size, most)


def reduce_strips(strips: Iterator[np.ndarray], size: Size, smaller: Size) -> np.ndarray:
    """Resize a picture that comes in strips, bilinear with antialiasing.

    Args:
        strips: Strips (n, W, 3) uint8 RGB, from top to bottom.
        size: Size (H, W) of all strips together.
        smaller: Size (h, w) to reduce to, no larger than ``size``.

    Returns:
        (h, w, 3) uint8, equal to Pillow's result for the whole picture.
    """
    result = np.empty((*smaller, 3), np.uint8)
    scale = size[0] / smaller[0]
    reach = ceil(scale) + 1  # number of rows above and below that a row depends on
    held, top, done = np.empty((0, size[1], 3), np.uint8), 0, 0
    for strip in strips:
        held = np.concatenate([held, strip])
        bottom = top + len(held)
        ready = smaller[0] if bottom == size[0] else int((bottom - reach) / scale)
        if ready > done:
            box = (0, done * scale - top, size[1], min(ready * scale, size[0]) - top)
            wanted = (smaller[1], ready - done)
            part = Image.fromarray(held).resize(wanted, Image.Resampling.BILINEAR, box)
            result[done:ready] = np.asarray(part)
            first = max(top, int(ready * scale) - reach)
            held, top, done = held[first - top :], first, ready
    return result


def _scaled(size: Size, most: int) -> Size:
    """Return the size (h, w), of no more than about ``most`` pixels."""
    scale = min(1.0, (most / (size[0] * size[1])) ** 0.5)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _size_of(image: ImageLike, page: int | None = None) -> Size:
    """Return the size (H, W) of a picture or its page, upright, without decoding a file."""
    if isinstance(image, np.ndarray):
        height, width = squeeze(image, name_of(image)).shape[:2]
        return height, width
    if isinstance(image, Image.Image):
        return image.height, image.width
    if not isinstance(image, str | Path):
        raise FcpError(f"{name_of(image)}: expected a path, a Pillow picture or a numpy array")
    return upright(*stored_size(Path(image), page))


@dataclass(frozen=True, eq=False)
class _Strips:
    """A picture that comes in strips.

    Attributes:
        rows: Strips (n, W, 3) uint8 RGB, from top to bottom.
        size: Size (H, W) of all strips together.
        turn: EXIF orientation that is still to be applied.
        notes: Sentences on what was left out or assumed.
        own: Size (H, W) of the photo as stored; a JPEG may be decoded smaller.
    """

    rows: Iterator[np.ndarray]
    size: Size
    turn: int
    notes: Sequence[str]
    own: Size


def _open_large(image: ImageLike, how: Decoding, most: int) -> _Strips:
    by_value = how.bands is not None or how.values.kind not in ("auto", "full")
    if isinstance(image, np.ndarray):
        return _strips_of_array(*read_picture(image, how))
    path = image if isinstance(image, Image.Image) else Path(image)
    if isinstance(path, Path) and not by_value and (strips := _strips_of_png(path)) is not None:
        return strips
    if isinstance(path, Path) and (strips := _strips_of_tiff(path, how)) is not None:
        return strips
    opened = open_stored(path, name_of(image), how, most)
    content = opened.content
    if isinstance(content, np.ndarray) or by_value or not is_shallow(content):
        strips = _strips_of_array(*rgb_of_opened(opened, how, name_of(image)))
        return replace(strips, turn=opened.turn)
    size = (content.height, content.width)
    own = size
    if isinstance(path, Path) and content.format in ("JPEG", "MPO"):
        own = stored_size(path)[0]
    parts = [(0, a, content.width, b) for a, b in edges(size)]
    rows = (to_rgb(content.crop(part)) for part in parts)
    notes = [*opened.notes, *invisible(content.crop(part) for part in parts)]
    return _Strips(rows, size, opened.turn, notes, own)


def _strips_of_array(rgb: np.ndarray, notes: Sequence[str]) -> _Strips:
    size = (rgb.shape[0], rgb.shape[1])
    return _Strips((rgb[a:b] for a, b in edges(size)), size, 1, notes, size)


def _strips_of_tiff(path: Path, how: Decoding) -> _Strips | None:
    """Return the strips of a TIFF's page that can be read by rows; None for any other file."""
    with path.open("rb") as file:
        if not file.read(4).startswith(TIFF):
            return None
    with tifffile.TiffFile(path) as opened:
        number, name, notes = choose_page(opened, str(path), how.page)
        page = opened.pages[number - 1].aspage()
        if not _is_cut(page):
            return None
        size, turn, is_deep = (
            (page.imagelength, page.imagewidth),
            tiff_turn(page),
            page.dtype != "u1",
        )
    with clear_errors(name):
        if not is_deep and how.values.kind in ("auto", "full"):
            fixed, more = how, list[str]()
        else:
            chosen = (choose_bands(rows, how, name)[0] for rows in rows_of_tiff(path, number))
            (low, high), more = find_limits(chosen, size[0] * size[1], how.values, name)
            fixed = replace(how, values=ValueRange("values", low, high))
        first = next(rows_of_tiff(path, number))
        notes += (*choose_bands(first[:1], how, name)[1], *more)
    shown = (rgb_of_numbers(rows, fixed, name)[0] for rows in rows_of_tiff(path, number))
    return _Strips(shown, size, turn, notes, size)


def _is_cut(page: tifffile.TiffPage) -> bool:
    return can_be_cut(page) and not has_alpha(page) and not page.tags.get("GDAL_NODATA")


def _strips_of_png(path: Path) -> _Strips | None:
    """Return the strips of a PNG of 8 bits; None for any other file."""
    outline = outline_of_png(path)
    if outline is None or not outline.can_be_cut or outline.depth > 8:
        return None
    rows = (to_rgb(strip) for strip in strips_of(path, outline))
    notes = invisible(strips_of(path, outline))
    return _Strips(rows, outline.size, stored_size(path)[1], notes, outline.size)
