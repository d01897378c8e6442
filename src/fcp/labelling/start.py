"""The start of a run over photos: request → records, and photos left to do."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING

from fcp.errors import FcpError
from fcp.labelling.films import film_file, is_frame
from fcp.labelling.output import (
    BOOKS,
    REPORT_FILE,
    Plan,
    begin,
    differences,
    is_page,
    page_file,
    plan,
    read_earlier,
)
from fcp.labelling.photo_results import PictureResult, Source, name_of_result
from fcp.labelling.photos import Job, forget_hashes
from fcp.labelling.queries import Photos, find_photos, name_results, sort_frames, split_pages
from fcp.labelling.results import Record, Results
from fcp.labelling.task import Task
from fcp.system.files import sha256_of

if TYPE_CHECKING:
    import numpy as np

    from fcp.data.prompts import Mark, Points
    from fcp.formats.writer import Writer


@dataclass(frozen=True)
class Request:
    """Photos to label, output folder and task; paths may be given as text.

    Attributes:
        paths: Folders and files with photos.
        out: Output folder; created if missing, and never mixed with other files of the user.
        task: Classes with their examples, and options.
        model: Name of a shipped model, model folder or hub id.
        writers: Classes of ``fcp.formats.FORMATS`` that write files for other tools.
        recursive: Whether to search subfolders.
        resume: Whether to continue an earlier run in the output folder, if there is one.
        overwrite: Whether to remove the files of an earlier run first.
        overlay_video: Whether the overlays of each film become a video too.
        masks: Masks that are no photos, beside those of the task's examples, such as
            ``fcp.formats.contents.masks_in`` finds.
    """

    paths: Sequence[Path]
    out: Path
    task: Task
    model: str
    writers: Sequence[type[Writer]] = ()
    recursive: bool = True
    resume: bool = False
    overwrite: bool = False
    overlay_video: bool = False
    masks: Collection[Path] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "paths", _paths("paths", self.paths))
        object.__setattr__(self, "out", _path("out", self.out))
        object.__setattr__(self, "masks", _paths("masks", self.masks))


@dataclass(frozen=True)
class Start:
    """A run that is ready to begin.

    Attributes:
        results: Results of the run, with the records that an earlier run has finished.
        jobs: Jobs of all photos.
        waiting: Jobs that are left to do.
        plan: What ``begin`` will do with the files of an earlier run.
    """

    results: Results
    jobs: list[Job]
    waiting: list[Job]
    plan: Plan

    @property
    def changed(self) -> list[str]:
        """Names of settings that differ from those of an earlier run, whose results go for that."""
        return self.plan.changed

    @property
    def stale(self) -> list[str]:
        """Files and folders for other tools that an earlier run wrote and this one leaves as is.

        Empty if this run changes no result.
        """
        records = self.results.pictures.values()
        if not self.plan.goes_on or not (self.waiting or any(one.by_hand for one in records)):
            return []
        renewed = {_top(name) for name in self.results.files} | {"masks/", "overlays/"}
        return sorted({_top(name) for name in self.plan.own} - renewed)

    def begin(self) -> None:
        """Remove the results of an earlier run unless it goes on, and record the files to come.

        Raises:
            FcpError: the output folder cannot be written.
        """
        begin(self.results, self.plan)


def start_run(request: Request, device: str) -> Start:
    """Find the photos and check the output folder, in which no result is removed yet.

    Args:
        request: Photos, output folder, model and task.
        device: Device that plain ``free`` is chosen for.

    Raises:
        FcpError: an option of the task is no number, a class name no text, no photo was found, or
            files in the output folder would be overwritten or mixed.
    """
    # Imported here: it loads the formats, which ``--help`` does without.
    from fcp.formats.writer import require_text

    task, out = request.task, request.out
    forget_hashes()
    _require_numbers(task)
    for name in task.names:
        require_text(name)
    earlier = read_earlier(out)
    photos = _find(request, earlier)
    fingerprint = _fingerprint(request.model, task, device)
    results = Results(out, model=request.model, fingerprint=fingerprint, question=task.settings())
    known = _known(request, photos, results, earlier)
    name_results(photos, request.paths, _names(known), frames=task.frames)
    results.folder, results.left_out = str(Path.cwd()), photos.left_out
    results.renamed = list(dict.fromkeys(map(str, photos.renamed)))
    results.files = dict.fromkeys(sorted(_files_to_come(request, photos)))
    planned = plan(results, earlier, resume=request.resume, overwrite=request.overwrite)
    jobs = [
        Job(file, name, page)
        for file, name, page in zip(photos.files, photos.names, photos.pages, strict=True)
    ]
    waiting = jobs
    if earlier is not None and planned.goes_on:
        # Imported here: it loads picture readers, which a new run needs only later.
        from fcp.labelling.resume import take_over

        waiting = take_over(jobs, results, known, task)
        results.examples, results.used = earlier.examples, earlier.used
        results.seconds, results.appearance = earlier.seconds, earlier.appearance
    return Start(results, jobs, waiting, planned)


def _paths(name: str, given: object) -> list[Path]:
    """Return folders and files as paths; a text by itself would be a list of its letters.

    Raises:
        FcpError: no list, or one of something else.
    """
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise FcpError(f"{name}: expected a list of folders and files, got {given!r}; put it in []")
    return [_path(name, one) for one in given]


def _path(name: str, given: object) -> Path:
    if isinstance(given, str | Path) and given != "":
        return Path(given)
    raise FcpError(f"{name}: expected the path of a folder or file, got {given!r}")


def _top(name: str) -> str:
    """Return a file's name, or the folder at the top of its path, with a slash."""
    top, slash, _ = name.partition("/")
    return top + slash


