"""Photos → masks, overlays and records, batch by batch.

torch is imported inside the functions, so that ``--help`` answers at once.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from fcp.errors import FcpError
from fcp.labelling.films import Films, time_of
from fcp.labelling.photo_results import ClassResult, ObjectResult, PictureResult, Source
from fcp.labelling.results import Results
from fcp.labelling.task import Task, least_of
from fcp.system.files import sha256_of, write_atomically
from fcp.system.memory import give_back_memory

if TYPE_CHECKING:
    import numpy as np

    from fcp.data.photos import Photo
    from fcp.inference.prediction import ClassPrediction, Least, Prediction
    from fcp.inference.segmenter import FewShotSegmenter
    from fcp.inference.support import Support

T = TypeVar("T")
Objects = dict[str, list[ObjectResult]]


@dataclass(frozen=True)
class Job:
    """A picture to segment.

    Attributes:
        picture: File of the picture.
        name: Name of its results, without suffix.
        page: Page of the file, from 1, if each page is a photo of its own; None otherwise.
    """

    picture: Path
    name: str
    page: int | None = None

    @property
    def source(self) -> Source:
        """Key of its record."""
        return str(self.picture), self.page

    @property
    def mask(self) -> str:
        """File of the mask, relative to the output folder."""
        return f"masks/{self.name}.png"

    @property
    def overlay(self) -> str:
        """File of the overlay, relative to the output folder."""
        return f"overlays/{self.name}.jpg"


@dataclass(frozen=True)
class _Origin:
    """What a record says of a photo's file.

    Attributes:
        sha256: SHA-256 of the file that was read.
        notes: Remarks on reading.
    """

    sha256: str | None
    notes: list[str]


def segment_photos(
    segmenter: FewShotSegmenter,
    task: Task,
    jobs: Sequence[Job],
    results: Results,
    batch_size: int,
    large: AbstractContextManager[object] | None = None,
) -> Generator[list[PictureResult], None, None]:
    """Segment all jobs; the records of finished photos are saved however this ends.

    Args:
        segmenter: Segmenter fitted to the task.
        task: Classes with their examples, and options.
        jobs: Photos to segment.
        results: Results that receive the records; files go to their folder.
        batch_size: Number of photos at a time.
        large: Context to hold while a large photo is in memory; None for none.

    Yields:
        The records of each batch, once they are written; closing the generator ends the run.

    Raises:
        FcpError: a file cannot be written.
    """
    films, together = Films(segmenter, task, results), 1 if task.memory else batch_size
    with results:
        for start in range(0, len(jobs), together):
            batch = jobs[start : start + together]
            with _room_for(batch, large or nullcontext()):
                records = _segment_together(segmenter, task, batch, results.path.parent, films)
            results.add(records)
            yield records


@contextmanager
def _room_for(jobs: Sequence[Job], large: AbstractContextManager[object]) -> Iterator[None]:
    """Hold ``large`` and give memory back to the system, if any photo is large."""
    from fcp.data.photos import is_large

    if not any(is_large(job.picture) for job in jobs):
        yield
        return
    with large:
        give_back_memory()
        yield


def _segment_together(
    segmenter: FewShotSegmenter, task: Task, jobs: Sequence[Job], out: Path, films: Films
) -> list[PictureResult]:
    """Read, segment and write a batch; an unreadable photo does not stop the others."""
    started, least = time.perf_counter(), least_of(task)
    support = films.support_of(jobs[0].picture, jobs[0].name)
    most = support.most_pixels
    read, errors = _each(jobs, lambda job: _read(job, task, most))
    photos = {job: photo for job, (photo, _) in read.items()}
    origins = {job: origin for job, (_, origin) in read.items()}
    del read  # frees a large photo once it is segmented
    found, too_small = _predict(segmenter, photos, support, task.threshold, least)
    errors |= too_small
    objects: dict[Job, Objects] = {}
    if task.instances:
        for job, one in found.items():
            found[job], objects[job] = _objects_of(one, least)
    photos = {job: photos[job].drawn for job in found}
    written = {job: _write(job, photos[job], one, out) for job, one in found.items()}
    seconds = round((time.perf_counter() - started) / len(jobs), 3)
    records = [
        _success(job, found[job], objects.get(job), seconds, written[job], origins[job])
        if job in found
        else _failure(job, errors[job], seconds)
        for job in jobs
    ]
    for job, record in zip(jobs, records, strict=True):
        if job in found:
            films.see(record, photos[job].pixels, photos[job].under(found[job].labels))
    return records


def _read(job: Job, task: Task, most: int) -> tuple[Photo, _Origin]:
    """Read a photo whose file is the same before and after.

    Raises:
        FcpError: it cannot be read, or was changed meanwhile: its hash would be another photo's.
    """
    from fcp.data.photos import read_photo

    before = photo_hash(job.picture)
    photo, notes = read_photo(job.picture, task.decoding_of(job.page), most)
    if photo_hash(job.picture) != before:
        raise FcpError(f"{job.picture}: changed while it was read; run again with --resume")
    return photo, _Origin(before, notes)


def _predict(
    segmenter: FewShotSegmenter,
    photos: Mapping[Job, Photo],
    support: Support,
    threshold: float | None,
    least: Least,
) -> tuple[dict[Job, Prediction], dict[Job, str]]:
    """Segment photos, tiled ones one by one; return also the messages of those that failed."""
    if support.tile is not None:
        how = partial(segmenter.predict, support=support, threshold=threshold, least=least)
        return _each(photos, lambda job: how(photos[job]))
    predictions = segmenter.predict_batch(
        photos.values(),
        batch_size=max(1, len(photos)),
        support=support,
        threshold=threshold,
        least=least,
    )
    return dict(zip(photos, predictions, strict=True)), {}


def _objects_of(found: Prediction, least: Least) -> tuple[Prediction, Objects]:
    """Return what ``keep_objects`` leaves, and the records of each class's objects."""
    from fcp.inference.instances import keep_objects
    from fcp.labelling.objects import record_of

    kept, objects = keep_objects(found, least)
    return kept, {
        name: [record_of(one.piece, one.score) for one in own] for name, own in objects.items()
    }


