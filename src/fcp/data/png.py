"""PNGs strip by strip, so that a large one is never in memory as a whole.

Pillow decodes a picture as a whole, with four bytes for each coloured pixel. Here the lines are
inflated a few at a time and Pillow gets each strip as a PNG of its own. Files that cannot be cut in
this way (interlaced, animated, 16 bits a colour) are left to Pillow.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from fcp.data.strips import STRIP_PIXELS

PALETTE = 3  # kind of colour
SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PIECE = 1 << 20  # bytes of a file at a time
_PIXELS = (b"IDAT", b"fdAT")
# Deflate packs at most this many bytes into one, apart from a small constant.
_TIGHTEST, _FIRST_BLOCK = 1032, 4096
_CHANNELS = {0: 1, 2: 3, PALETTE: 1, 4: 2, 6: 4}  # by PNG's kind of colour
_KINDS = {1: 0, 2: 4, 3: 2, 4: 6}  # bytes of a pixel → the kind of 8 bits that has as many


@dataclass(frozen=True)
class Outline:
    """A PNG without its pixels.

    Attributes:
        size: Size (H, W) of the picture.
        depth: Bits of a sample.
        kind: Kind of colour, in PNG's numbering.
        interlaced: Whether its lines are in another order.
        chunks: All other chunks, (kind, content), in their order.
    """

    size: tuple[int, int]
    depth: int
    kind: int
    interlaced: bool
    chunks: tuple[tuple[bytes, bytes], ...]

    @property
    def line(self) -> int:
        """Bytes of a line."""
        return -(-self.depth * _CHANNELS[self.kind] * self.size[1] // 8)

    @property
    def step(self) -> int:
        """Bytes of a pixel, at least one."""
        return max(1, self.depth * _CHANNELS[self.kind] // 8)

    @property
    def can_be_cut(self) -> bool:
        """Whether ``strips_of`` reads it."""
        known = self.kind in _CHANNELS and self.step in _KINDS
        return known and not self.interlaced and all(kind != b"acTL" for kind, _ in self.chunks)

    def with_pixels(self, rows: np.ndarray) -> Image.Image:
        """Return the picture that consists of these lines (n, bytes) uint8."""
        needed = [(kind, content) for kind, content in self.chunks if kind in (b"PLTE", b"tRNS")]
        if self.depth == 8 and not needed:
            bands = () if self.step == 1 else (self.step,)
            return Image.fromarray(rows.reshape(len(rows), self.size[1], *bands))
        plain = np.pad(rows, ((0, 0), (1, 0)))  # no filter
        size = (len(rows), self.size[1])
        return _opened(_packed(size, self.depth, self.kind, needed, plain.tobytes()))

    def of_one_pixel(self) -> bytes:
        """Return a PNG of one pixel with the same metadata, which Pillow decodes quickly."""
        kept = [one for one in self.chunks if one[0] not in (b"acTL", b"fcTL")]
        return _packed((1, 1), self.depth, self.kind, kept, bytes(9))


def require_whole_png(file: BinaryIO) -> None:
    """Compare the checksums that a PNG's pixels depend on, and its stated size with its data.

    Raises:
        ValueError: a checksum is wrong, or the pixels are far fewer than its header says (Pillow
            would make the missing ones black).
    """
    file.seek(len(SIGNATURE))
    expected = packed = 0
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        check = zlib.crc32(kind)
        for piece in _pieces(file, length):
            check = zlib.crc32(piece, check)
            if kind == b"IHDR":
                expected = _bytes_of_pixels(piece)
        needed = kind[:1].isupper() or kind == b"tRNS"
        if file.read(4) != struct.pack(">I", check) and needed:
            raise ValueError(f"wrong checksum in {kind.decode('ascii', 'replace')}")
        packed += length if kind == b"IDAT" else 0
        if kind == b"IEND":
            break
    if expected > _TIGHTEST * packed + _FIRST_BLOCK:
        raise ValueError("fewer pixels in it than its header says")


def _bytes_of_pixels(header: bytes) -> int:
    """Return the least number of bytes that a PNG's pixels take before they are packed."""
    width, height, depth, colours = struct.unpack_from(">IIBB", header)
    return int(height) * (int(width) * depth * _CHANNELS.get(colours, 1) // 8)


def read_outline(path: Path) -> Outline:
    """Read everything of a PNG except its pixels.

    Raises:
        ValueError: it does not begin like a PNG.
    """
    chunks = []
    with path.open("rb") as file:
        file.seek(len(SIGNATURE))
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            if kind == b"IEND":
                break
            if kind in _PIXELS:
                file.seek(length + 4, io.SEEK_CUR)
                continue
            chunks.append((kind, file.read(length)))
            file.seek(4, io.SEEK_CUR)
    if not chunks or chunks[0][0] != b"IHDR" or len(chunks[0][1]) != 13:
        raise ValueError("no header")
    width, height, depth, kind_of_colour, _, _, interlaced = struct.unpack(">IIBBBBB", chunks[0][1])
    return Outline((height, width), depth, kind_of_colour, bool(interlaced), tuple(chunks[1:]))


def outline_of_png(path: Path) -> Outline | None:
    """Return the outline of a PNG with correct checksums; None for another file.

    Raises:
        ValueError: it is damaged.
    """
    with path.open("rb") as file:
        if file.read(len(SIGNATURE)) != SIGNATURE:
            return None
        require_whole_png(file)
    return read_outline(path)


def strips_of(path: Path, outline: Outline) -> Iterator[Image.Image]:
    """Decode a PNG from top to bottom.

    Args:
        path: Path of the file.
        outline: Outline of the file, which must be one that can be cut.

    Yields:
        Pictures of the full width, some rows each, in the mode that Pillow gives the whole.

    Raises:
        OSError: it ends too early, or is damaged. zlib.error: it is damaged.
    """
    above = b""
    for filtered in _lines(path, outline):
        rows = _without_filter(filtered, above, outline)
        above = rows[-1].tobytes()
        yield outline.with_pixels(rows)


def png_of(rows: Iterator[np.ndarray], size: tuple[int, int], palette: bytes | None) -> bytes:
    """Encode a grey or palette picture that comes strip by strip.

    Args:
        rows: Rows (n, W) uint8, or uint16 without a palette; H in all.
        size: Size (H, W) of the picture.
        palette: Colours of the palette, three bytes RGB each; None for greys.

    Returns:
        The file's bytes.
    """
    packer, packed = zlib.compressobj(), []
    depth = 8
    for strip in rows:
        depth = 8 * strip.itemsize
        big_end_first = strip.astype(strip.dtype.newbyteorder(">"), copy=False)
        lines = np.ascontiguousarray(big_end_first).view(np.uint8)
        packed.append(packer.compress(np.pad(lines, ((0, 0), (1, 0))).tobytes()))
    chunks = [] if palette is None else [(b"PLTE", palette)]
    header = _header(size, depth, 0 if palette is None else PALETTE)
    pixels = b"".join([*packed, packer.flush()])
    return _joined([header, *chunks, (b"IDAT", pixels), (b"IEND", b"")])


def _lines(path: Path, outline: Outline) -> Iterator[bytes]:
    """Yield some lines at a time, each with the byte of its filter, as they are packed."""
    line = 1 + outline.line
    size = line * max(1, STRIP_PIXELS // outline.size[1])
    left, held, inflate = line * outline.size[0], bytearray(), zlib.decompressobj()
    for piece in _pixel_data(path):
        waiting = piece
        while waiting:  # few bytes may inflate to gigabytes
            held += inflate.decompress(waiting, size)
            waiting = inflate.unconsumed_tail
            while len(held) >= size and left > 0:
                yield bytes(held[: min(size, left)])
                left -= size
                del held[:size]
    held += inflate.flush()
    if len(held) < left:
        raise OSError("image file is truncated")
    if left > 0:
        yield bytes(held[:left])


def _pixel_data(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(len(SIGNATURE))
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            if kind == b"IDAT":
                yield from _pieces(file, length)
                file.seek(4, io.SEEK_CUR)
            else:
                file.seek(length + 4, io.SEEK_CUR)


def _pieces(file: BinaryIO, length: int) -> Iterator[bytes]:
    while length > 0 and (piece := file.read(min(length, _PIECE))):
        length -= len(piece)
        yield piece


def _without_filter(filtered: bytes, above: bytes, outline: Outline) -> np.ndarray:
    """Return the bytes of lines as (n, line) uint8; filters look at bytes, whatever these mean."""
    content = b"\0" + above + filtered if above else filtered
    size = (len(content) // (1 + outline.line), outline.line // outline.step)
    decoded = _opened(_packed(size, 8, _KINDS[outline.step], [], content))
    rows = np.asarray(decoded).reshape(size[0], outline.line)
    return rows[1:] if above else rows


def _opened(content: bytes) -> Image.Image:
    with Image.open(io.BytesIO(content)) as picture:
        picture.load()
        return picture


def _packed(
    size: tuple[int, int],
    depth: int,
    kind: int,
    chunks: list[tuple[bytes, bytes]],
    lines: bytes,
) -> bytes:
    pixels = (b"IDAT", zlib.compress(lines, 0))
    return _joined([_header(size, depth, kind), *chunks, pixels, (b"IEND", b"")])


def _header(size: tuple[int, int], depth: int, kind: int) -> tuple[bytes, bytes]:
    return b"IHDR", struct.pack(">IIBBBBB", size[1], size[0], depth, kind, 0, 0, 0)


def _joined(chunks: list[tuple[bytes, bytes]]) -> bytes:
    parts = [SIGNATURE]
    for kind, content in chunks:
        check = zlib.crc32(content, zlib.crc32(kind))
        parts += [struct.pack(">I4s", len(content), kind), content, struct.pack(">I", check)]
    return b"".join(parts)