def _require_numbers(task: Task) -> None:
    """Refuse infinity and "not a number", which no record can hold."""
    for name in ("threshold", "min_area", "min_score"):
        value = getattr(task, name)
        if value is not None and not (isinstance(value, Real) and isfinite(value)):
            option = name.replace("_", "-")
            raise FcpError(
                f"--{option}: expected a number, got {value!r}; leave it out, or give one"
            )


def _find(request: Request, earlier: Record | None) -> Photos:
    out, task = request.out, request.task
    own = [out / name for name in (earlier.files if earlier is not None else BOOKS)]
    shown = [example for examples in task.classes.values() for example in examples]
    masks = {file for one in (*shown, *task.negatives) for file in one.sources}
    masks |= set(request.masks)
    photos = find_photos(request.paths, recursive=request.recursive, own=own, masks=masks, out=out)
    if task.frames:
        sort_frames(photos)
    split_pages(photos, every_page=task.every_page)
    if task.memory or request.overlay_video:
        _check_films(photos, task)
    return photos


def _check_films(photos: Photos, task: Task) -> None:
    """Refuse options of films for photos alone, on which they would have no effect."""
    if not any(is_frame(file, task) for file in photos.files):
        raise FcpError(
            "--memory and --overlay-video: for films alone, and --query names none; with --frames"
            " the photos of a folder are the frames of a film"
        )


def _known(
    request: Request, photos: Photos, results: Results, earlier: Record | None
) -> Mapping[Source, PictureResult]:
    """Return the records of an earlier run that the new run continues."""
    if not request.resume or request.overwrite or earlier is None or differences(results, earlier):
        return {}
    from fcp.labelling.resume import known_results

    return known_results(photos.sources, earlier)


def _names(known: Mapping[Source, PictureResult]) -> dict[Source, str]:
    named = ((photo, name_of_result(record)) for photo, record in known.items())
    return {photo: name for photo, name in named if name is not None}


def _files_to_come(request: Request, photos: Photos) -> set[str]:
    names = photos.names
    files = {*BOOKS, REPORT_FILE}
    if len(request.task.names) > 1:
        files.add("masks/classes.txt")
    files.update(f"masks/{name}.png" for name in names)
    files.update(f"overlays/{name}.jpg" for name in names)
    if any(writer.needs_pictures for writer in request.writers):
        sources = zip(names, photos.files, photos.pages, strict=True)
        files.update(page_file(n) for n, file, page in sources if is_page(file, page, request.task))
    for writer in request.writers:
        files.update(writer.files_of(names))
    if request.overlay_video:
        named = zip(photos.files, names, strict=True)
        files.update(film_file(name) for file, name in named if is_frame(file, request.task))
    return files


def _fingerprint(model: str, task: Task, device: str) -> str:
    """Hash all that determines the results: model files, examples and settings."""
    from fcp.models.loading import model_fingerprint

    how = {**task.settings(), "classes": task.names, "negatives": None}
    digest = hashlib.sha256(f"{how!r} {model_fingerprint(model, device)}".encode())
    # Names tell where a class ends; the count, how many of the examples are negatives.
    negatives = f"{len(task.negatives)} negatives" if task.negatives else ""
    for name, examples in (*task.classes.items(), (negatives, task.negatives)):
        digest.update(name.encode())
        for example in examples:
            digest.update(_hash_of(example.picture) + _hash_of(example.given))
    return digest.hexdigest()


def _hash_of(part: Path | np.ndarray | Points | tuple[Mark, ...]) -> bytes:
    """Return bytes that identify a picture, a mask or marks."""
    from fcp.data.prompts import Points

    if isinstance(part, Path):
        return sha256_of(part).encode()
    if isinstance(part, Points | tuple):
        return repr(part).encode()
    return repr(part.shape).encode() + part.tobytes()
