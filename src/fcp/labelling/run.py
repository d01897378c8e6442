"""Labelling of a folder of photos from examples: the resumable function behind ``fcp segment``.

torch is imported inside the functions, so that wrong paths are reported before it is loaded.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from fcp.checks import require_count
from fcp.errors import FcpError
from fcp.labelling.films import write_films
from fcp.labelling.output import finish
from fcp.labelling.photo_results import PictureResult
from fcp.labelling.photos import Job, segment_photos
from fcp.labelling.results import ExampleResult, Results
from fcp.labelling.start import Request, Start, start_run
from fcp.labelling.task import Task, fit_task, least_of
from fcp.system.files import make_folder
from fcp.system.locks import hold_folder

if TYPE_CHECKING:
    from fcp.formats.writer import Writer
    from fcp.inference.networks.base import AnyNetwork
    from fcp.inference.segmenter import FewShotSegmenter
    from fcp.inference.support import Support

_TRIED = 20  # photos for which a tile is tried before an earlier run's results are removed


class Watcher:
    """Receiver of the events of a run; each method does nothing unless a subclass overrides it."""

    def started(self, start: Start) -> None:
        """Handle the start: all photos, and those that an earlier run has finished."""

    def learnt(self, results: Results) -> None:
        """Handle the encoded examples: ``results.appearance`` and ``results.examples`` are set."""

    def segmented(self, records: Sequence[PictureResult]) -> None:
        """Handle photos whose masks or errors have just been written."""


@dataclass(frozen=True)
class Labelled:
    """A finished run over photos.

    Attributes:
        results: Records of all photos, including those of earlier runs.
        photos: Number of requested photos.
        done_before: Number of requested photos that an earlier run had finished.
    """

    results: Results
    photos: int
    done_before: int

    @property
    def failed(self) -> int:
        """Number of photos with an error, those of earlier runs included."""
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

    Results of an earlier run are removed only once the examples are encoded and all else is known
    to be possible. A photo that cannot be read gets an error in its record, and the others are
    segmented. Finished photos are kept however the run ends; the same request with ``resume=True``
    continues it.

    Args:
        request: Photos, output folder, model and task.
        device: "auto" (CUDA, then MPS, then CPU), or the name of a torch device.
        threads: Number of CPU threads of torch in the whole process; None for all free cores.
        batch_size: Number of photos at a time; more is faster on a GPU.
        watcher: Receiver of the events of the run.

    Raises:
        FcpError: a ``batch_size`` that is no whole number of at least 1, no photo, an output folder
            that another run is writing to or with files that would be overwritten or mixed, no such
            model, bad examples, or a file that cannot be written.
    """
    require_count("batch_size", batch_size)
    with hold_folder(request.out):
        return _label(request, device, threads, batch_size, watcher)


def _label(
    request: Request, device: str, threads: int | None, batch_size: int, watcher: Watcher
) -> Labelled:
    start = start_run(request, device)
    watcher.started(start)
    with ExitStack() as stack, _resumable(start.results):
        segmenter = _ready(request, start, device, threads)
        start.begin()
        writers = [stack.enter_context(writer) for writer in _open_writers(request, request.out)]
        if segmenter is not None:
            watcher.learnt(start.results)
            _segment(segmenter, request.task, start, batch_size, watcher)
        with _timed(start.results, "files"):
            _export(start, request, writers)
    finish(start.results)
    return Labelled(start.results, len(start.jobs), len(start.jobs) - len(start.waiting))


def _ready(
    request: Request, start: Start, device: str, threads: int | None
) -> FewShotSegmenter | None:
    """Do all that can fail before the first photo; an earlier run's results are still there.

    Returns:
        The segmenter, fitted to the task; None if no photo is left to do.
    """
    _require_writers(request)
    if not start.waiting:
        return None
    segmenter = _load(request, start.results, device, threads)
    _learn(segmenter, request.task, start.results)
    if segmenter.fitted is not None and segmenter.fitted.tile is not None:
        _require_tile(segmenter.network, segmenter.fitted, start.waiting)
    return segmenter