def _each(jobs: Iterable[Job], do: Callable[[Job], T]) -> tuple[dict[Job, T], dict[Job, str]]:
    """Call ``do`` for each job; return the results, and the messages of jobs that failed."""
    done, errors = {}, {}
    for job in jobs:
        try:
            done[job] = do(job)
        except FcpError as error:
            named = str(job.picture) in str(error)
            errors[job] = str(error) if named else f"{job.picture}: {error}"
    return done, errors


def _write(job: Job, photo: Photo, prediction: Prediction, out: Path) -> tuple[str, str]:
    """Write mask and overlay; return the SHA-256 of both."""
    from fcp.data.images import label_png, mask_png

    one = len(prediction.classes) == 1
    mask = mask_png(prediction.labels) if one else label_png(prediction.labels)
    write_atomically(out / job.mask, mask)
    overlay = draw_overlay(photo, prediction.labels, list(prediction.classes))
    write_atomically(out / job.overlay, overlay)
    return hashlib.sha256(mask).hexdigest(), hashlib.sha256(overlay).hexdigest()


def draw_overlay(photo: Photo, labels: np.ndarray, names: Sequence[str]) -> bytes:
    """Draw the classes over their photo, and return the overlay as a JPEG.

    Args:
        photo: Photo to draw on.
        labels: Label map of the photo, (H, W).
        names: Classes in the order of their labels.
    """
    from fcp.visualize import class_colours, encode, overlay_labels

    photo, colours = photo.drawn, list(class_colours(names).values())
    return encode(overlay_labels(photo.pixels, photo.under(labels), colours), "jpeg")


def _success(
    job: Job,
    found: Prediction,
    objects: Objects | None,
    seconds: float,
    written: tuple[str, str],
    origin: _Origin,
) -> PictureResult:
    return PictureResult(
        file=str(job.picture),
        sha256=origin.sha256,
        seconds=seconds,
        mask=job.mask,
        overlay=job.overlay,
        classes={
            name: _class_result(one, None if objects is None else objects[name])
            for name, one in found.classes.items()
        },
        mask_sha256=written[0],
        overlay_sha256=written[1],
        notes=origin.notes,
        page=job.page,
        time=time_of(job.picture, job.page),
    )


def _class_result(found: ClassPrediction, objects: list[ObjectResult] | None) -> ClassResult:
    return ClassResult(
        score=round(found.score, 4),
        area=round(found.area / found.labels.size, 6),
        area_px=found.area,
        presence=_reported_presence(found),
        objects=objects,
    )


def _reported_presence(found: ClassPrediction) -> float | None:
    """Return the presence, or None if the appearance model decides in its place."""
    likely = found.maps.counted_presence
    return None if likely is None else round(likely, 4)


def _failure(job: Job, error: str, seconds: float) -> PictureResult:
    return PictureResult(
        file=str(job.picture),
        sha256=photo_hash(job.picture),
        seconds=seconds,
        error=error,
        page=job.page,
        time=time_of(job.picture, job.page),
    )


def photo_hash(picture: Path) -> str | None:
    """Return the SHA-256 of a photo's file; None if it cannot be read.

    It is read again only once its state has changed: size, inode, or time of a change.
    """
    try:
        state = picture.stat()
        changes = (state.st_mtime_ns, state.st_ctime_ns)
        return _hash_of_state(picture, state.st_size, state.st_ino, changes)
    except (FcpError, OSError):
        return None


def forget_hashes() -> None:
    """Forget what ``photo_hash`` has read: a run does not trust an earlier one's."""
    _hash_of_state.cache_clear()


@lru_cache(maxsize=8)  # the pages of a large file follow each other
def _hash_of_state(picture: Path, size: int, inode: int, changes: tuple[int, int]) -> str:
    return sha256_of(picture)
