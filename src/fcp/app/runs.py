"""One run over a visitor's photos, in a thread of its own that a closed page cannot strand.

The model is loaded once and shared. Each run has its own examples; the lock is held for one batch
at a time, so that runs of several visitors take turns.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from copy import copy
from pathlib import Path

from fcp.app.marks import Marked
from fcp.app.small import Smaller
from fcp.errors import FcpError
from fcp.formats.examples import Example
from fcp.labelling.photos import (
    Appearances,
    Job,
    Task,
    Tile,
    decisions_of,
    fit_task,
    segment_photos,
)
from fcp.labelling.results import PictureResult, Results
from fcp.segmenter import DEFAULT_FUSION, FewShotSegmenter

BATCH_ON_GPU = 8
UNEXPECTED = "the run failed unexpectedly; the terminal that runs the page says more"


class Engine:
    """The model, shared by all visitors.

    Args:
        model: as ``FewShotSegmenter.from_pretrained`` takes it.
        device: likewise.
    """

    def __init__(self, model: str, device: str) -> None:
        self.name = model
        self.lock = threading.Lock()
        self._first = FewShotSegmenter.from_pretrained(model, device=device)
        self.batch = BATCH_ON_GPU if self._first.device.type == "cuda" else 1

    @property
    def device(self) -> str:
        """Where it runs."""
        return str(self._first.device)

    def segmenter(self) -> FewShotSegmenter:
        """Return a segmenter on the shared model that has no examples yet."""
        return copy(self._first)


class Run:
    """Photos → results in a folder; ``start`` returns at once.

    Args:
        engine: the model.
        task: what is looked for.
        photos: to do; their stems differ.
        folder: for the results; made here.
        marked: the visitor's examples that the task is made of.

    Attributes:
        marked: these, whatever becomes of them in the visit.
        results: of the photos that are done.
        finished: is set at the end, whatever it is.
        download: the last zip that was made of it, if any.
        error: why it ended before the last photo, or None.
    """

    def __init__(
        self,
        engine: Engine,
        task: Task,
        photos: Sequence[Path],
        folder: Path,
        *,
        marked: Sequence[Marked] = (),
    ) -> None:
        for name in ("masks", "overlays", "small"):
            (folder / name).mkdir(parents=True)
        self.engine = engine
        self.task = task
        self.marked = tuple(marked)
        self.folder = folder
        self.jobs = [Job(photo, photo.stem) for photo in photos]
        self.results = Results(folder, model=engine.name, fingerprint="")
        self.small = Smaller(folder / "small", len(task.classes))
        self.segmenter = engine.segmenter()
        self.finished = threading.Event()
        self.download: Path | None = None
        self.error: str | None = UNEXPECTED  # until it is known better
        self._stop = threading.Event()
        self._started = time.monotonic()

    @property
    def done(self) -> int:
        """Photos done so far."""
        return len(self.results.pictures)

    @property
    def stopped(self) -> bool:
        """Whether somebody has asked it to end early."""
        return self._stop.is_set()

    def records(self) -> list[PictureResult]:
        """Return what is done so far, in the photos' order."""
        return list(self.results.pictures.values())

    def seconds_left(self) -> float | None:
        """Guess the rest from what is done; None before the first photo."""
        elapsed = time.monotonic() - self._started
        return elapsed / self.done * (len(self.jobs) - self.done) if self.done else None

    def start(self, guard: Callable[[], AbstractContextManager[object]]) -> None:
        """Begin, in a thread.

        Args:
            guard: gives a context that is held while the folder is written to.
        """
        threading.Thread(target=self._work, args=(guard,), daemon=True).start()

    def stop(self) -> None:
        """End after the batch that is being done; what is done stays."""
        self._stop.set()

    def _work(self, guard: Callable[[], AbstractContextManager[object]]) -> None:
        try:
            with guard():
                self._segment()
            self.error = None
        except FcpError as error:
            self.error = str(error)
        finally:
            self.finished.set()

    def _segment(self) -> None:
        with self.engine.lock:
            fit_task(self.segmenter, self.task)
        self.results.appearance = decisions_of(self.segmenter)
        batches = segment_photos(
            self.segmenter, self.task, self.jobs, self.results, self.engine.batch
        )
        while not self.stopped:
            with self.engine.lock:
                records = next(batches, None)
            if records is None:
                return
            for record in records:
                self.small.keep(record, self.folder)
        batches.close()


def make_task(
    classes: Mapping[str, Sequence[Example]],
    negatives: Sequence[Example],
    *,
    tile: Tile,
    instances: bool,
    appearance: Appearances = "auto",
) -> Task:
    """Say what is looked for; every class gets an answer everywhere, and the slider decides."""
    return Task(
        classes, negatives, DEFAULT_FUSION, tile, instances, threshold=0, appearance=appearance
    )
