"""``results.json``: what was asked, what was done, and which files belong to it; resumable.

While a run is under way each photo adds a line to ``results.unfinished.jsonl``, so that a photo
costs the same however many there are; at the end, whatever it is, both become one ``results.json``.
A run that was killed is read from both. ``results.json`` is written before any other file, with the
names of all that are to come: what belongs to a run is known by this record, never by a pattern.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from fcp.config import check, from_dict
from fcp.documents import load_json
from fcp.errors import FcpError
from fcp.files import open_atomically

FORMAT = "fcp-results-5"
OLDER = tuple(f"fcp-results-{number}" for number in range(1, 5))
FILE_NAME = "results.json"
UNFINISHED = "results.unfinished.jsonl"
Source = tuple[str, int | None]  # a photo: its file, and the page of it where it is one of several


@dataclass(frozen=True)
class ObjectResult:
    """One object of a class.

    Attributes:
        box: [x0, y0, x1, y1] px, ends exclusive.
        score: 0 … 1, see ``Instance.score``.
    """

    box: list[int]
    score: float

    def __post_init__(self) -> None:
        check(self)
        _require_share(self, "score")
        if len(self.box) != 4:
            raise FcpError(f"box: expected 4 numbers, got {len(self.box)}")


@dataclass(frozen=True)
class ClassResult:
    """What was found of one class in a picture.

    Attributes:
        score: 0 … 1, see ``ClassPrediction.score``.
        area: share of the picture that the class covers, 0 … 1.
        area_px: the same in px.
        presence: 0 … 1, see ``ClassPrediction.presence``; None where it is not judged.
        objects: its pieces in their order; None where they were not asked for.
        by_hand: whether a person has drawn the mask; score and presence are 1 then, or 0 where it
            is empty.
    """

    score: float
    area: float
    area_px: int
    presence: float | None = None
    objects: list[ObjectResult] | None = None
    by_hand: bool = False

    def __post_init__(self) -> None:
        check(self)
        _require_share(self, "score", "area", "presence")
        if self.area_px < 0:
            raise FcpError(f"area_px: expected at least 0, got {self.area_px}")

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
        is_inverted: whether it is odd because its mask is likely to mark all but the thing.
    """

    file: str
    iou: float
    is_odd: bool
    presence: float | None = None
    is_inverted: bool = False

    def __post_init__(self) -> None:
        check(self)
        _require_share(self, "iou", "presence")


@dataclass(frozen=True)
class DecisionResult:
    """Who decides about a class, see ``fcp.inference.appearance.gate.Decision``.

    Attributes:
        by_appearance: whether the appearance has the last word, or the network.
        share: 0 … 1, of the appearance in the answer.
        iou: 0 … 1, of that answer on the examples, each unseen.
        network_iou: 0 … 1, of the network alone there.
        sentence: the same in words.
    """

    by_appearance: bool
    share: float
    iou: float
    network_iou: float
    sentence: str

    def __post_init__(self) -> None:
        check(self)
        _require_share(self, "share", "iou", "network_iou")


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
        mask_sha256: of the mask's bytes, as they were written.
        overlay_sha256: of the overlay's bytes.
        notes: what was left out or assumed when it was read, such as further pages.
        page: of the file, from 1, where each is a photo of its own; None otherwise.
    """

    file: str
    sha256: str | None
    seconds: float
    mask: str | None = None
    overlay: str | None = None
    classes: dict[str, ClassResult] = field(default_factory=dict)
    error: str | None = None
    mask_sha256: str | None = None
    overlay_sha256: str | None = None
    notes: list[str] = field(default_factory=list)
    page: int | None = None

    @property
    def source(self) -> Source:
        """What tells the photo from all others of a run."""
        return self.file, self.page

    @property
    def title(self) -> str:
        """What to call the photo."""
        return self.file if self.page is None else f"{self.file}, page {self.page}"

    @property
    def by_hand(self) -> bool:
        """Whether a person has drawn any of it."""
        return any(found.by_hand for found in self.classes.values())


def name_of_result(record: PictureResult) -> str | None:
    """Return the name of a record's files without suffix; None of one that failed."""
    return record.mask.removeprefix("masks/").removesuffix(".png") if record.mask else None


@dataclass(frozen=True)
class LeftOut:
    """Files that were not used for the same reason.

    Attributes:
        count: how many.
        first: the first of them.
    """

    count: int
    first: str


