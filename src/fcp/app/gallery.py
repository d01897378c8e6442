"""Results of a run → pictures for the gallery: photos with a class first, by falling presence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fcp.app.runs import PhotoRun
from fcp.app.small import VIEW, only
from fcp.app.threshold import is_here
from fcp.data.photos import read_photo
from fcp.errors import FcpError
from fcp.labelling.export import read_back
from fcp.labelling.photo_results import PictureResult
from fcp.system.files import write_atomically
from fcp.visualize import class_colours, encode, overlay_labels, thumbnail

PAGE = 60


@dataclass(frozen=True)
class GalleryPhoto:
    """A photo in the gallery.

    Attributes:
        record: Result of the photo.
        name: The visitor's name for the photo.
        here: Classes that count as present.
        strength: Largest presence (or score) of the selected classes, present or not, 0 … 1.
    """

    record: PictureResult
    name: str
    here: tuple[str, ...]
    strength: float

    @property
    def stem(self) -> str:
        """Stem of the photo's file, its key."""
        return Path(self.record.file).stem

    @property
    def caption(self) -> str:
        """Text under the photo."""
        classes = self.record.classes
        kind = "score" if all(one.presence is None for one in classes.values()) else "presence"
        if not self.here:
            return f"not here ({kind} {self.strength:.2f}) · {self.name}"
        found = ", ".join(f"{one} {classes[one].confidence:.2f}" for one in self.here)
        return f"{found} ({kind}) · {self.name}"


def arrange(
    records: Sequence[PictureResult],
    names: Mapping[str, str],
    threshold: float,
    wanted: str | None = None,
) -> list[GalleryPhoto]:
    """Sort the photos of a run; failed photos are left out.

    Args:
        records: Results of the run.
        names: Photo → the visitor's name for it.
        threshold: Smallest presence (or score) of a class that counts as present, 0 … 1.
        wanted: Only class that counts; None for all.

    Returns:
        Photos with a present class by falling strength, then the others by falling strength; equal
        ones keep their order.
    """
    shown = []
    for record in records:
        if record.error is None:
            of_interest = {n: c for n, c in record.classes.items() if wanted in (None, n)}
            here = tuple(name for name, c in of_interest.items() if is_here(c, threshold))
            best = max((c.confidence for c in of_interest.values()), default=0.0)
            shown.append(GalleryPhoto(record, names[record.file], here, best))
    return sorted(shown, key=lambda one: (not one.here, -one.strength))


def pages(count: int) -> int:
    """Return the number of gallery pages for ``count`` photos, at least one."""
    return max(1, -(-count // PAGE))


def pictures_of(run: PhotoRun, shown: Sequence[GalleryPhoto]) -> list[tuple[str, str]]:
    """Draw photos for the gallery; return (file, caption) of each."""
    names, colours = run.task.names, list(class_colours(run.task.names).values())
    return [
        (
            str(run.small.drawn(one.stem, [names.index(n) + 1 for n in one.here], colours)),
            one.caption,
        )
        for one in shown
    ]


def summary(run: PhotoRun, shown: Sequence[GalleryPhoto]) -> str:
    """Return a line with the numbers of photos: found, not here, failed, not done."""
    found = sum(bool(one.here) for one in shown)
    failed = run.results.failed()
    parts = [f"{found} found", f"{len(shown) - found} not here"]
    parts += [f"{failed} could not be read"] if failed else []
    waiting = len(run.jobs) - run.done
    parts += [f"{waiting} not done (cancelled)"] if waiting else []
    return ", ".join(parts)


def view(run: PhotoRun, one: GalleryPhoto) -> Path:
    """Draw a photo for the detail view, and return the file.

    Raises:
        FcpError: the photo or its mask is missing.
    """
    names = run.task.names
    labels, error = read_back(one.record, run.folder, several=len(names) > 1)
    if labels is None:
        raise FcpError(error or "its mask is missing; run the photos again")
    here = [names.index(name) + 1 for name in one.here]
    photo = read_photo(Path(one.record.file), run.task.decoding_of(None))[0].drawn
    colours = list(class_colours(names).values())
    shown = only(photo.under(labels), here)
    drawn = thumbnail(overlay_labels(photo.pixels, shown, colours), VIEW)
    file = run.small.place("view", one.stem, here)
    write_atomically(file, encode(drawn, "jpeg", quality=88))
    return file


def facts(record: PictureResult, here: Sequence[str]) -> list[tuple[str, str, str, str]]:
    """Return a table row for each class: name, presence or "–", score, area or "not here"."""
    rows = []
    for name, found in record.classes.items():
        presence = found.presence
        area = f"{100 * found.area:.1f} %" if name in here else "not here"
        rows.append(
            (name, "–" if presence is None else f"{presence:.2f}", f"{found.score:.2f}", area)
        )
    return rows
