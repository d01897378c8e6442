"""CVAT for images 1.1: one XML of all pictures, whose masks are run lengths.

A ``mask`` element holds the run lengths of its box alone, row by row, background first. CVAT
imports such masks since 2.3; a ``polygon`` has neither holes nor parts. CVAT finds a picture by the
end of its path, without the suffix.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from fcp.errors import FcpError
from fcp.formats.records import LabelledObject
from fcp.formats.run_lengths import row_runs
from fcp.formats.writer import OneFileWriter

# Characters that XML 1.0 cannot hold, not even escaped.
_NO_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class CvatWriter(OneFileWriter):
    """Writer of ``cvat.xml``, for "Upload annotations" of a task with the same pictures and labels.

    CVAT has no place for scores.
    """

    file_name = "cvat.xml"

    def __init__(self, out: Path, class_names: Sequence[str]) -> None:
        super().__init__(out, class_names)
        for name in class_names:
            _require_xml(name, "class")

    def _pack(self, found: LabelledObject) -> dict[str, Any]:
        mask = found.mask
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        (top, bottom), (left, right) = rows[[0, -1]].tolist(), columns[[0, -1]].tolist()
        box = mask[top : bottom + 1, left : right + 1]
        return {
            "rle": ", ".join(map(str, row_runs(box).tolist())),
            "left": left,
            "top": top,
            "width": right - left + 1,
            "height": bottom - top + 1,
        }

    def _pieces(self) -> Iterator[str]:
        yield '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n'
        yield f"  <meta><task><name>fcp</name><size>{self._count}</size>\n"
        yield "    <mode>annotation</mode><labels>\n"
        for name in self.class_ids:
            label = f"<name>{escape(name)}</name><type>mask</type><attributes></attributes>"
            yield f"    <label>{label}</label>\n"
        yield "  </labels></task></meta>\n"
        for number, record in enumerate(self._records()):
            yield from _image(number, record)
        yield "</annotations>\n"


def _image(number: int, record: Mapping[str, Any]) -> Iterator[str]:
    # A name that XML cannot hold must not stop the writing of the other pictures.
    name = record["label"] if _NO_XML.search(record["name"]) else record["name"]
    height, width = record["size"]
    size = {"width": width, "height": height}
    yield f"  <image{_attributes({'id': number, 'name': name, **size})}>\n"
    for packed in record["objects"]:
        box = {key: packed[key] for key in ("rle", "left", "top", "width", "height")}
        source = "manual" if packed["by_hand"] else "auto"
        values = {"label": packed["class"], "source": source, "occluded": 0, **box, "z_order": 0}
        yield f"    <mask{_attributes(values)}></mask>\n"
    yield "  </image>\n"


def _attributes(values: Mapping[str, object]) -> str:
    return "".join(f" {name}={quoteattr(str(value))}" for name, value in values.items())


def _require_xml(name: str, kind: str) -> None:
    if _NO_XML.search(name):
        raise FcpError(f"XML cannot hold the name of the {kind} {name!r}; rename it")
