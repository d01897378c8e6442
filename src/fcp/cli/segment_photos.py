"""Photos → masks, overlays and records: what ``fcp segment`` does to each batch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from fcp.cli.progress import progress_bar
from fcp.cli.results import ClassResult, ObjectResult, PictureResult, Results
from fcp.errors import FcpError
from fcp.files import sha256_of, write_atomically

if TYPE_CHECKING:
    import numpy as np
    from rich.console import Console

    from fcp.formats.examples import Example
    from fcp.prediction import ClassPrediction, Prediction
    from fcp.segmenter import FewShotSegmenter

T = TypeVar("T")


@dataclass(frozen=True)
class Job:
    """A picture to segment, and the name of its results without suffix."""

    picture: Path
    name: str

    @property
    def mask(self) -> str:
        """File of the mask, relative to the output folder."""
        return f"masks/{self.name}.png"

    @property
    def overlay(self) -> str:
        """File of the overlay, relative to the output folder."""
        return f"overlays/{self.name}.jpg"


@dataclass(frozen=True)
class Task:
    """What is looked for, and how.

    Attributes:
        classes: name → examples.
        negatives: examples of none of them.
        fusion: of several examples of a class.
        tile: see ``FewShotSegmenter.predict``.
        instances: whether a class is split into its objects.
    """

    classes: Mapping[str, Sequence[Example]]
    negatives: Sequence[Example]
    fusion: str
    tile: int | None
    instances: bool

    @property
    def names(self) -> list[str]:
        """The classes, in the order of their labels."""
        return list(self.classes)


def run(
    segmenter: FewShotSegmenter,
    task: Task,
    jobs: Sequence[Job],
    results: Results,
    batch_size: int,
) -> None:
    """Segment all jobs; however it ends, the records of what was done are saved.

    Args:
        segmenter: fitted to the task.
        task: what is looked for.
        jobs: photos to do.
        results: take the records, and say where the files go.
        batch_size: photos at a time.

    Raises:
        FcpError: a file that cannot be written.
    """
    with progress_bar("photo") as bar, results:
        task_of_bar = bar.add_task("segmenting", total=len(jobs))
        for start in range(0, len(jobs), batch_size):
            batch = jobs[start : start + batch_size]
            records = _segment_together(segmenter, task, batch, results.path.parent)
            results.add(records)
            _show_errors(bar.console, records)
            bar.advance(task_of_bar, len(batch))


def _segment_together(
    segmenter: FewShotSegmenter, task: Task, jobs: Sequence[Job], out: Path
) -> list[PictureResult]:
    """Read, segment and write a batch; a photo that cannot be read fails alone."""
    from fcp.data.images import read_image

    started = time.perf_counter()
    photos, errors = _each(jobs, lambda job: read_image(job.picture))
    if task.tile is None:
        predictions = segmenter.predict_batch(photos.values(), batch_size=len(jobs))
        found = dict(zip(photos, predictions, strict=True))
    else:
        found, too_small = _each(photos, lambda job: segmenter.predict(photos[job], tile=task.tile))
        errors |= too_small
    for job, prediction in found.items():
        _write(job, photos[job], prediction, out)
    seconds = round((time.perf_counter() - started) / len(jobs), 3)
    return [
        _success(job, found[job], task, seconds)
        if job in found
        else _failure(job, errors[job], seconds)
        for job in jobs
    ]


def _each(jobs: Iterable[Job], do: Callable[[Job], T]) -> tuple[dict[Job, T], dict[Job, str]]:
    """Do the same for each job: what came of it, and the errors of those that failed."""
    done, errors = {}, {}
    for job in jobs:
        try:
            done[job] = do(job)
        except FcpError as error:
            errors[job] = str(error)
    return done, errors


def _write(job: Job, photo: np.ndarray, prediction: Prediction, out: Path) -> None:
    from fcp.data.images import label_png
    from fcp.visualize import class_colours, encode, overlay_labels

    one = len(prediction.classes) == 1
    mask = encode(prediction.mask, "png") if one else label_png(prediction.labels)
    colours = list(class_colours(prediction.classes).values())
    shown = overlay_labels(photo, prediction.labels, colours)
    write_atomically(out / job.mask, mask)
    write_atomically(out / job.overlay, encode(shown, "jpeg"))


def _show_errors(console: Console, records: Sequence[PictureResult]) -> None:
    for error in filter(None, (record.error for record in records)):
        console.print(error, style="red", markup=False, soft_wrap=True)


def _success(job: Job, found: Prediction, task: Task, seconds: float) -> PictureResult:
    return PictureResult(
        file=str(job.picture),
        sha256=photo_hash(job.picture),
        seconds=seconds,
        mask=job.mask,
        overlay=job.overlay,
        classes={
            name: _class_result(one, instances=task.instances)
            for name, one in found.classes.items()
        },
    )


def _class_result(found: ClassPrediction, *, instances: bool) -> ClassResult:
    from fcp.instances import split_objects

    mask = found.mask
    objects = [
        ObjectResult(list(one.piece.box), round(one.score, 4))
        for one in (split_objects(found) if instances else [])
    ]
    return ClassResult(
        score=round(found.score, 4),
        area=round(float(mask.mean()), 6),
        area_px=int(mask.sum()),
        objects=objects if instances else None,
    )


def _failure(job: Job, error: str, seconds: float) -> PictureResult:
    return PictureResult(
        file=str(job.picture), sha256=photo_hash(job.picture), seconds=seconds, error=error
    )


def photo_hash(picture: Path) -> str | None:
    """Return the SHA-256 of a photo's bytes; None where they cannot be read."""
    try:
        return sha256_of(picture)
    except FcpError:
        return None
