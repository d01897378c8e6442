"""``results.json``: settings, results and files of a run, from which the run can be resumed.

During a run, each photo adds a line to ``results.unfinished.jsonl``, so that the cost of a photo
does not grow with their number. When the run ends, successfully or not, both are merged into
``results.json``. The record of a killed run is read from both files. ``results.json`` is written
first, with the names of all files to come: this list, not a name pattern, defines the run's files.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from fcp.checks import check, from_dict
from fcp.errors import FcpError
from fcp.labelling.photo_results import PictureResult, Source, require_share
from fcp.system.documents import load_json
from fcp.system.files import open_atomically, plain
from fcp.system.runs import RESULTS_FILE, RESULTS_FORMAT

FORMAT = f"{RESULTS_FORMAT}6"
OLDER = tuple(f"{RESULTS_FORMAT}{number}" for number in range(1, 6))
FILE_NAME = RESULTS_FILE
UNFINISHED = "results.unfinished.jsonl"


@dataclass(frozen=True)
class ExampleResult:
    """The agreement of an example with the other examples of its class.

    Attributes:
        file: Picture of the example.
        iou: IoU, 0 … 1, see ``ExampleQuality``.
        is_odd: Whether the example should be checked by a person.
        presence: Presence, 0 … 1, see ``ExampleQuality``; None if it is not judged.
        is_inverted: Whether the mask probably marks the background in place of the object.
    """

    file: str
    iou: float
    is_odd: bool
    presence: float | None = None
    is_inverted: bool = False

    def __post_init__(self) -> None:
        check(self)
        require_share(self, "iou", "presence")


@dataclass(frozen=True)
class DecisionResult:
    """The decision between appearance model and network for a class.

    See ``fcp.inference.appearance.gate.Decision``.

    Attributes:
        by_appearance: Whether the appearance model decides about the class, and not the network.
        share: Weight of the appearance model in the result, 0 … 1.
        iou: IoU of that result on the examples, each left out in turn, 0 … 1.
        network_iou: IoU of the network alone on the same examples, 0 … 1.
        sentence: Description of the decision in words.
    """

    by_appearance: bool
    share: float
    iou: float
    network_iou: float
    sentence: str

    def __post_init__(self) -> None:
        check(self)
        require_share(self, "share", "iou", "network_iou")


@dataclass(frozen=True)
class LeftOut:
    """Files that were not used for the same reason.

    Attributes:
        count: Number of files.
        first: First of the files.
    """

    count: int
    first: str


@dataclass(frozen=True, kw_only=True)
class Record:
    """The content of ``results.json``.

    Attributes:
        format: Name of the file format.
        version: Version of fcp.
        date: Start of the run, ISO 8601.
        model: Model as the user named it.
        fingerprint: Hash of all that determines the results.
        question: Settings of the task, plain values.
        used: Values chosen for "auto", and the model's own threshold if it was used.
        seconds: Step → wall-clock time in s.
        files: File that the run writes, relative to the output folder → SHA-256 of its content;
            None if it is not written yet.
        left_out: Reason → files among the photos that were not used.
        renamed: Photos whose results have another name, one that disks and formats accept.
        examples: Class → agreement of each of its examples with the others.
        appearance: Class → decision between appearance model and network.
        folder: Folder from which the relative paths of photos lead, the one in which the command
            was given; None for the reader's current one.
        results: Records of the photos.
    """

    format: str
    version: str
    date: str
    model: str
    fingerprint: str
    question: dict[str, Any]
    used: dict[str, Any]
    seconds: dict[str, float]
    files: dict[str, str | None]
    left_out: dict[str, LeftOut]
    renamed: list[str]
    examples: dict[str, list[ExampleResult]]
    appearance: dict[str, DecisionResult]
    folder: str | None = None
    results: list[PictureResult]


class Results:
    """The records of one run, in memory and on disk; as a context it saves itself at the end.

    Args:
        folder: Output folder, which exists.
        model: Model as the user named it.
        fingerprint: Hash of model, examples and settings.
        question: Settings of the task.
        files: Files that the run will write, relative to the output folder.

    Attributes:
        pictures: Photo → its record.
        examples, appearance, used, seconds, left_out, renamed, folder: Fields of ``Record``.
    """

    def __init__(
        self,
        folder: Path,
        *,
        model: str,
        fingerprint: str,
        question: Mapping[str, Any] | None = None,
        files: Collection[str] = (),
    ) -> None:
        self.path = folder / FILE_NAME
        self.model = model
        self.fingerprint = fingerprint
        # As it will be read back from JSON, where a tuple becomes a list.
        self.question: dict[str, Any] = json.loads(json.dumps(question or {}))
        self.files: dict[str, str | None] = dict.fromkeys(sorted(files))
        self.date = datetime.now().astimezone().isoformat(timespec="seconds")
        self.pictures: dict[Source, PictureResult] = {}
        self.examples: dict[str, list[ExampleResult]] = {}
        self.appearance: dict[str, DecisionResult] = {}
        self.used: dict[str, Any] = {}
        self.seconds: dict[str, float] = {}
        self.left_out: dict[str, LeftOut] = {}
        self.renamed: list[str] = []
        self.folder: str | None = None
        self._unfinished = folder / UNFINISHED

    @property
    def uncalibrated(self) -> str | None:
        """Sentence with the remedy if the model does not judge presence; else None."""
        if self.used.get("presence") != "not calibrated":
            return None
        asked = f"fcp calibrate --model {self.model} --examples DIR --out FOLDER"
        return f"presence not calibrated: `{asked}`"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.save()

    def add(self, records: Iterable[PictureResult]) -> None:
        """Add records, and write them to the disk.

        Raises:
            FcpError: the records cannot be written.
        """
        new = list(records)
        self.pictures.update({record.source: record for record in new})
        try:
            with self._unfinished.open("ab") as file:
                file.writelines(map(_line, new))
        except OSError as error:
            raise FcpError(f"{self._unfinished}: cannot be written ({error.strerror})") from error

    def save(self) -> None:
        """Write ``results.json``.

        Raises:
            FcpError: the file cannot be written; the old file and the added lines stay.
        """
        with open_atomically(self.path) as file:
            file.writelines(self._lines())
        self._unfinished.unlink(missing_ok=True)

    def put_in_order(self, photos: Iterable[Source]) -> None:
        """Sort the records in the order of these photos; records of other photos follow."""
        first = {photo: self.pictures[photo] for photo in photos if photo in self.pictures}
        self.pictures = {**first, **self.pictures}

    def failed(self) -> int:
        """Return the number of pictures with an error."""
        return sum(record.error is not None for record in self.pictures.values())

    def _lines(self) -> Iterator[bytes]:
        from importlib import metadata  # slow to load, and needed only here

        content = Record(
            format=FORMAT,
            version=metadata.version("fcp-seg"),
            date=self.date,
            model=self.model,
            fingerprint=self.fingerprint,
            question=self.question,
            used=self.used,
            seconds=self.seconds,
            files=self.files,
            left_out=self.left_out,
            renamed=self.renamed,
            examples=self.examples,
            appearance=self.appearance,
            folder=self.folder,
            results=[],
        )
        head = json.dumps(asdict(content), indent=1, allow_nan=False).encode()
        yield head.removesuffix(b"]\n}")
        for index, record in enumerate(self.pictures.values()):
            yield (b",\n  " if index else b"\n  ") + _line(record).rstrip()
        yield b"\n ]\n}\n"


def read_record(folder: Path) -> Record | None:
    """Read the record of an earlier run in a folder, finished or not; None if there is none.

    An incomplete line, from a run that was killed, is ignored: its photo is segmented again.

    Raises:
        FcpError: ``results.json`` is damaged, of an older version, or of another program, or names
            a file outside the folder.
    """
    path = folder / FILE_NAME
    if not path.exists():
        return None
    remedy = "choose another --out, or move that file away"
    try:
        content = load_json(path)
        if content.get("format") in OLDER:
            raise FcpError(f"of an older version of fcp ({content['format']})")
        if content.get("format") != FORMAT:
            raise FcpError(f"expected the format {FORMAT!r}")
        record = from_dict(Record, content, str(path))
        _require_inside([*record.files, *(name for one in record.results for name in _files(one))])
    except FcpError as error:
        reason = str(error).removeprefix(f"{path}").lstrip(":. ")
        message = f"{path}: not a complete results file of fcp segment ({reason}); {remedy}"
        raise FcpError(message) from error
    results = {one.source: one for one in (*record.results, *_unfinished(folder))}
    records = list(results.values())
    if record.folder is not None and Path(record.folder) != Path.cwd():
        records = [_from_here(one, record.folder) for one in records]
    return replace(record, folder=None, results=records)


def _from_here(record: PictureResult, folder: str) -> PictureResult:
    """Return a record whose photo's path leads from the current folder, not from another one."""
    if Path(record.file).is_absolute():
        return record
    path = plain(Path(folder, record.file))
    with suppress(ValueError):  # on another drive
        path = Path(os.path.relpath(path))
    return replace(record, file=str(path))


def _require_inside(names: Iterable[str]) -> None:
    """Refuse names that lead out of the output folder: files of these names may be removed.

    Raises:
        FcpError: a name that is absolute, empty, or has a ``..``.
    """
    for name in names:
        path = Path(name)
        if not path.parts or path.anchor or ".." in path.parts:
            raise FcpError(f"its file {name!r} is outside this folder")


def _files(record: PictureResult) -> list[str]:
    return [name for name in (record.mask, record.overlay) if name is not None]


def _unfinished(folder: Path) -> Iterator[PictureResult]:
    path = folder / UNFINISHED
    if not path.is_file():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                record = from_dict(PictureResult, json.loads(line), str(path))
                _require_inside(_files(record))
            except (ValueError, FcpError, RecursionError):  # cut short or damaged: segmented again
                continue
            yield record


def _line(record: PictureResult) -> bytes:
    return json.dumps(asdict(record), allow_nan=False).encode() + b"\n"
