"""``results.json``: what was done, by which model and examples; resumable.

The file is always whole. A picture is skipped on ``--resume`` only if it, its result's name, the
model and the examples are those recorded, and both result files are there. The file is rewritten
before the first picture, so that no record outlives the files that it speaks of.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from fcp.config import load_json
from fcp.errors import FcpError
from fcp.files import write_atomically

FORMAT = "fcp-results-3"
FILE_NAME = "results.json"
SAVE_EVERY_SECONDS = 2.0
# What write_atomically leaves beside a result when the process is killed outright.
_LEFTOVER = re.compile(r"\..+\.(png|jpg|json|html|txt|xml|yaml)\.\w{8}")


@dataclass(frozen=True)
class ObjectResult:
    """One object of a class.

    Attributes:
        box: [x0, y0, x1, y1] px, ends exclusive.
        score: 0 … 1, see ``Instance.score``.
    """

    box: list[int]
    score: float


@dataclass(frozen=True)
class ClassResult:
    """What was found of one class in a picture.

    Attributes:
        score: 0 … 1, see ``ClassPrediction.score``.
        area: share of the picture that the class covers, 0 … 1.
        area_px: the same in px.
        presence: 0 … 1, see ``ClassPrediction.presence``; None where it is not judged.
        objects: its pieces in their order; None where they were not asked for.
    """

    score: float
    area: float
    area_px: int
    presence: float | None = None
    objects: list[ObjectResult] | None = None

    @property
    def here(self) -> bool:
        """Whether any pixel is of the class."""
        return self.area_px > 0


@dataclass(frozen=True)
class ExampleResult:
    """How an example fits the others of its class.

    Attributes:
        file: its picture.
        iou: 0 … 1, see ``ExampleQuality``.
        is_odd: whether it is worth a second look.
        presence: 0 … 1, likewise; None where it is not judged.
    """

    file: str
    iou: float
    is_odd: bool
    presence: float | None = None


@dataclass(frozen=True)
class PictureResult:
    """One picture's line in the file; what failed has an error and no mask.

    Attributes:
        file: the picture, as given.
        sha256: of the picture's bytes; None where they cannot be read.
        seconds: wall-clock time to read, segment and write it (its share of a batch's time).
        mask: the mask's file, relative to the output folder.
        overlay: the overlay's file, likewise.
        classes: name → what was found.
        error: what went wrong, or None.
        notes: what was left out or assumed when it was read, such as further pages.
    """

    file: str
    sha256: str | None
    seconds: float
    mask: str | None = None
    overlay: str | None = None
    classes: dict[str, ClassResult] = field(default_factory=dict)
    error: str | None = None
    notes: list[str] = field(default_factory=list)


class Results:
    """The records of one run, in memory and on disk; as a context it saves itself at the end.

    Args:
        folder: the output folder, which exists.
        model: what the user called the model.
        fingerprint: hash of model and examples.
    """

    def __init__(self, folder: Path, *, model: str, fingerprint: str) -> None:
        self.path = folder / FILE_NAME
        self.model = model
        self.fingerprint = fingerprint
        self.pictures: dict[str, PictureResult] = {}
        self.examples: dict[str, list[ExampleResult]] = {}
        self._saved = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.save()

    def read_earlier(self) -> dict[str, PictureResult] | None:
        """Return what an earlier run finished, by file.

        Returns:
            None where the earlier run had another model or other examples; empty where there was
            none.

        Raises:
            FcpError: the file is damaged, or not ours.
        """
        if not self.path.exists():
            return {}
        content = load_json(self.path)
        try:
            if content["format"] != FORMAT:
                raise ValueError(content["format"])
            records = [_read_record(record) for record in content["results"]]
            examples = {
                name: [ExampleResult(**one) for one in shown]
                for name, shown in content["examples"].items()
            }
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            remedy = "choose another --out, or leave out --resume"
            raise FcpError(f"{self.path}: not a file of fcp segment; {remedy}") from error
        if content.get("fingerprint") != self.fingerprint:
            return None
        self.examples = examples
        folder = self.path.parent
        return {record.file: record for record in records if _is_complete(record, folder)}

    def add(self, records: Iterable[PictureResult]) -> None:
        """Take records in; they reach the disk at most every two seconds, and with ``save``."""
        self.pictures.update({record.file: record for record in records})
        if time.monotonic() - self._saved > SAVE_EVERY_SECONDS:
            self.save()

    def save(self) -> None:
        """Write the file.

        Raises:
            FcpError: it cannot be written; the one before stays.
        """
        write_atomically(self.path, json.dumps(self._content(), indent=1).encode() + b"\n")
        self._saved = time.monotonic()

    def failed(self) -> int:
        """Count the pictures that have an error."""
        return sum(record.error is not None for record in self.pictures.values())

    def _content(self) -> dict[str, Any]:
        records = [asdict(record) for record in self.pictures.values()]
        return {
            "format": FORMAT,
            "model": self.model,
            "fingerprint": self.fingerprint,
            "examples": {
                name: [asdict(one) for one in shown] for name, shown in self.examples.items()
            },
            "results": records,
        }


def remove_leftovers(folder: Path) -> None:
    """Remove the unfinished files that a killed run left in a folder."""
    for path in folder.iterdir():
        if _LEFTOVER.fullmatch(path.name):
            path.unlink(missing_ok=True)


def _read_record(content: dict[str, Any]) -> PictureResult:
    classes = {name: _read_class(**found) for name, found in content["classes"].items()}
    return PictureResult(**{**content, "classes": classes})


def _read_class(*, objects: list[dict[str, Any]] | None, **found: Any) -> ClassResult:  # noqa: ANN401
    pieces = None if objects is None else [ObjectResult(**piece) for piece in objects]
    return ClassResult(**found, objects=pieces)


def _is_complete(record: PictureResult, folder: Path) -> bool:
    files = (record.mask, record.overlay)
    return record.error is None and all(f is not None and (folder / f).is_file() for f in files)
