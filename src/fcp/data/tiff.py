"""Pages of a TIFF, and the rows of a large page, some at a time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.util import find_spec
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from fcp.data.pages import largest_page
from fcp.data.strips import edges
from fcp.errors import FcpError

_PLAIN = (tifffile.PHOTOMETRIC.MINISBLACK, tifffile.PHOTOMETRIC.RGB)
_UNPACKED = (  # compressions that tifffile unpacks by itself
    tifffile.COMPRESSION.NONE,
    tifffile.COMPRESSION.DEFLATE,
    tifffile.COMPRESSION.ADOBE_DEFLATE,
)
_UNPACKED_BY_IMAGECODECS = (tifffile.COMPRESSION.LZW, tifffile.COMPRESSION.ZSTD)
_COMPRESSION, _PHOTOMETRIC = 259, 262  # numbers of tags
_FAX = (2, 3, 4)  # compressions
_READ_AHEAD = 1 << 22  # bytes of packed strips or tiles


def choose_page(
    file: tifffile.TiffFile, name: str, page: int | None
) -> tuple[int, str, tuple[str, ...]]:
    """Choose the page of a TIFF that is read.

    Args:
        file: Opened TIFF.
        name: Name of the file in an error.
        page: Number of the page asked for, from 1; None for the largest.

    Returns:
        Number of the page, from 1; its name in an error; and sentences on what was left out.

    Raises:
        FcpError: there is no such page.
    """
    count = len(file.pages)
    number = largest_page(file) if page is None else page
    if not 1 <= number <= count:
        raise FcpError(f"{name}: has {count} pages; there is no page {number}")
    notes: tuple[str, ...] = ()
    if count > 1 and page is None:
        notes = (f"page {number} of {count} is read, the largest; --pages chooses",)
    return number, (f"{name}, page {number}" if count > 1 else name), notes


def is_for_pillow(page: tifffile.TiffPage) -> bool:
    """Return whether Pillow reads a page without loss: colours of at most 8 bits."""
    small = page.bitspersample <= 8 and page.sampleformat == tifffile.SAMPLEFORMAT.UINT
    if not small or page.imagedepth != 1:
        return False
    if page.photometric in (tifffile.PHOTOMETRIC.MINISBLACK, tifffile.PHOTOMETRIC.MINISWHITE):
        return page.samplesperpixel == 1
    if page.photometric == tifffile.PHOTOMETRIC.RGB:
        return page.samplesperpixel == 3 or (page.samplesperpixel == 4 and has_alpha(page))
    return True


def shows_zero_white(picture: Image.Image) -> bool:
    """Return whether an opened TIFF's smallest number is shown as white, as in ImageJ's masks.

    Pillow has then inverted it, if it has no more than 8 bits. Fax compression stores black as 1,
    which is no inversion. No other format is of this kind.
    """
    tags: Any = getattr(picture, "tag_v2", {}) if picture.mode in ("1", "L") else {}
    return tags.get(_PHOTOMETRIC) == 0 and tags.get(_COMPRESSION) not in _FAX


def has_alpha(page: tifffile.TiffPage) -> bool:
    """Return whether the last band of a page is the transparency."""
    extra = page.extrasamples
    return bool(extra) and extra[-1] in (
        tifffile.EXTRASAMPLE.ASSOCALPHA,
        tifffile.EXTRASAMPLE.UNASSALPHA,
    )


def tiff_turn(page: tifffile.TiffPage) -> int:
    """Return the orientation of a page, 1 … 8; 1 where it is missing or invalid."""
    tag = page.tags.get("Orientation")
    turn = int(tag.value) if tag is not None else 1
    return turn if turn in range(1, 9) else 1


def can_be_cut(page: tifffile.TiffPage) -> bool:
    """Return whether rows of a page can be read alone: not inverted, bands interleaved."""
    return (
        page.photometric in _PLAIN
        and _is_unpacked(page)
        and (page.samplesperpixel == 1 or page.planarconfig == tifffile.PLANARCONFIG.CONTIG)
        and page.imagedepth == 1
        and page.dtype is not None
        and page.bitspersample == 8 * page.dtype.itemsize
        and (page.is_contiguous or page.is_tiled or page.rowsperstrip < page.imagelength)
    )


def _is_unpacked(page: tifffile.TiffPage) -> bool:
    if page.compression in _UNPACKED:
        return True
    return page.compression in _UNPACKED_BY_IMAGECODECS and find_spec("imagecodecs") is not None


def rows_of_tiff(path: Path, number: int) -> Iterator[np.ndarray]:
    """Decode a page from top to bottom, as stored.

    Args:
        path: Path of the file.
        number: Number, from 1, of a page that can be cut.

    Yields:
        Numbers (n, W) or (n, W, C) of one row of strips or tiles each.
    """
    with tifffile.TiffFile(path) as file:
        page = file.pages[number - 1].aspage()
        pieces = _plain_rows(path, page) if page.is_contiguous else _packed_rows(page)
        for rows in pieces:
            yield rows if page.samplesperpixel > 1 else rows[..., 0]


def _plain_rows(path: Path, page: tifffile.TiffPage) -> Iterator[np.ndarray]:
    """Yield rows (n, W, C) that are stored uncompressed and in sequence."""
    line = page.imagewidth * page.samplesperpixel
    kind = np.dtype(page.dtype).newbyteorder(page.parent.byteorder)
    with path.open("rb") as file:
        file.seek(page.dataoffsets[0])
        for top, end in edges((page.imagelength, page.imagewidth)):
            numbers = np.frombuffer(file.read((end - top) * line * kind.itemsize), kind)
            rows = numbers.reshape(end - top, page.imagewidth, page.samplesperpixel)
            yield rows.astype(kind.newbyteorder("="), copy=False)


def _packed_rows(page: tifffile.TiffPage) -> Iterator[np.ndarray]:
    """Yield rows (n, W, C), one row of strips or tiles at a time."""
    height, width, bands = page.imagelength, page.imagewidth, page.samplesperpixel
    rows, top = np.zeros((0, width, bands), page.dtype), 0
    for decoded, (_, _, first, left, _), shape in page.segments(
        maxworkers=1, buffersize=_READ_AHEAD
    ):
        if first != top or not len(rows):
            if len(rows):
                yield rows
            rows, top = np.zeros((min(shape[1], height - first), width, bands), page.dtype), first
        if decoded is not None:  # parts that the file leaves out are black
            part = decoded[0, : len(rows), : width - left]
            rows[: part.shape[0], left : left + part.shape[1]] = part
    yield rows


def tiff_nodata(page: tifffile.TiffPage) -> float | None:
    """Return the value that stands for "nothing measured here", as GDAL states it.

    None if none is stated, or the page's type cannot hold the stated one. A float of 32 bits is
    stated by more digits than it has.
    """
    tag, dtype = page.tags.get("GDAL_NODATA"), page.dtype
    try:
        text = "" if tag is None else str(tag.value).strip("\0 ")
        value = int(text) if re.fullmatch(r"[+-]?\d+", text) else float(text)
    except ValueError:
        return None
    if dtype is None or not isfinite(value):
        return None
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            return float(dtype.type(value))
    limits = np.iinfo(dtype) if dtype.kind in "iu" else None
    is_held = limits is not None and value == int(value) and limits.min <= value <= limits.max
    return int(value) if is_held else None
