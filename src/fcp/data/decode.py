"""A picture's file → its pixels or numbers, upright, for all supported formats.

Unless a page is chosen, the largest page of a TIFF and the first frame of an animation are read;
what was left out is reported. A PNG's checksums are compared, which Pillow does not do. No Pillow
setting is changed.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import ExifTags, Image

from fcp.data.decode_errors import DAMAGE, clear_errors
from fcp.data.pages import Pages, largest_page, own_pictures
from fcp.data.png import SIGNATURE, read_outline, require_whole_png
from fcp.data.tiff import (
    choose_page,
    has_alpha,
    is_for_pillow,
    shows_zero_white,
    tiff_nodata,
    tiff_turn,
)
from fcp.data.turns import turn_array
from fcp.data.value_range import AUTO, ValueRange
from fcp.data.video import read_clip, read_frame
from fcp.errors import FcpError
from fcp.system.files import is_video

ImageLike = str | Path | Image.Image | np.ndarray

TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # first bytes of a TIFF
_HEIF = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
_ANIMATED = (SIGNATURE, b"GIF8", b"RIFF")  # first bytes of files that may be animated; RIFF is WebP
# First bytes, in lower case, of what often lies in place of a picture.
_NO_PICTURES = {
    b"version https://git-lfs": "a pointer of Git LFS, without the file; run git lfs pull",
    b"<!doctype html": "a web page in place of the picture; download it again",
    b"<html": "a web page in place of the picture; download it again",
    b"<svg": "a drawing (SVG); save it as PNG",
    b"%pdf": "a PDF; save its pages as PNG",
    b"8bps": "a file of Photoshop; save it as PNG",
}
_JPEG_END = b"\xff\xd9"
MOST_DECODED = 1 << 26  # px of a JPEG, in which Pillow takes four bytes for each
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_GREY_STEPS = {"L;2": 85, "L;4": 17, "L;2I": 85, "L;4I": 17}  # Pillow's factors


@dataclass(frozen=True)
class Decoding:
    """Options of reading pictures that have several pages, bands or value ranges.

    Attributes:
        values: Range of values that becomes black … white.
        bands: Numbers of the red, green and blue bands, from 1; None for the first three.
        page: Page of a TIFF or frame of an animation, from 1; None for a TIFF's largest page and an
            animation's first frame.
    """

    values: ValueRange = AUTO
    bands: tuple[int, ...] | None = None
    page: int | None = None


@dataclass(frozen=True, eq=False)
class Opened:
    """A decoded picture.

    Attributes:
        content: Pillow's picture, or the numbers (H, W) or (H, W, C) of a TIFF that Pillow cannot
            read.
        notes: Sentences on what was left out.
        step: Factor by which grey values of 2 or 4 bits were stretched.
        lossy: Whether the format changes values near edges.
        alpha: Whether the last band is the transparency (numbers only).
        nodata: Value that stands for "nothing measured here" (numbers only).
        white_is_zero: Whether the file displays its smallest number as white; what is read has been
            inverted accordingly.
        turn: EXIF orientation (1 … 8) that is still to be applied; numbers are upright.
        is_cut: Whether of 16 bits the upper 8 alone were read.
    """

    content: Image.Image | np.ndarray
    notes: tuple[str, ...] = ()
    step: int = 1
    lossy: bool = False
    alpha: bool = False
    nodata: float | None = None
    white_is_zero: bool = False
    turn: int = 1
    is_cut: bool = False


def open_picture(image: str | Path | Image.Image, name: str, how: Decoding) -> Opened:
    """Open, decode and turn upright.

    Raises:
        FcpError: the file is missing, damaged or no picture; one line that names it and the fault.
    """
    opened = open_stored(image, name, how)
    if opened.turn not in _TURNS or not isinstance(opened.content, Image.Image):
        return opened
    return replace(opened, content=opened.content.transpose(_TURNS[opened.turn]), turn=1)


def open_stored(
    image: str | Path | Image.Image, name: str, how: Decoding, enough: int | None = None
) -> Opened:
    """Open and decode, without turning.

    Args:
        image: Picture to open.
        name: Name of the picture in an error.
        how: Options of page, bands and values.
        enough: Number of pixels that is enough of a large JPEG; None for all.

    Raises:
        FcpError: as ``open_picture``.
    """
    if not isinstance(image, str | Path | Image.Image):
        raise FcpError(f"{name}: expected a path, a Pillow picture or a numpy array")
    with clear_errors(name):
        if isinstance(image, Image.Image):
            return _decode(image, name, how)
        path = Path(image)
        if is_video(path):
            pixels, notes = read_frame(path, how.page or 1)
            return Opened(Image.fromarray(pixels), tuple(notes))
        head = _head(path, name)
        if head.startswith(TIFF):
            return _open_tiff(path, name, how)
        if head.startswith(SIGNATURE):
            with path.open("rb") as file:
                require_whole_png(file)
        if is_heif(head):
            return _decode(_open_heif(path, name), name, how)
        with Image.open(path) as picture:
            if enough is not None:
                picture.draft(None, _drafted(picture.size, enough))
            return _decode_whole(picture, path, how)


def stored_size(path: Path, page: int | None = None) -> tuple[tuple[int, int], int]:
    """Read from a picture's header its size (H, W) as stored, and its EXIF orientation (1 … 8).

    Args:
        path: Picture.
        page: Page of a TIFF, from 1; None for the largest. Frames of an animation have one size.

    Raises:
        FcpError: missing, or no picture.
    """
    name = str(path)
    with clear_errors(name):
        head = _head(path, name)
        if head.startswith(TIFF):
            with tifffile.TiffFile(path) as file:
                number = largest_of(path) if page is None else choose_page(file, name, page)[0]
                chosen = file.pages[number - 1].aspage()
                return (chosen.imagelength, chosen.imagewidth), tiff_turn(chosen)
        if is_heif(head):
            width, height = _open_heif(path, name).size
            return (height, width), 1
        with Image.open(path) as picture:
            width, height = picture.size
            if not head.startswith(SIGNATURE):
                return (height, width), turn_of(picture)
        # Asked for a PNG's orientation, Pillow decodes it.
        with Image.open(io.BytesIO(read_outline(path).of_one_pixel())) as picture:
            return (height, width), turn_of(picture)


def largest_of(path: Path) -> int:
    """Return the number, from 1, of a TIFF's largest page; the last files' are remembered.

    All its pages have to be looked at, which would take long if it were done for each of them.
    """
    state = path.stat()
    return _largest_of_state(path, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=8)
def _largest_of_state(path: Path, size: int, changed: int) -> int:
    with tifffile.TiffFile(path) as file:
        return largest_page(file)


def page_read(path: Path, page: int | None = None) -> int:
    """Return the number, from 1, of the page or frame that is read of a picture.

    Args:
        path: Picture.
        page: Page that is asked for, from 1, of a file that has several; None for a TIFF's largest
            and an animation's first.

    Raises:
        FcpError: missing, or no picture.
    """
    if pages_of(path).count == 1:
        return 1
    with clear_errors(str(path)):
        is_tiff = _head(path, str(path)).startswith(TIFF)
        return page or (largest_of(path) if is_tiff else 1)


def turn_of(picture: Image.Image) -> int:
    """Return a picture's EXIF orientation; 1 where it is missing or invalid."""
    try:
        turn = picture.getexif().get(ExifTags.Base.Orientation)
    except DAMAGE:
        return 1
    return turn if isinstance(turn, int) and turn in _TURNS else 1