def _require_tile(network: AnyNetwork, support: Support, jobs: Sequence[Job]) -> None:
    """Refuse a tile that is too small for each of the first photos.

    Raises:
        FcpError: none of them can be segmented; the message is that of the first.
    """
    from fcp.data.images import read_size
    from fcp.inference.photo_matching import plan_tiles

    reasons = []
    for job in jobs[:_TRIED]:
        with suppress(FcpError):  # its own error comes with its turn
            size = read_size(job.picture)
            try:
                plan_tiles(network, support, size)
            except FcpError as error:
                reasons.append(f"{job.picture}: {error}")
            else:
                return
    if reasons:
        raise FcpError(reasons[0])


def _require_writers(request: Request) -> None:
    """Open the writers in a folder of their own first, since they write lists of classes at once.

    Raises:
        FcpError: a class name that a format cannot hold, too many classes for it, or an output
            folder that cannot be written.
    """
    out = request.out
    try:
        with TemporaryDirectory(dir=out, prefix=".") as place, ExitStack() as stack:
            for writer in _open_writers(request, Path(place)):
                stack.enter_context(writer)
    except FcpError as error:
        raise FcpError(str(error).replace(place, str(out))) from error
    except OSError as error:
        raise FcpError(f"{out}: cannot be written ({error.strerror}); free some space") from error


def _open_writers(request: Request, out: Path) -> list[Writer]:
    """Open the writers of other tools' files, and name the values of label maps."""
    from fcp.formats.label_maps import write_class_list

    names = request.task.names
    if len(names) > 1:
        make_folder(out / "masks")
        write_class_list(out / "masks", names)
    return [kind(out, names) for kind in request.writers]


@contextmanager
def _resumable(results: Results) -> Iterator[None]:
    """Add to an error that photos are kept, if any is finished."""
    try:
        yield
    except FcpError as error:
        if not results.pictures:
            raise
        remedy = "finished photos are kept: fix this, then continue with --resume"
        raise FcpError(f"{error}; {remedy}") from error


@contextmanager
def _timed(results: Results, step: str) -> Iterator[None]:
    """Add the time of a step to that of earlier runs."""
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
    """Encode the examples, and test each with the others of its class."""
    with _timed(results, "examples"):
        results.appearance = fit_task(segmenter, task, checks=True)
        results.examples = _qualities(segmenter.fitted, task)
    results.used = _used_settings(segmenter, task)


def _segment(
    segmenter: FewShotSegmenter, task: Task, start: Start, batch_size: int, watcher: Watcher
) -> None:
    """Segment the photos left to do; records on disk are complete however this ends."""
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
    """Return the values used for "auto" and for the threshold, after ``fit_task``."""
    return {
        "device": str(segmenter.device),
        "min_score": least_of(task).score,
        "presence": "not calibrated" if segmenter.presence is None else "calibrated",
        "threshold": segmenter.check_threshold(task.threshold),
        "tile": segmenter.fitted.tile,
    }


def _export(start: Start, request: Request, writers: Sequence[Writer]) -> None:
    from fcp.labelling.export import export

    results, task = start.results, request.task
    examples = ", ".join(f"{len(of_class)} of {name}" for name, of_class in task.classes.items())
    date = datetime.fromisoformat(results.date).strftime("%Y-%m-%d %H:%M")
    facts = {"model": results.model, "examples": examples, "date": date}
    facts |= {
        f"examples to check ({name})": ", ".join(odd)
        for name, judged in results.examples.items()
        if (odd := [_title(one) for one in judged if one.is_odd])
    }
    facts |= {f"{name} is": decided.sentence for name, decided in results.appearance.items()}
    if results.uncalibrated is not None:
        facts["presence"] = results.uncalibrated
    results.put_in_order(job.source for job in start.jobs)
    records = list(results.pictures.values())
    export(records, results.path.parent, task, writers=writers, facts=facts)
    if request.overlay_video:
        write_films(records, task, request.out)


def _title(odd: ExampleResult) -> str:
    return f"{odd.file} (inverted?)" if odd.is_inverted else odd.file
