"""The data of one photo for ``write_report``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ReportClass:
    """The result of one class in one photo.

    Attributes:
        name: Name of the class.
        score: Score of the mask, 0 … 1; None if there is none.
        presence: Probability that the class is in the photo, 0 … 1; None if it is not judged.
        here: Whether the class counts as present.
        area: Share of the photo that the mask covers, 0 … 1.
        area_px: Number of pixels that the mask covers.
    """

    name: str
    score: float | None
    presence: float | None
    here: bool
    area: float
    area_px: int

    def __post_init__(self) -> None:
        for field in ("score", "presence", "area"):
            value = getattr(self, field)
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"ReportClass {self.name!r}: {field} {value} is not in 0 … 1")


@dataclass(frozen=True)
class ReportPicture:
    """One photo.

    Attributes:
        file: File of the photo, as given.
        thumbnail: Bytes of a JPEG with the masks on it, see ``class_thumbnail``; None for none.
        classes: Results of all classes.
        seconds: Time for the photo in s.
        error: Error message, or None.
        size: (H, W) of the photo in px; None to show areas in % only.
    """

    file: str
    thumbnail: bytes | None
    classes: tuple[ReportClass, ...]
    seconds: float
    error: str | None
    size: tuple[int, int] | None = None