def pages_of(path: Path) -> Pages:
    """Read the pages of a picture from its header.

    Raises:
        FcpError: missing, or no picture.
    """
    name = str(path)
    with clear_errors(name):
        if is_video(path):
            count = len(read_clip(path).times)
            return Pages(count, tuple(range(1, count + 1)))
        head = _head(path, name)
        if head.startswith(TIFF):
            with tifffile.TiffFile(path) as file:
                return Pages(len(file.pages), tuple(own_pictures(file)))
        if not head.startswith(_ANIMATED):
            return Pages()
        with Image.open(path) as picture:
            count = getattr(picture, "n_frames", 1)
            return Pages(count, tuple(range(1, count + 1)))


def is_heif(head: bytes) -> bool:
    """Return whether a file with these first bytes is a HEIC or HEIF, as iPhones write them."""
    return head[4:8] == b"ftyp" and head[8:12] in _HEIF and b"avif" not in head[8:32]


def _head(path: Path, name: str) -> bytes:
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise FcpError(f"{name}: a device or pipe, expected a file")
    with path.open("rb") as file:
        head = file.read(32)
    if not head:
        raise FcpError(f"{name}: the file is empty; copy it again")
    for start, reason in _NO_PICTURES.items():
        if head.lower().startswith(start):
            raise FcpError(f"{name}: {reason}")
    return head


def _drafted(size: tuple[int, int], enough: int) -> tuple[int, int]:
    """Return the size that a JPEG is decoded at: its own divided by 1, 2, 4 or 8."""
    pixels, by = size[0] * size[1], 1
    while by < 8 and (pixels >= 4 * by * by * enough or pixels > by * by * MOST_DECODED):
        by *= 2
    return size[0] // by, size[1] // by


