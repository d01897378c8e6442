"""Label Studio: tasks with predictions, whose masks are brush strokes (``BrushLabels``).

Run lengths go along the rows of the picture as RGBA, each number 0 or 255. They are packed into
bits as Label Studio's own editor does (the npm package ``@thi.ng/rle-pack``).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

import numpy as np

from fcp.errors import FcpError
from fcp.formats.records import LabelledObject
from fcp.formats.run_lengths import row_runs
from fcp.formats.writer import OneFileWriter

# The names in Label Studio's template "Semantic Segmentation with Masks".
FROM_NAME, TO_NAME = "tag", "image"
MODEL_VERSION = "fcp"
LENGTH_BITS = (3, 4, 8, 16)  # a run takes the first size that can hold its length
OPAQUE = 128  # from this alpha on a pixel counts as brushed: soft edges are cut at half


class LabelStudioWriter(OneFileWriter):
    """Writer of ``label-studio.json``, with each object's score and their mean for the picture.

    Pictures are served as local files, and are not copied. Their URLs are relative to the folder
    above the innermost one that holds all pictures, since a server does not know this machine's
    paths; Label Studio needs that folder as LOCAL_FILES_DOCUMENT_ROOT.
    """

    file_name = "label-studio.json"

    def _pack(self, found: LabelledObject) -> dict[str, Any]:
        return {"rle": brush_runs(found.mask)}

    def _pieces(self) -> Iterator[str]:
        folder = self._root().name
        for index, record in enumerate(self._records()):
            yield f"{',' if index else '['}\n{json.dumps(_task(record, folder))}"
        yield "\n]\n" if self._count else "[]\n"


def is_negative(region: Mapping[str, Any]) -> bool:
    """Whether a region marks what is not the object, as a smart tool's negative points do."""
    return region.get("is_positive") in (False, 0)


def brush_runs(mask: np.ndarray) -> list[int]:
    """Encode a mask (H, W) bool with at least one pixel as the bytes of a brush stroke."""
    bits = [f"{4 * mask.size:032b}", f"{8 - 1:05b}", *(f"{size - 1:04b}" for size in LENGTH_BITS)]
    for index, length in enumerate(row_runs(mask).tolist()):
        bits += _runs(4 * length, 255 if index % 2 else 0)
    text = "".join(bits)
    whole = -len(text) % 8
    return list(int(text + "0" * whole, 2).to_bytes((len(text) + whole) // 8, "big"))


def read_brush_runs(rle: object, size: tuple[int, int], where: str) -> np.ndarray:
    """Decode the bytes of a brush stroke, ours or the editor's; the inverse of ``brush_runs``.

    Args:
        rle: Bytes as they stand in the annotation.
        size: Size (H, W) in px of the picture that was brushed.
        where: Name of the stroke in an error.

    Returns:
        (H, W) bool, True where the stroke is opaque.

    Raises:
        FcpError: the bytes are no brush stroke, are damaged, or are of a picture of another size.
    """
    try:
        packed = np.frombuffer(bytes(rle if isinstance(rle, list) else []), np.uint8)
    except (TypeError, ValueError) as error:
        raise FcpError(f"{where}: not the run lengths of a brush stroke ({error})") from error
    bits = _Bits(packed)
    try:
        count = bits.number(32)
        if count != 4 * size[0] * size[1]:
            raise FcpError(
                f"{where}: brushed on a picture of {count // 4:,} px, but it has "
                f"{size[1]}×{size[0]} px; was the picture replaced?"
            )
        values = _values(bits, count)
    except ValueError as error:
        raise FcpError(f"{where}: damaged run lengths of a brush stroke ({error})") from error
    opaque: np.ndarray = values.reshape(*size, 4)[..., 3] >= OPAQUE
    return opaque


class _Bits:
    """A stream of bits out of bytes, the highest bit first."""

    def __init__(self, packed: np.ndarray) -> None:
        self._bits = np.unpackbits(packed)
        self._text = (self._bits + ord("0")).tobytes()
        self._at = 0

    def number(self, size: int) -> int:
        return int(self._text[self._take(size) : self._at], 2)

    def eights(self, count: int) -> np.ndarray:
        """Read ``count`` numbers of 8 bits, which need not start at a byte of the stream."""
        start = self._take(8 * count)
        return np.packbits(self._bits[start : self._at])

    def _take(self, size: int) -> int:
        start, self._at = self._at, self._at + size
        if self._at > len(self._bits):
            raise ValueError("they end too early")
        return start


def _values(bits: _Bits, count: int) -> np.ndarray:
    """Decode ``count`` numbers: runs of one number, or runs of single numbers."""
    if bits.number(5) != 8 - 1:
        raise ValueError("expected numbers of 8 bits")
    sizes = [bits.number(4) + 1 for _ in LENGTH_BITS]
    values = np.zeros(count, np.uint8)
    start = 0
    while start < count:
        is_run = bits.number(1)
        stop = start + 1 + bits.number(sizes[bits.number(2)])
        if stop > count:
            raise ValueError("a run goes beyond the picture")
        values[start:stop] = bits.number(8) if is_run else bits.eights(stop - start)
        start = stop
    return values


def _runs(length: int, value: int) -> Iterator[str]:
    """Yield the bits of a run, split where it is longer than the longest possible one."""
    longest = 1 << LENGTH_BITS[-1]
    for start in range(0, length, longest):
        piece = min(longest, length - start)
        code, size = next(
            (code, size) for code, size in enumerate(LENGTH_BITS) if piece <= 1 << size
        )
        yield f"1{code:02b}{piece - 1:0{size}b}{value:08b}"


def _task(record: Mapping[str, Any], folder: str) -> dict[str, Any]:
    scores = [packed["score"] for packed in record["objects"] if packed["score"] is not None]
    prediction: dict[str, Any] = {
        "model_version": MODEL_VERSION,
        "result": [_region(index, record, item) for index, item in enumerate(record["objects"])],
    }
    if scores:
        prediction["score"] = sum(scores) / len(scores)
    path = quote(str(PurePosixPath(folder, record["name"])), errors="surrogateescape")
    url = "/".join(["", "data", "local-files", f"?d={path}"])
    return {"data": {TO_NAME: url}, "predictions": [prediction]}


def _region(index: int, record: Mapping[str, Any], packed: Mapping[str, Any]) -> dict[str, Any]:
    height, width = record["size"]
    score = {} if packed["score"] is None else {"score": packed["score"]}
    origin = {"origin": "manual"} if packed["by_hand"] else {}
    return {
        "id": f"object{index + 1}",
        "type": "brushlabels",
        "from_name": FROM_NAME,
        "to_name": TO_NAME,
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "value": {"format": "rle", "rle": packed["rle"], "brushlabels": [packed["class"]]},
        **score,
        **origin,
    }
