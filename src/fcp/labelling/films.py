"""Films among the photos of a run: their frames' times, their memories, and overlaid videos."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fcp.errors import FcpError
from fcp.labelling.photo_results import PictureResult, name_of_result
from fcp.labelling.results import Results
from fcp.labelling.task import Task, pairs_of
from fcp.system.files import is_video, make_folder, natural

if TYPE_CHECKING:
    import numpy as np

    from fcp.inference.clip_memory import ClipMemory, Pair
    from fcp.inference.segmenter import FewShotSegmenter
    from fcp.inference.support import Support

RATE = 25  # frames a second of an overlaid film whose frames have no times


def film_of(name: str) -> str:
    """Return the name of a frame's film: CLIP of CLIP/00000."""
    return name.rpartition("/")[0]


def film_file(name: str) -> str:
    """Return the overlaid video of a frame's film, relative to the output folder."""
    return f"films/{film_of(name)}.mp4"


def is_frame(file: Path, task: Task) -> bool:
    """Return whether a photo's file makes it a frame of a film."""
    return task.frames or is_video(file)


def time_of(file: Path, page: int | None) -> float | None:
    """Return the time of a frame in its video, s; None if it is unknown, or no video's."""
    if page is None or not is_video(file):
        return None
    from fcp.data.video import read_clip

    try:
        return read_clip(file).times[page - 1]
    except (FcpError, IndexError):
        return None


class Films:
    """The supports of a run's photos: those of a film with memory grow with its frames.

    Args:
        segmenter: Segmenter fitted to the task.
        task: Classes with their examples, and options.
        results: Records of the run; frames that an earlier run finished are remembered too.
    """

    def __init__(self, segmenter: FewShotSegmenter, task: Task, results: Results) -> None:
        self._segmenter, self._task = segmenter, task
        self._film: str | None = None
        self._memory = None if task.memory == 0 else self._new_memory()
        self._out = results.path.parent
        self._done: dict[str, list[PictureResult]] = defaultdict(list)
        for record in results.pictures.values() if task.memory else ():
            if record.mask is not None and is_frame(Path(record.file), task):
                self._done[film_of(_name(record))].append(record)
        for records in self._done.values():
            records.sort(key=lambda record: natural(_name(record)), reverse=True)

    def support_of(self, file: Path, name: str) -> Support:
        """Return the support for a photo.

        Args:
            file: File of the photo.
            name: Name of its results.
        """
        if self._memory is None or not is_frame(file, self._task):
            return self._segmenter.fitted
        if film_of(name) != self._film:
            self._film, self._memory = film_of(name), self._new_memory()
        done = self._done[self._film]
        while done and natural(_name(done[-1])) < natural(name):
            record = done.pop()
            self._see(self._memory, record, partial(self._read, record))
        return self._memory.support

    def see(self, record: PictureResult, pixels: np.ndarray, labels: np.ndarray) -> None:
        """Remember a frame that has just been segmented, if it is sure; other photos are not.

        Args:
            record: Record of the photo.
            pixels: Pixels (h, w, 3) uint8 RGB.
            labels: Label map (h, w).
        """
        is_of_film = is_frame(Path(record.file), self._task)
        if self._memory is not None and is_of_film and film_of(_name(record)) == self._film:
            values = {name: value for value, name in enumerate(self._task.names, start=1)}
            self._see(self._memory, record, lambda name: (pixels, labels == values[name]))

    @staticmethod
    def _see(memory: ClipMemory, record: PictureResult, show: Callable[[str], Pair]) -> None:
        from fcp.inference.clip_memory import is_sure

        sure = {
            name: found.score
            for name, found in record.classes.items()
            if found.here and is_sure(found.score, found.presence)
        }
        memory.see(sure, show)

    def _read(self, record: PictureResult, name: str) -> Pair:
        """Read a finished frame with its mask of a class."""
        from fcp.data.photos import read_photo
        from fcp.labelling.export import read_back

        names = self._task.names
        photo, _ = read_photo(Path(record.file), self._task.decoding_of(record.page))
        labels, error = read_back(record, self._out, several=len(names) > 1)
        if labels is None:
            raise FcpError(f"{record.title}: its mask is gone ({error}); segment the film anew")
        return photo.pixels, photo.under(labels) == 1 + names.index(name)

    def _new_memory(self) -> ClipMemory:
        from fcp.inference.clip_memory import ClipMemory

        task = self._task
        pairs = {name: pairs_of(shown, task.decoding) for name, shown in task.classes.items()}
        return ClipMemory(self._segmenter, pairs, self._segmenter.fitted, task.memory)


def write_films(records: Sequence[PictureResult], task: Task, out: Path) -> None:
    """Write the overlays of each film as a video, with the frames' own times.

    Args:
        records: Records of the run, in any order: those of an earlier run come last, though their
            frames may be the first of the film.
        task: Task of the run.
        out: Output folder of the run.

    Raises:
        FcpError: PyAV is not installed, or a file cannot be written.
    """
    from fcp.data.video_writing import write_video

    films: dict[str, list[PictureResult]] = defaultdict(list)
    for record in records:
        # Of a frame that is not requested any more, the overlay may be gone.
        is_shown = record.overlay is not None and (out / record.overlay).is_file()
        if is_shown and is_frame(Path(record.file), task):
            films[film_file(_name(record))].append(record)
    for file, frames in films.items():
        frames.sort(key=lambda record: natural(_name(record)))
        make_folder((out / file).parent)
        write_video(out / file, _overlays(frames, out))


def _overlays(frames: Sequence[PictureResult], out: Path) -> Iterator[tuple[np.ndarray, float]]:
    """Yield the overlay of each frame with its time, s."""
    from fcp.data.images import read_image

    for number, record in enumerate(frames):
        if record.overlay is not None:
            time = number / RATE if record.time is None else record.time
            yield read_image(out / record.overlay), time


def _name(record: PictureResult) -> str:
    return name_of_result(record) or ""