def _decode_whole(picture: Image.Image, path: Path, how: Decoding) -> Opened:
    """Decode; a JPEG that lacks only its end marker counts as whole."""
    try:
        return _decode(picture, str(path), how)
    except OSError:
        if picture.format != "JPEG":
            raise
        content = path.read_bytes()
        one, other = (_pixels(content + tail + _JPEG_END) for tail in (b"", b"\x55\xaa" * 64))
        # If the bytes appended here change the picture, pixels are missing.
        if not np.array_equal(one, other):
            raise
        with Image.open(io.BytesIO(content + _JPEG_END)) as whole:
            return _decode(whole, str(path), how)


def _pixels(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as picture:
        return np.asarray(picture)


def _decode(picture: Image.Image, name: str, how: Decoding) -> Opened:
    frames = getattr(picture, "n_frames", 1)
    if frames == 1 or picture.format in ("MPO", "TIFF"):
        return _decode_frame(picture)
    if how.page is None:
        note = f"animated: the first of its {frames} frames is read; --pages all reads each"
        return _decode_frame(picture, (note,))
    if not 1 <= how.page <= frames:
        raise FcpError(f"{name}: has {frames} frames; there is no frame {how.page}")
    with clear_errors(f"{name}, frame {how.page}"):
        picture.seek(how.page - 1)
        return _decode_frame(picture)


def _decode_frame(picture: Image.Image, notes: tuple[str, ...] = ()) -> Opened:
    raw_mode, white_is_zero = _raw_mode(picture), shows_zero_white(picture)
    lossy = picture.format in ("JPEG", "MPO", "JPEG2000", "AVIF", "WEBP", "HEIF")
    picture.load()
    turn = turn_of(picture)  # only now: Pillow turns a TIFF by itself, and forgets that it was
    is_cut = raw_mode.startswith(("RGB;16", "RGBA;16", "LA;16"))
    if is_cut:
        notes += ("of its 16 bits a colour the upper 8 are read; a TIFF keeps them all",)
    return Opened(
        picture,
        notes,
        _GREY_STEPS.get(raw_mode, 1),
        lossy,
        white_is_zero=white_is_zero,
        turn=turn,
        is_cut=is_cut,
    )


def _raw_mode(picture: Image.Image) -> str:
    """Return how samples lie in the file, which Pillow forgets once it has decoded them."""
    tiles: Any = getattr(picture, "tile", None)
    arguments = tiles[0][3] if tiles else ""
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def _open_heif(path: Path, name: str) -> Image.Image:
    try:
        import pillow_heif
    except ImportError as error:
        raise FcpError(
            f"{name}: HEIC pictures need pillow-heif; pip install pillow-heif, or save as JPEG"
        ) from error
    picture: Image.Image = pillow_heif.open_heif(path).to_pillow()
    picture.getexif().pop(ExifTags.Base.Orientation, None)  # it is upright already
    picture.format = "HEIF"
    return picture


def _open_tiff(path: Path, name: str, how: Decoding) -> Opened:
    with tifffile.TiffFile(path) as file:
        number, named, notes = choose_page(file, name, how.page)
        with clear_errors(named):
            page = file.pages[number - 1].aspage()
            if how.bands is not None or not is_for_pillow(page):
                return _numbers(page, named, notes)
            # Not by its path: Pillow would map its pixels into memory, and turn them wrongly.
            with path.open("rb") as stream, Image.open(stream) as picture:
                picture.seek(number - 1)
                opened = _decode_frame(picture)
            lossy = page.compression in (6, 7)
            return replace(opened, notes=notes, lossy=lossy)


def _numbers(page: tifffile.TiffPage, name: str, notes: tuple[str, ...]) -> Opened:
    """Read the numbers of a page, bands last."""
    limit = 2 * (Image.MAX_IMAGE_PIXELS or 1 << 62)
    if page.imagelength * page.imagewidth > limit:
        raise Image.DecompressionBombError
    try:
        values = np.asarray(page.asarray())
    except ValueError as error:
        if "imagecodecs" not in str(error):
            raise
        kind = tifffile.COMPRESSION(page.compression).name
        raise FcpError(
            f"{name}: its compression ({kind}) needs imagecodecs; pip install imagecodecs, or save "
            "it without compression"
        ) from error
    if values.ndim == 3 and page.planarconfig == tifffile.PLANARCONFIG.SEPARATE:
        values = np.moveaxis(values, 0, -1)
    if values.ndim not in (2, 3) or page.imagedepth > 1:
        raise FcpError(f"{name}: expected a picture, not a volume; save each plane as a page")
    white_is_zero = page.photometric == tifffile.PHOTOMETRIC.MINISWHITE and values.dtype.kind == "u"
    if white_is_zero:
        values = np.iinfo(values.dtype).max - values
    values = turn_array(values, tiff_turn(page))
    alpha = values.ndim == 3 and has_alpha(page)
    return Opened(values, notes, alpha=alpha, nodata=tiff_nodata(page), white_is_zero=white_is_zero)
