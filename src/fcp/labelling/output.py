"""The output folder: no file of the user is overwritten, and files of two runs are never mixed.

The ``results.json`` of a run lists its files with their hashes. All other files belong to the user,
and so does a file of the run that was changed since.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from fcp.errors import FcpError
from fcp.labelling.results import FILE_NAME, UNFINISHED, Record, Results, read_record
from fcp.labelling.task import Task
from fcp.system.files import PICTURE_SUFFIXES, remove_leftovers, sha256_of
from fcp.system.runs import PAGES

BOOKS = (FILE_NAME, UNFINISHED)  # files in which a run keeps its records
REPORT_FILE = "report.html"
_ANOTHER = "choose another --out"


@dataclass(frozen=True)
class Plan:
    """What a run will do with the files of an earlier run in its output folder.

    Attributes:
        own: Files of the earlier run, relative to the output folder; empty for none.
        goes_on: Whether the earlier run is continued, so that its files stay.
        changed: Names of changed settings, if its files are removed because of them.
    """

    own: Mapping[str, object] = field(default_factory=dict)
    goes_on: bool = False
    changed: list[str] = field(default_factory=list)


def page_file(name: str) -> str:
    """Return the file of a page as a picture of its own, relative to the output folder.

    The formats of other tools refer to pictures, and cannot name a page of a file.
    """
    return f"{PAGES}/{name}.png"


def is_page(file: Path, page: int | None, task: Task) -> bool:
    """Return whether a photo is more than its file's first picture, which other tools would open.

    Args:
        file: File of the photo.
        page: Page of the photo where pages are photos of their own, from 1; None elsewhere.
        task: Options by which the file is read.
    """
    # Imported here, because it loads numpy, which --help does not need.
    from fcp.data.decode import page_read

    if page is not None:
        return True
    with suppress(FcpError):  # segmenting it reports the error
        return page_read(file, task.decoding_of(None).page) > 1
    return False


def read_earlier(out: Path) -> Record | None:
    """Read the record of an earlier run in the output folder; None if there is none.

    Raises:
        FcpError: the folder holds files of the user, or a damaged ``results.json``.
    """
    if out.exists() and not out.is_dir():
        raise FcpError(f"{out}: cannot be written (is a file); {_ANOTHER}")
    earlier = read_record(out)
    if earlier is None:
        stranger = next(_visible_files(out), None)
        if stranger is not None:
            raise FcpError(f"{stranger}: not a file of an earlier run of fcp segment; {_ANOTHER}")
    return earlier


def differences(results: Results, earlier: Record) -> list[str]:
    """Return the names of settings that differ from the earlier run's; empty if none do."""
    if results.fingerprint == earlier.fingerprint:
        return []
    asked = {"model": results.model, **results.question}
    before = {"model": earlier.model, **earlier.question}
    parts = [name for name in asked if asked[name] != before.get(name)]
    return parts or ["the content of examples or model"]


def plan(
    results: Results, earlier: Record | None, *, resume: bool = False, overwrite: bool = False
) -> Plan:
    """Check that the output folder can take a run, and make the folders for its files.

    Nothing is removed, and no file is written: that is left to ``begin``, once it is sure that the
    run is possible.

    Args:
        results: Results of the new run, still without records.
        earlier: Record of the earlier run in the folder, or None.
        resume: Whether to continue the earlier run if its settings are the same, and to remove its
            files otherwise.
        overwrite: Whether to remove the files of the earlier run in any case.

    Raises:
        FcpError: a file of the user would be overwritten, another run's results without
            permission, or the folder cannot be written.
    """
    out = results.path.parent
    own = earlier.files if earlier is not None else {}
    for name in results.files:
        if name not in own and os.path.lexists(out / name):
            raise FcpError(f"{out / name}: not a file of an earlier run of fcp segment; {_ANOTHER}")
    parts = differences(results, earlier) if earlier is not None else []
    goes_on = earlier is not None and resume and not overwrite and not parts
    if earlier is not None:
        _refuse_changed(out, earlier, but_masks=goes_on)
        if earlier.results and not (resume or overwrite):  # a run that failed at once has none
            _refuse_mixing(results, earlier, parts)
    _make_folders(out, results.files)
    return Plan(own, goes_on, [] if goes_on else parts)


