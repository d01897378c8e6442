"""One run over a visitor's photos, in a thread of its own that ends with the visit.

The model is loaded once and shared; each run has its own examples. The lock of the model is held
for one batch or one tile at a time, and not while photos are read and masks are made. So the runs
of several visitors take turns, and no large photo blocks the others.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from pathlib import Path, PurePosixPath

from fcp.app.marks import Marked
from fcp.app.small import Smaller
from fcp.app.uploads import LONGEST_STEM
from fcp.data.decode import Decoding
from fcp.data.photos import is_large
from fcp.errors import FcpError
from fcp.formats.examples import Example
from fcp.inference.segmenter import FewShotSegmenter
from fcp.labelling.photo_results import PictureResult
from fcp.labelling.photos import Job, segment_photos
from fcp.labelling.results import Results
from fcp.labelling.task import Appearances, Task, Tile, fit_task
from fcp.system.memory import give_back_memory
from fcp.system.threads import set_threads

BATCH_ON_GPU = 8
UNEXPECTED = "the run failed unexpectedly; see the terminal in which fcp app runs"


class Queue:
    """A first-come, first-served lock for work that takes much memory.

    Freed memory is given back to the system before the next holder begins.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[object] = deque()

    def __enter__(self) -> None:
        ticket = object()
        with self._changed:
            self._waiting.append(ticket)
            self._changed.wait_for(lambda: self._waiting[0] is ticket)

    def __exit__(self, *_: object) -> None:
        give_back_memory()
        with self._changed:
            self._waiting.popleft()
            self._changed.notify_all()


class Engine:
    """The model, shared by all visitors.

    Args:
        model: Model folder or name, see ``FewShotSegmenter.from_pretrained``.
        device: Device of the model, see ``FewShotSegmenter.from_pretrained``.
        threads: Number of CPU threads; None for a choice at each run (``fcp.system.threads``).

    Attributes:
        lock: Lock that the segmenters hold while the model works.
        large: Lock for work that takes much memory (a large photo, the encoding of examples), so
            that only one such task runs at a time.
    """

    def __init__(self, model: str, device: str, threads: int | None = None) -> None:
        self.name = model
        self.threads = threads
        self.lock = threading.Lock()
        self.large = Queue()
        self._first = FewShotSegmenter.from_pretrained(model, device=device)
        self._first.turn = self.lock
        self.batch = BATCH_ON_GPU if self._first.device.type == "cuda" else 1

    @property
    def device(self) -> str:
        """Name of the model's device."""
        return str(self._first.device)

    def room_for(self, photo: Path) -> AbstractContextManager[object]:
        """Return the context to hold while a photo is in memory; large photos wait in a queue."""
        return self.large if is_large(photo) else nullcontext()

    def segmenter(self) -> FewShotSegmenter:
        """Return a segmenter on the shared model, without examples."""
        return copy(self._first)


class PhotoRun:
    """Segmentation of photos into a folder of results; ``start`` returns at once.

    Args:
        engine: Model that all visitors share.
        task: Classes with their examples, and options.
        photos: Files to segment; their stems differ.
        folder: Folder for the results; created here.
        marked: The visitor's examples that the task consists of.
        originals: Photo → the visitor's name for it, where that differs from the file's.

    Attributes:
        marked: Examples of the run, even if the visitor removes some later.
        originals: Photo → the visitor's name for it, with its folder; no two are equal.
        result_names: Photo → stem of its files in a download.
        results: Results of the photos that are done.
        finished: Event that is set at the end, after success, error or cancelling.
        download: Last zip that was made of the results, or None.
        error: Reason why the run ended before the last photo, or None.
    """

    def __init__(
        self,
        engine: Engine,
        task: Task,
        photos: Sequence[Path],
        folder: Path,
        *,
        marked: Sequence[Marked] = (),
        originals: Mapping[Path, str] | None = None,
    ) -> None:
        for name in ("masks", "overlays", "small"):
            (folder / name).mkdir(parents=True)
        self.engine = engine
        self.task = task
        self.marked = tuple(marked)
        self.originals = _own_names({photo: (originals or {}).get(photo, "") for photo in photos})
        self.result_names = _result_names(self.originals)
        self.folder = folder
        self.jobs = [Job(photo, photo.stem) for photo in photos]
        self.results = Results(folder, model=engine.name, fingerprint="")
        self.small = Smaller(folder / "small", len(task.classes), task.decoding_of(None))
        self.segmenter = engine.segmenter()
        self.finished = threading.Event()
        self.download: Path | None = None
        self.error: str | None = UNEXPECTED  # until the run ends otherwise
        self._stop = threading.Event()
        self._started = time.monotonic()

    @property
    def done(self) -> int:
        """Number of photos done so far."""
        return len(self.results.pictures)

    @property
    def stopped(self) -> bool:
        """Whether the run was asked to end early."""
        return self._stop.is_set()

    def records(self) -> list[PictureResult]:
        """Return the results so far, in the photos' order."""
        return list(self.results.pictures.values())

    def seconds_left(self) -> float | None:
        """Estimate the remaining seconds; None before the first photo is done."""
        elapsed = time.monotonic() - self._started
        return elapsed / self.done * (len(self.jobs) - self.done) if self.done else None

    def start(self, guard: Callable[[], AbstractContextManager[object]]) -> None:
        """Start the run in a thread.

        Args:
            guard: Function that returns a context, held while the run uses its folder.
        """
        threading.Thread(target=self._work, args=(guard,), daemon=True).start()

    def stop(self) -> None:
        """End the run after the current batch; the results so far are kept."""
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
        set_threads(self.engine.threads)  # for this thread, and threads started after it
        with self.engine.large:
            self.results.appearance = fit_task(self.segmenter, self.task)
        batches = segment_photos(
            self.segmenter,
            self.task,
            self.jobs,
            self.results,
            self.engine.batch,
            large=self.engine.large,
        )
        while not self.stopped:
            records = next(batches, None)
            if records is None:
                return
            for record in records:
                with self.engine.room_for(Path(record.file)):
                    self.small.keep(record, self.folder)
        batches.close()


def _own_names(originals: Mapping[Path, str]) -> dict[str, str]:
    """Return photo → unique name: the original one, with a number if it is taken."""
    seen: set[str] = set()
    names = {}
    for photo, original in originals.items():
        whole, number = PurePosixPath(original or photo.name), 1
        name = str(whole)
        while name.casefold() in seen:
            number += 1
            name = str(whole.with_name(f"{whole.stem}_{number}{whole.suffix}"))
        seen.add(name.casefold())
        names[str(photo)] = name
    return names


def _result_names(originals: Mapping[str, str]) -> dict[str, str]:
    """Return photo → unique stem, that of its name without folders if possible."""
    seen: set[str] = set()
    names = {}
    for photo, original in originals.items():
        stem = PurePosixPath(original).stem
        if len(stem.encode()) > LONGEST_STEM or stem.casefold() in seen:
            stem = Path(photo).stem
        while stem.casefold() in seen:
            stem += "_2"
        seen.add(stem.casefold())
        names[photo] = stem
    return names


def make_task(
    classes: Mapping[str, Sequence[Example]],
    negatives: Sequence[Example],
    *,
    tile: Tile,
    instances: bool,
    appearance: Appearances = "auto",
    decoding: Decoding | None = None,
) -> Task:
    """Build the task of a run; threshold 0 gives every class a mask, and the slider decides."""
    return Task(
        classes,
        negatives,
        tile=tile,
        instances=instances,
        threshold=0,
        appearance=appearance,
        decoding=decoding,
    )
