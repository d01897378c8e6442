"""A folder of photos labelled from examples, resumable: what ``fcp segment`` does, as a function.

torch is imported inside the functions, so that wrong paths are reported before it is loaded.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from fcp.errors import FcpError
from fcp.labelling.output import finish
from fcp.labelling.photos import segment_photos
from fcp.labelling.results import ExampleResult, PictureResult, Results
from fcp.labelling.start import Request, Start, start_run
from fcp.labelling.task import Task, fit_task, least_of

if TYPE_CHECKING:
    from fcp.formats.writer import Writer
    from fcp.inference.segmenter import FewShotSegmenter
    from fcp.inference.support import Support


class Watcher:
    """Events of a run; each method does nothing until a subclass overrides it."""

    def started(self, start: Start) -> None:
        """Take note of the photos that were found, and of what an earlier run has finished."""

    def learnt(self, results: Results) -> None:
        """Take note of ``results.appearance`` and ``results.examples``, once both are there."""

    def segmented(self, records: Sequence[PictureResult]) -> None:
        """Take note of photos whose masks or errors have just been written down."""


@dataclass(frozen=True)
class Labelled:
    """A finished run over photos.

    Attributes:
        results: Records of all photos, those of earlier runs among them.
        photos: Number of photos that were asked for.
        done_before: Number of them that an earlier run had finished.
    """

    results: Results
    photos: int
    done_before: int

    @property
    def failed(self) -> int:
        """Number of photos with an error in the place of a mask."""
        return self.results.failed()

    @property
    def by_hand(self) -> int:
        """Number of photos whose mask a person has corrected since."""
        return sum(record.by_hand for record in self.results.pictures.values())


_NOBODY = Watcher()


def label_folder(
    request: Request,
    *,
    device: str = "auto",
    threads: int | None = None,
    batch_size: int = 1,
    watcher: Watcher = _NOBODY,
) -> Labelled:
    """Segment photos by examples, and write masks, overlays, records, report and tools' files.

    A photo that cannot be read gets an error in its record, and the rest goes on. However the run
    ends, what is finished is kept: the same call with ``resume=True`` in its request goes on.

    Args:
        request: Photos, output folder, model and task.
        device: "auto" (CUDA, then MPS, then CPU), or a device as torch names it.
        threads: CPU threads of torch, in the whole process; None for as many as are free.
        batch_size: Photos at a time; more helps on a GPU.
        watcher: Object that is told of each step.

    Raises:
        FcpError: a ``batch_size`` under 1, no photo, an output folder that holds what would be
            overwritten or mixed, no such model, bad examples, or a file that cannot be written.
    """
    if batch_size < 1:
        raise FcpError(f"batch_size: expected at least 1, got {batch_size}")
    start = start_run(request)
    watcher.started(start)
    with ExitStack() as stack:
        writers = [stack.enter_context(writer) for writer in _open_writers(request)]
        with _resumable():
            if start.waiting:
                segmenter = _load(request, start.results, device, threads)
                _learn(segmenter, request.task, start.results)
                watcher.learnt(start.results)
                _segment(segmenter, request.task, start, batch_size, watcher)
            with _timed(start.results, "files"):
                _export(start, request.task, writers)
    finish(start.results)
    return Labelled(start.results, len(start.jobs), len(start.jobs) - len(start.waiting))


def _open_writers(request: Request) -> list[Writer]:
    """Open the writers of other tools' files, and name the values of label maps."""
    from fcp.formats.label_maps import write_class_list

    names = request.task.names
    if len(names) > 1:
        write_class_list(request.out / "masks", names)
    return [kind(request.out, names) for kind in request.writers]


@contextmanager
def _resumable() -> Iterator[None]:
    try:
        yield
    except FcpError as error:
        remedy = "what is finished is kept: put that right and go on with --resume"
        raise FcpError(f"{error}; {remedy}") from error


@contextmanager
def _timed(results: Results, step: str) -> Iterator[None]:
    """Add the time that a step takes to that of earlier runs."""
    started = time.perf_counter()
    yield
    seconds = results.seconds.get(step, 0) + time.perf_counter() - started
    results.seconds[step] = round(seconds, 3)


def _load(request: Request, results: Results, device: str, threads: int | None) -> FewShotSegmenter:
    from fcp.inference.segmenter import FewShotSegmenter
    from fcp.system.threads import set_threads

    with _timed(results, "model"):
        model, fusion = request.model, request.task.fusion
        segmenter = FewShotSegmenter.from_pretrained(model, device=device, fusion=fusion)
        set_threads(threads)
    return segmenter


def _learn(segmenter: FewShotSegmenter, task: Task, results: Results) -> None:
    """Show the model the examples, and judge each by the others of its class."""
    with _timed(results, "examples"):
        results.appearance = fit_task(segmenter, task, checks=True)
        results.examples = _qualities(segmenter.fitted, task)
    results.used = _used_settings(segmenter, task)


def _segment(
    segmenter: FewShotSegmenter, task: Task, start: Start, batch_size: int, watcher: Watcher
) -> None:
    """Do the photos that are left; the records are whole on the disk however this ends."""
    batches = segment_photos(segmenter, task, start.waiting, start.results, batch_size)
    with _timed(start.results, "photos"), closing(batches):
        for records in batches:
            watcher.segmented(records)


def _qualities(support: Support, task: Task) -> dict[str, list[ExampleResult]]:
    return {
        name: [
            ExampleResult(
                file=str(example.picture),
                iou=round(one.iou, 4),
                is_odd=one.is_odd,
                presence=None if one.presence is None else round(one.presence, 4),
                is_inverted=one.is_inverted,
            )
            for example, one in zip(task.classes[name], qualities, strict=True)
        ]
        for name, qualities in support.quality.items()
    }


def _used_settings(segmenter: FewShotSegmenter, task: Task) -> dict[str, Any]:
    """Say what came of "auto" and of the model's own threshold, after ``fit_task``."""
    support = segmenter.support
    return {
        "device": str(segmenter.device),
        "min_score": least_of(task).score,
        "threshold": segmenter.check_threshold(task.threshold),
        "tile": None if support is None else support.tile,
    }


def _export(start: Start, task: Task, writers: Sequence[Writer]) -> None:
    from fcp.labelling.export import export

    results = start.results
    examples = ", ".join(f"{len(of_class)} of {name}" for name, of_class in task.classes.items())
    date = datetime.fromisoformat(results.date).strftime("%Y-%m-%d %H:%M")
    facts = {"model": results.model, "examples": examples, "date": date}
    facts |= {
        f"look again at ({name})": ", ".join(odd)
        for name, judged in results.examples.items()
        if (odd := [_title(one) for one in judged if one.is_odd])
    }
    facts |= {f"{name} is": decided.sentence for name, decided in results.appearance.items()}
    results.put_in_order(job.source for job in start.jobs)
    records = list(results.pictures.values())
    export(records, results.path.parent, task, writers=writers, facts=facts)


def _title(odd: ExampleResult) -> str:
    return f"{odd.file} (inverted?)" if odd.is_inverted else odd.file
