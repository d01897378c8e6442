"""Label Studio: tasks with predictions, whose masks are brushed (``BrushLabels``).

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

from fcp.formats.records import LabelledObject
from fcp.formats.run_lengths import row_runs
from fcp.formats.writer import OneFileWriter

# The names in Label Studio's template "Semantic Segmentation with Masks".
FROM_NAME, TO_NAME = "tag", "image"
MODEL_VERSION = "fcp"
LENGTH_BITS = (3, 4, 8, 16)  # a run takes the first of these that can hold its length


class LabelStudioWriter(OneFileWriter):
    """Writes ``label-studio.json``, with each object's score and their mean for the picture.

    Pictures are served as local files: the URL is relative to the folder above the innermost one
    that holds all pictures, which Label Studio wants to be LOCAL_FILES_DOCUMENT_ROOT. They are not
    copied, and a path of this machine means nothing to a server.
    """

    file_name = "label-studio.json"

    def _pack(self, found: LabelledObject) -> dict[str, Any]:
        return {"rle": brush_runs(found.mask)}

    def _pieces(self) -> Iterator[str]:
        folder = self._root().name
        for index, record in enumerate(self._records()):
            yield f"{',' if index else '['}\n{json.dumps(_task(record, folder))}"
        yield "\n]\n" if self._count else "[]\n"


def brush_runs(mask: np.ndarray) -> list[int]:
    """Encode a mask (H, W) bool with at least one pixel as the bytes of a brush stroke."""
    bits = [f"{4 * mask.size:032b}", f"{8 - 1:05b}", *(f"{size - 1:04b}" for size in LENGTH_BITS)]
    for index, length in enumerate(row_runs(mask).tolist()):
        bits += _runs(4 * length, 255 if index % 2 else 0)
    text = "".join(bits)
    whole = -len(text) % 8
    return list(int(text + "0" * whole, 2).to_bytes((len(text) + whole) // 8, "big"))


def _runs(length: int, value: int) -> Iterator[str]:
    """Yield the bits of a run, cut where it is longer than the longest that can be said."""
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
    }
