"""Results of one photo, as ``results.json`` records them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from fcp.checks import check
from fcp.errors import FcpError
from fcp.system.files import is_video

Source = tuple[str, int | None]  # key of a photo: its file, and its page or None


@dataclass(frozen=True)
class ObjectResult:
    """One object of a class.

    Attributes:
        box: Bounding box [x0, y0, x1, y1] in px, ends exclusive.
        score: Score of the object, 0 … 1, see ``Instance.score``.
        counts: Mask of the object within its box, as COCO's packed run lengths.
    """

    box: list[int]
    score: float
    counts: str

    def __post_init__(self) -> None:
        check(self)
        require_share(self, "score")
        if len(self.box) != 4:
            raise FcpError(f"box: expected 4 numbers, got {len(self.box)}")


@dataclass(frozen=True)
class ClassResult:
    """The result of one class in a picture.

    Attributes:
        score: Score of the mask, 0 … 1, see ``ClassPrediction.score``.
        area: Share of the picture that the class covers, 0 … 1.
        area_px: Number of pixels that the class covers.
        presence: Probability that the class is in the picture, 0 … 1, see
            ``ClassPrediction.presence``; None if it is not judged, or has no say.
        objects: Objects of the class in order; None if they were not requested.
        by_hand: Whether a person has drawn the mask; score and presence are then 1, or 0 for an
            empty mask.
    """

    score: float
    area: float
    area_px: int
    presence: float | None = None
    objects: list[ObjectResult] | None = None
    by_hand: bool = False

    def __post_init__(self) -> None:
        check(self)
        require_share(self, "score", "area", "presence")
        if self.area_px < 0:
            raise FcpError(f"area_px: expected at least 0, got {self.area_px}")

    @property
    def here(self) -> bool:
        """Whether the class has any pixel."""
        return self.area_px > 0

    @property
    def confidence(self) -> float:
        """Confidence that the class is in the picture, as ``ClassPrediction.confidence``."""
        return self.score if self.presence is None else self.presence


@dataclass(frozen=True)
class PictureResult:
    """The record of one picture; a failed one has an error, and no mask but a corrected one.

    Attributes:
        file: File of the picture, as given.
        sha256: SHA-256 of the file; None if it cannot be read.
        seconds: Wall-clock time to read, segment and write the picture (its share of a batch).
        mask: File of the mask, relative to the output folder.
        overlay: File of the overlay, relative to the output folder.
        classes: Class → its result.
        error: Error message, or None.
        mask_sha256: SHA-256 of the mask file as written.
        overlay_sha256: SHA-256 of the overlay file as written.
        notes: Remarks on reading, such as pages left out or assumptions made.
        page: Page of the file, from 1, if each page is a photo of its own; None otherwise. Frame of
            a video.
        time: Time of the frame in its video, s; None for other photos.
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
    time: float | None = None

    @property
    def source(self) -> Source:
        """Key of the photo, unique in a run."""
        return self.file, self.page

    @property
    def title(self) -> str:
        """Name of the photo for people."""
        if self.page is None:
            return self.file
        return f"{self.file}, {'frame' if is_video(Path(self.file)) else 'page'} {self.page}"

    @property
    def by_hand(self) -> bool:
        """Whether a person has drawn the mask of any class."""
        return any(found.by_hand for found in self.classes.values())


def name_of_result(record: PictureResult) -> str | None:
    """Return the name of a record's files without suffix; None for a failed picture."""
    return record.mask.removeprefix("masks/").removesuffix(".png") if record.mask else None


def require_share(record: object, *names: str) -> None:
    """Refuse fields of a record that are neither None nor in 0 … 1.

    Raises:
        FcpError: such a field; the message names it.
    """
    for name in names:
        value = getattr(record, name)
        if value is not None and not 0 <= value <= 1:
            raise FcpError(f"{name}: expected 0 … 1, got {value}")
