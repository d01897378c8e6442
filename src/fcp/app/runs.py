"""One run over a visitor's photos, in a thread of its own that a closed page cannot strand.

The model is loaded once and shared. Each run has its own examples; the model's lock is held while
it looks at one batch or one tile, and not while photos are read and masks made, so that runs of
several visitors take turns and no large photo keeps the others waiting.
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
from fcp.labelling.photos import Job, segment_photos
from fcp.labelling.results import PictureResult, Results
from fcp.labelling.task import Appearances, Task, Tile, fit_task
from fcp.system.memory import give_back_memory
from fcp.system.threads import set_threads

BATCH_ON_GPU = 8
UNEXPECTED = "the run failed unexpectedly; the terminal that runs the page says more"


class Queue:
    """A lock for what takes much memory, held in the order in which it was asked for.

    What one has freed goes back to the system before the next one begins.
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
        model: as ``FewShotSegmenter.from_pretrained`` takes it.
        device: likewise.
        threads: of the CPU; None to choose at each run (``fcp.system.threads``).

    Attributes:
        lock: is held while the model works; its segmenters see to that.
        large: is held by what takes much memory, so that only one thing does: a large photo, and
            the learning from examples.
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
        """Where it runs."""
        return str(self._first.device)

    def room_for(self, photo: Path) -> AbstractContextManager[object]:
        """Return what is to be held while a photo is in memory: a large one waits its turn."""
        return self.large if is_large(photo) else nullcontext()

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
        originals: photo → what the visitor calls it, where that is another name.

    Attributes:
        marked: these, whatever becomes of them in the visit.
        originals: photo → what the visitor calls it, with its folder; no two are alike.
        result_names: photo → stem of the files of a download that speak of it.
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
        set_threads(self.engine.threads)  # holds for this thread, and those begun after it
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
    """Return photo → a name that no other has, if possible its original one."""
    seen: set[str] = set()
    names = {}
    for photo, original in originals.items():
        name = original if original and original.casefold() not in seen else photo.name
        seen.add(name.casefold())
        names[str(photo)] = name
    return names


def _result_names(originals: Mapping[str, str]) -> dict[str, str]:
    """Return photo → a stem that no other has, of its name without folders where it can be."""
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
    """Say what is looked for; every class gets an answer everywhere, and the slider decides."""
    return Task(
        classes,
        negatives,
        tile=tile,
        instances=instances,
        threshold=0,
        appearance=appearance,
        decoding=decoding,
    )