@dataclass(frozen=True)
class Record:
    """The content of ``results.json``.

    Attributes:
        format: of the file.
        version: of fcp.
        date: when the run began, ISO 8601.
        model: what the user called it.
        fingerprint: hash of all that decides the results.
        question: what was asked, and how; plain values.
        used: what came of "auto" and of the model's own threshold.
        seconds: step → wall-clock time of it.
        files: all that the run has written, or will have, relative to the output folder → SHA-256
            of what it wrote; None where it has not come to it.
        left_out: reason → the files among the photos that were not used for it.
        renamed: photos whose result has another name, which disks and formats can hold.
        examples: class → how its examples fit each other.
        appearance: class → who decides about it.
        results: of the photos.
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
    results: list[PictureResult]


class Results:
    """The records of one run, in memory and on disk; as a context it saves itself at the end.

    Args:
        folder: the output folder, which exists.
        model: what the user called the model.
        fingerprint: hash of model and examples.
        question: what was asked.
        files: that the run will write; see ``Record``.

    Attributes:
        pictures: photo → its record.
        examples, appearance, used, seconds, left_out, renamed: see ``Record``.
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
        # As it will be read again: a tuple comes back as a list.
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
        self._unfinished = folder / UNFINISHED

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.save()

    def add(self, records: Iterable[PictureResult]) -> None:
        """Take records in; they are on the disk before this returns.

        Raises:
            FcpError: they cannot be written.
        """
        new = list(records)
        self.pictures.update({record.source: record for record in new})
        try:
            with self._unfinished.open("ab") as file:
                file.writelines(map(_line, new))
        except OSError as error:
            raise FcpError(f"{self._unfinished}: cannot be written ({error.strerror})") from error

    def save(self) -> None:
        """Write the file whole.

        Raises:
            FcpError: it cannot be written; the one before stays, and so does what was added.
        """
        with open_atomically(self.path) as file:
            file.writelines(self._lines())
        self._unfinished.unlink(missing_ok=True)

    def put_in_order(self, photos: Iterable[Source]) -> None:
        """Sort the records as these photos are; those of others follow."""
        first = {photo: self.pictures[photo] for photo in photos if photo in self.pictures}
        self.pictures = {**first, **self.pictures}

    def failed(self) -> int:
        """Count the pictures that have an error."""
        return sum(record.error is not None for record in self.pictures.values())

    def _lines(self) -> Iterator[bytes]:
        from importlib import metadata  # slow to load, and needed here alone

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
            results=[],
        )
        head = json.dumps(asdict(content), indent=1, allow_nan=False).encode()
        yield head.removesuffix(b"]\n}")
        for index, record in enumerate(self.pictures.values()):
            yield (b",\n  " if index else b"\n  ") + _line(record).rstrip()
        yield b"\n ]\n}\n"


def read_record(folder: Path) -> Record | None:
    """Read what an earlier run left in a folder, finished or not; None where there was none.

    A line that was being added when the run was killed is left out: its photo is done again.

    Raises:
        FcpError: ``results.json`` is damaged, of an older version, or not ours.
    """
    path = folder / FILE_NAME
    if not path.exists():
        return None
    remedy = "choose another --out, or move away what lies there"
    try:
        content = load_json(path)
        if content.get("format") in OLDER:
            raise FcpError(f"of an older version of fcp ({content['format']})")
        if content.get("format") != FORMAT:
            raise FcpError(f"expected the format {FORMAT!r}")
        record = from_dict(Record, content, str(path))
    except FcpError as error:
        reason = str(error).removeprefix(f"{path}").lstrip(":. ")
        raise FcpError(f"{path}: not a whole file of fcp segment ({reason}); {remedy}") from error
    results = {one.source: one for one in (*record.results, *_unfinished(folder))}
    return replace(record, results=list(results.values()))


def _unfinished(folder: Path) -> Iterator[PictureResult]:
    path = folder / UNFINISHED
    if not path.is_file():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                yield from_dict(PictureResult, json.loads(line), str(path))
            except (ValueError, FcpError, RecursionError):  # cut short, or damaged: done again
                continue


def _line(record: PictureResult) -> bytes:
    return json.dumps(asdict(record), allow_nan=False).encode() + b"\n"


def _require_share(record: object, *names: str) -> None:
    for name in names:
        value = getattr(record, name)
        if value is not None and not 0 <= value <= 1:
            raise FcpError(f"{name}: expected 0 … 1, got {value}")
