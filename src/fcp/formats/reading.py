"""State of one reading of examples: its options, and the notes and faults so far.

A reader continues after a fault, so that all faults of a data set are reported at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fcp.data.decode import stored_size
from fcp.data.turns import upright
from fcp.errors import FcpError

MOST_LISTED = 100  # number of faults in one message


@dataclass(frozen=True)
class Note:
    """A remark for the user on a file that was read in spite of it."""

    file: str
    text: str

    def __str__(self) -> str:
        return f"{self.file}: {self.text}"


@dataclass
class Reading:
    """The options of one reading, and the notes and faults that it collects.

    Attributes:
        skip_bad: Whether faulty items are left out instead of refusing the data set.
        drawn_on_raw: Whether coordinates and masks are those of pictures as stored, before they are
            turned by their EXIF orientation.
        page: Page or frame of pictures and masks that is read, from 1; None for the usual one.
        notes: Remarks on files that were read or left out.
        faults: Faults of items that were left out, each with its file and reason.
    """

    skip_bad: bool = False
    drawn_on_raw: bool = False
    page: int | None = None
    notes: list[Note] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    _gathering: bool = field(default=False, init=False, repr=False)

    def note(self, file: object, text: str) -> None:
        """Add a note on a file."""
        self.notes.append(Note(str(file), text))

    def files_by_note(self) -> dict[str, list[str]]:
        """Return each note's text with its files, in the order of the notes."""
        found: dict[str, list[str]] = {}
        for note in self.notes:
            found.setdefault(note.text, []).append(note.file)
        return found

    @contextmanager
    def each(self) -> Iterator[None]:
        """Read one item in this context; a fault leaves the item out and is recorded."""
        try:
            yield
        except FcpError as error:
            self.faults.append(str(error))

    @contextmanager
    def gather(self) -> Iterator[None]:
        """Read the parts of a data set in this context; their faults wait for its own end."""
        outer, self._gathering = self._gathering, True
        try:
            yield
        finally:
            self._gathering = outer

    def finish(self, path: Path) -> None:
        """End the reading of a data set, or of a part of one that is gathered.

        Args:
            path: Path of the data set, for the error.

        Raises:
            FcpError: there are faults and ``skip_bad`` is False; the message lists them all.
        """
        if self._gathering:
            return
        faults, self.faults = list(dict.fromkeys(self.faults)), []
        if not faults:
            return
        if self.skip_bad:
            for fault in faults:
                self.notes.append(Note("left out", fault))
            return
        if len(faults) == 1:
            raise FcpError(faults[0])
        listed = faults[:MOST_LISTED]
        if len(faults) > MOST_LISTED:
            listed.append(f"… and {len(faults) - MOST_LISTED} more")
        raise FcpError(
            f"{path}: {len(faults)} faults; put them right, or leave them out with --skip-bad:\n  "
            + "\n  ".join(listed)
        )


@dataclass(frozen=True)
class Frame:
    """Reference of a picture's coordinates.

    Attributes:
        size: Size (H, W) of the picture as it was when annotated.
        turn: EXIF orientation that makes masks of that size upright; 1 if they are.
    """

    size: tuple[int, int]
    turn: int = 1


def frame_of(
    picture: Path, source: Path, reading: Reading, stated: tuple[object, object] = (None, None)
) -> Frame:
    """Determine the reference of an annotation's coordinates.

    Args:
        picture: Path of the annotated picture.
        source: File of the annotation.
        reading: Options of the reading, ``drawn_on_raw`` and ``page`` among them; collects a note
            where only the user can decide.
        stated: Size (height, width) that the annotation states; anything that is no size counts as
            missing.

    Raises:
        FcpError: the stated size is not the picture's, or the picture cannot be read.
    """
    stored, turn = stored_size(picture, reading.page)
    upright_size = upright(stored, turn)
    size = stored if reading.drawn_on_raw else upright_size
    other = upright_size if reading.drawn_on_raw else stored
    require_stated_size(source, stated, size, other, "upright" if reading.drawn_on_raw else "raw")
    if (
        turn != 1
        and not reading.drawn_on_raw
        and (_stated(stated) is None or stored == upright_size)
    ):
        reading.note(
            source,
            f"{picture.name} is shown turned (EXIF orientation {turn}), and annotations are taken "
            "as drawn on it upright; if they lie in the wrong place, read them with --drawn-on raw",
        )
    return Frame(size, turn if reading.drawn_on_raw else 1)


def require_stated_size(
    source: Path,
    stated: tuple[object, object],
    size: tuple[int, int],
    turned: tuple[int, int] | None = None,
    switch: str = "raw",
) -> None:
    """Compare the size that a file states for its picture with the picture's own.

    Args:
        source: File that states the size.
        stated: Size (height, width) as stated; anything that is no size counts as missing.
        size: Size (H, W) of the picture.
        turned: Size (H, W) of the picture in its other orientation.
        switch: Value of --drawn-on that selects the other orientation.

    Raises:
        FcpError: the sizes differ: the annotations are of another picture.
    """
    claimed = _stated(stated)
    if claimed is None or claimed == size:
        return
    remedy = "put the right picture there, or annotate this one"
    if claimed == turned:
        remedy = (
            "it is shown turned (EXIF orientation); if the annotations were drawn on the other "
            f"one, read them with --drawn-on {switch}"
        )
    raise FcpError(
        f"{source}: made for a picture of {claimed[1]}×{claimed[0]} px, but its picture is "
        f"{size[1]}×{size[0]} px; {remedy}"
    )


def _stated(stated: tuple[object, object]) -> tuple[int, int] | None:
    """Read a stated size; None if it is missing, zero or no number."""
    try:
        height, width = (int(float(part)) for part in stated)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return (height, width) if height > 0 and width > 0 else None
