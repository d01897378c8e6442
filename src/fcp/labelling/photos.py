"""Photos → masks, overlays and records, batch by batch.

torch is imported inside the functions, so that commands can be asked for help at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from fcp.errors import FcpError
from fcp.files import sha256_of, write_atomically
from fcp.labelling.results import ClassResult, ObjectResult, PictureResult, Results

if TYPE_CHECKING:
    import numpy as np

    from fcp.data.decode import Decoding
    from fcp.data.images import ImageLike
    from fcp.data.prompts import Annotation
    from fcp.formats.examples import Example
    from fcp.prediction import ClassPrediction, Prediction
    from fcp.segmenter import FewShotSegmenter

T = TypeVar("T")
Tile = int | Literal["auto"] | None


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
        tile: see ``FewShotSegmenter.fit``.
        instances: whether a class is split into its objects.
        threshold: see ``FewShotSegmenter.predict``.
        decoding: of photos and examples.
    """

    classes: Mapping[str, Sequence[Example]]
    negatives: Sequence[Example]
    fusion: str
    tile: Tile
    instances: bool
    threshold: float | None = None
    decoding: Decoding | None = None

    @property
    def names(self) -> list[str]:
        """The classes, in the order of their labels."""
        return list(self.classes)


def fit_task(segmenter: FewShotSegmenter, task: Task) -> None:
    """Encode a task's examples; see ``FewShotSegmenter.fit``.

    Raises:
        FcpError: as there, or a threshold that the model cannot hold.
    """
    segmenter.check_threshold(task.threshold)
    segmenter.fit(
        {name: pairs_of(shown, task.decoding) for name, shown in task.classes.items()},
        negatives=pairs_of(task.negatives, task.decoding),
        tile=task.tile,
    )


def pairs_of(
    examples: Sequence[Example], decoding: Decoding | None = None
) -> list[tuple[ImageLike, Annotation]]:
    """Return examples as the segmenter takes them, decoded already where it is said how."""
    from fcp.data.images import DEFAULT, read_image

    if decoding in (None, DEFAULT):
        return [(example.picture, example.annotation) for example in examples]
    return [(read_image(example.picture, decoding), example.annotation) for example in examples]


def segment_photos(
    segmenter: FewShotSegmenter,
    task: Task,
    jobs: Sequence[Job],
    results: Results,
    batch_size: int,
) -> Generator[list[PictureResult], None, None]:
    """Segment all jobs; however it ends, the records of what was done are saved.

    Args:
        segmenter: fitted to the task.
        task: what is looked for.
        jobs: photos to do.
        results: take the records, and say where the files go.
        batch_size: photos at a time.

    Yields:
        The records of each batch once they are written; who stops asking ends the run.

    Raises:
        FcpError: a file that cannot be written.
    """
    with results:
        for start in range(0, len(jobs), batch_size):
            batch = jobs[start : start + batch_size]
            records = _segment_together(segmenter, task, batch, results.path.parent)
            results.add(records)
            yield records


def _segment_together(
    segmenter: FewShotSegmenter, task: Task, jobs: Sequence[Job], out: Path
) -> list[PictureResult]:
    """Read, segment and write a batch; a photo that cannot be read fails alone."""
    from fcp.data.images import DEFAULT, read_picture

    started = time.perf_counter()
    decoding = task.decoding or DEFAULT
    read, errors = _each(jobs, lambda job: read_picture(job.picture, decoding))
    photos = {job: pixels for job, (pixels, _) in read.items()}
    if segmenter.support is not None and segmenter.support.tile is None:
        predictions = segmenter.predict_batch(
            photos.values(), batch_size=len(jobs), threshold=task.threshold
        )
        found = dict(zip(photos, predictions, strict=True))
    else:
        found, too_small = _each(
            photos, lambda job: segmenter.predict(photos[job], threshold=task.threshold)
        )
        errors |= too_small
    for job, prediction in found.items():
        _write(job, photos[job], prediction, out)
    seconds = round((time.perf_counter() - started) / len(jobs), 3)
    return [
        _success(job, found[job], task, seconds, notes=read[job][1])
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


def _success(
    job: Job, found: Prediction, task: Task, seconds: float, notes: list[str]
) -> PictureResult:
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
        notes=notes,
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
        presence=None if found.presence is None else round(found.presence, 4),
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