def begin(results: Results, planned: Plan) -> None:
    """Remove the files of the earlier run unless it goes on, and record the files to come.

    Args:
        results: Results of the new run; of a run that goes on, with the records taken over.
        planned: What ``plan`` has returned for them.

    Raises:
        FcpError: the folder cannot be written.
    """
    out, own, files = results.path.parent, planned.own, results.files
    remove_leftovers(out / name for name in (*own, *files))
    if planned.goes_on:
        # Without the hashes, so that files rewritten before a kill do not count as changed.
        results.files = dict.fromkeys([*files, *own])
        results.save()
        return
    results.files = {**dict.fromkeys(own), **files}
    # Before the new settings are written, under which its lines would count if this were killed.
    (out / UNFINISHED).unlink(missing_ok=True)
    results.save()
    _remove(out, own)
    _make_folders(out, files)
    results.files = files
    results.save()


def finish(results: Results) -> None:
    """Record the hashes of the run's files, once all are written."""
    out = results.path.parent
    known = {
        file: digest
        for record in results.pictures.values()
        for file, digest in (
            (record.mask, record.mask_sha256),
            (record.overlay, record.overlay_sha256),
        )
        if file is not None
    }
    results.files = {
        name: None if name in BOOKS else known.get(name) or sha256_of(out / name)
        for name in results.files
        if name in BOOKS or (out / name).is_file()
    }
    results.save()


def _refuse_mixing(results: Results, earlier: Record, parts: list[str]) -> None:
    out = results.path.parent
    remedy = f"remove them with --overwrite, or {_ANOTHER}"
    if parts:
        raise FcpError(
            f"{out}: holds the results of a run with other settings (different: "
            f"{', '.join(parts)}); {remedy}"
        )
    left = [name for name in earlier.files if name not in results.files and (out / name).exists()]
    if left:
        raise FcpError(
            f"{out}: holds results of other photos too, such as {left[0]}; keep them with "
            f"--resume, {remedy}"
        )


def _refuse_changed(out: Path, earlier: Record, *, but_masks: bool) -> None:
    """Refuse to go on if the user has changed a file of the run.

    Args:
        out: Output folder.
        earlier: Record of the run.
        but_masks: Whether to skip masks and overlays, which ``labelling.resume`` checks.
    """
    written = dict(earlier.files)
    for record in earlier.results:
        if record.mask is not None and record.overlay is not None:
            files = {record.mask: record.mask_sha256, record.overlay: record.overlay_sha256}
            for name, digest in files.items():
                written[name] = None if but_masks else digest
            if record.by_hand and not but_masks and (out / record.mask).is_file():
                raise was_changed(out / record.mask)
    for name, digest in written.items():
        path = out / name
        if digest is not None and path.is_file() and sha256_of(path) != digest and _is_whole(path):
            raise was_changed(path)


def was_changed(path: Path) -> FcpError:
    """Return the error about a file of a run that the user has changed since."""
    return FcpError(f"{path}: was changed after the run; move it away first, or {_ANOTHER}")


def _is_whole(path: Path) -> bool:
    """Return whether a file may be the user's work, and is not cut short or damaged."""
    from fcp.data.photos import read_photo

    if path.suffix in PICTURE_SUFFIXES:
        try:
            read_photo(path)
        except FcpError:
            return False
    return path.stat().st_size > 0


def _make_folders(out: Path, files: Mapping[str, object]) -> None:
    try:
        for folder in {(out / name).parent for name in files}:
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FcpError(f"{out}: cannot be written ({error.strerror}); {_ANOTHER}") from error
    if not os.access(out, os.W_OK):
        raise FcpError(f"{out}: cannot be written (no permission); {_ANOTHER}")


def _remove(out: Path, files: Mapping[str, object]) -> None:
    """Remove a run's files except its records, and folders that are empty then.

    Raises:
        FcpError: a file cannot be removed.
    """
    folders: set[Path] = set()
    for name in (name for name in files if name not in BOOKS):
        try:
            (out / name).unlink(missing_ok=True)
        except OSError as error:
            reason = f"cannot be removed ({error.strerror})"
            raise FcpError(f"{out / name}: {reason}; move it away, or {_ANOTHER}") from error
        folders.update((out / parent) for parent in Path(name).parents[:-1])
    for folder in sorted(folders, key=lambda folder: len(folder.parts), reverse=True):
        with suppress(OSError):  # not empty, or missing
            folder.rmdir()


def _visible_files(folder: Path) -> Iterator[Path]:
    """Yield all files in a folder and its subfolders, except those of the operating system."""
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and name not in ("Thumbs.db", "desktop.ini"):
                yield Path(parent, name)
