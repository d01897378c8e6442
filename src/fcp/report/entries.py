"""What the page is told about one photo: the nouns of ``write_report``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ReportClass:
    """What was found of one class in one photo.

    Attributes:
        name: Name of the class.
        score: 0 … 1, how sure the model is of the mask; None where there is none.
        presence: 0 … 1, how sure it is that the class is there at all; None where not judged.
        here: whether the class is judged to be there.
        area: share of the photo that the mask covers, 0 … 1.
    """

    name: str
    score: float | None
    presence: float | None
    here: bool
    area: float

    def __post_init__(self) -> None:
        for field in ("score", "presence", "area"):
            value = getattr(self, field)
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"ReportClass {self.name!r}: {field} {value} is not in 0 … 1")


@dataclass(frozen=True)
class ReportPicture:
    """One photo.

    Attributes:
        file: the photo, as given.
        thumbnail: bytes of a JPEG with the masks on it, see ``class_thumbnail``; None for none.
        classes: Results of the classes.
        seconds: Time that the photo took.
        error: Error message, or None.
        size: (H, W) of the photo in px; without it the page gives areas in % only.
    """

    file: str
    thumbnail: bytes | None
    classes: tuple[ReportClass, ...]
    seconds: float
    error: str | None
    size: tuple[int, int] | None = None
