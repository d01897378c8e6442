"""Records of an earlier run, and masks that a person has corrected since → records to keep."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from fcp.data.photos import read_photo
from fcp.errors import FcpError
from fcp.labelling.export import read_back
from fcp.labelling.objects import drawn_result
from fcp.labelling.output import was_changed
from fcp.labelling.photo_results import PictureResult, Source, name_of_result
from fcp.labelling.photos import Job, draw_overlay, photo_hash
from fcp.labelling.results import Record, Results
from fcp.labelling.task import Task
from fcp.system.files import sha256_of, write_atomically


def known_results(photos: Iterable[Source], earlier: Record) -> dict[Source, PictureResult]:
    """Find the record of each photo, by its file or else by its content.

    A photo of another path takes the record of the same content, if that one's own photo is gone
    or is this one, reached by a link; several take one record each.

    Args:
        photos: Requested photos, perhaps in another folder than before.
        earlier: Record of the run to continue.

    Returns:
        Photo → record with the file as requested now; records of other photos follow.
    """
    known = {record.source: record for record in earlier.results}
    found: dict[Source, PictureResult] = {}
    unknown = []
    for photo in photos:
        if photo in known:
            found[photo] = known.pop(photo)
        else:
            unknown.append(photo)
    by_content = _by_content(known.values()) if unknown else {}
    for file, page in unknown if by_content else ():
        same = by_content.get((photo_hash(Path(file)) or "", page), [])
        record = next((one for one in same if _is_free(one, Path(file))), None)
        if record is not None:
            same.remove(record)
            found[file, page] = replace(known.pop(record.source), file=file)
    return found | known


def _is_free(record: PictureResult, photo: Path) -> bool:
    """Return whether a record's photo is gone, or is this one."""
    own = Path(record.file)
    return not own.exists() or own.samefile(photo)


def _by_content(
    records: Iterable[PictureResult],
) -> dict[tuple[str, int | None], list[PictureResult]]:
    """Return hash and page of a photo → its records; those whose file is gone come first."""
    found = defaultdict(list)
    for record in sorted(records, key=lambda record: Path(record.file).exists()):
        if record.sha256:
            found[record.sha256, record.page].append(record)
    return found


def take_over(
    jobs: Sequence[Job], results: Results, known: Mapping[Source, PictureResult], task: Task
) -> list[Job]:
    """Take over the finished records, and those of photos that are not requested now.

    A mask that a person has corrected is kept; a damaged or missing file is made again.

    Args:
        jobs: Jobs of all requested photos.
        results: Results of the run, which receive the records.
        known: Photo → earlier record, see ``known_results``.
        task: Classes with their examples, and options.

    Returns:
        The jobs that are left to do.

    Raises:
        FcpError: a mask was changed and is no longer a valid mask of its photo, its photo was
            replaced, or an overlay was changed that would be drawn anew.
    """
    out = results.path.parent
    asked = {job.source: job for job in jobs}
    for photo, record in known.items():
        job = asked.get(photo)
        kept = _not_asked(record, out, task) if job is None else _kept(record, job, out, task)
        if kept is not None:
            results.pictures[photo] = kept
    return [job for job in jobs if job.source not in results.pictures]


def _not_asked(record: PictureResult, out: Path, task: Task) -> PictureResult | None:
    """Return the record of a photo that is not requested, as it is but for a corrected mask.

    None if neither the photo nor its mask is there any more.
    """
    name, picture = name_of_result(record), Path(record.file)
    mask = None if record.mask is None else out / record.mask
    if name is None or mask is None or not mask.is_file():
        return record if picture.exists() else None
    if record.error is not None or sha256_of(mask) == record.mask_sha256 or not _is_picture(mask):
        return record
    if picture.exists():
        return _corrected(record, Job(picture, name, record.page), out, task)
    return _by_hand(record, _labels_of(record, out, task), out, task)


def _kept(record: PictureResult, job: Job, out: Path, task: Task) -> PictureResult | None:
    """Return the record if its files are complete; None if the photo must be segmented."""
    mask, overlay = out / job.mask, out / job.overlay
    waits = record.error is not None and record.by_hand  # see _failed
    if (record.error is not None and not waits) or record.mask != job.mask:
        return None
    changed = mask.is_file() and sha256_of(mask) != record.mask_sha256
    usable = mask.is_file() and not (changed and not _is_picture(mask))
    same = record.sha256 == photo_hash(job.picture)
    whole = same and overlay.is_file() and sha256_of(overlay) == record.overlay_sha256
    if usable and (waits or changed or (record.by_hand and not whole)):
        return _corrected(record, job, out, task)
    _require_own(overlay, record.overlay_sha256)
    return record if usable and whole else None


def _require_own(overlay: Path, *known: str | None) -> None:
    """Refuse to draw an overlay anew that is neither of these hashes: it is the user's work.

    Raises:
        FcpError: it is such a picture; one that is damaged, or that no run has recorded, is not.
    """
    if None in known or not overlay.is_file() or sha256_of(overlay) in known:
        return
    if _is_picture(overlay):
        raise was_changed(overlay)


def _is_picture(file: Path) -> bool:
    """Return whether a file can be read; one that a full disk or a kill cut short cannot."""
    try:
        read_photo(file)
    except FcpError:
        return False
    return True


def _corrected(record: PictureResult, job: Job, out: Path, task: Task) -> PictureResult:
    """Make a record for a mask that a person has drawn, and draw its overlay.

    Raises:
        FcpError: the photo is another than the one whose mask was corrected, the mask is not valid,
            or the overlay was changed, too.
    """
    mask = out / job.mask
    try:
        photo, _ = read_photo(job.picture, task.decoding_of(job.page))
    except FcpError as error:
        return _failed(record, f"{error}; its corrected mask {mask} is kept", task)
    if record.sha256 != photo_hash(job.picture):
        raise FcpError(f"{job.picture}: has changed since its mask was corrected; move {mask} away")
    labels = _labels_of(record, out, task, photo.size)
    overlay = draw_overlay(photo, labels, task.names)
    digest = hashlib.sha256(overlay).hexdigest()
    # A run that was stopped before it wrote its records may have drawn this one already.
    _require_own(out / job.overlay, record.overlay_sha256, digest)
    write_atomically(out / job.overlay, overlay)
    return replace(_by_hand(record, labels, out, task), overlay_sha256=digest)


def _failed(record: PictureResult, error: str, task: Task) -> PictureResult:
    """Return the record of a photo that cannot be read now, though its mask was corrected.

    It still names the mask, as one drawn by hand, so that no run overwrites or removes it, and the
    next one takes it once the photo can be read.
    """
    nothing = np.zeros((1, 1), bool)
    classes = {
        name: drawn_result(nothing, record.classes.get(name), instances=task.instances)
        for name in task.names
    }
    return replace(record, classes=classes, error=error)


def _labels_of(
    record: PictureResult, out: Path, task: Task, size: tuple[int, int] | None = None
) -> np.ndarray:
    """Read a mask that a person has drawn.

    Args:
        record: Record of the photo.
        out: Output folder of the run.
        task: Task of the run.
        size: Size (H, W) of the photo; None if the photo is gone.

    Raises:
        FcpError: it is not a valid mask of the photo.
    """
    several = len(task.names) > 1
    labels, error = read_back(replace(record, error=None), out, several=several)
    if labels is not None and size not in (None, labels.shape):
        error = "it has another size"
    elif labels is not None and labels.max() > len(task.names):
        error = f"no class has the value {labels.max()}"
    if labels is None or error is not None:
        mask = out / (record.mask or "")
        reason = (error or "").removeprefix(f"{mask}: ")
        raise FcpError(
            f"{mask}: was changed and is no longer a valid mask of {record.title} ({reason}); "
            "correct it, or remove it to have it made again"
        )
    return labels


def _by_hand(record: PictureResult, labels: np.ndarray, out: Path, task: Task) -> PictureResult:
    """Return the record of a mask that a person has drawn, with its labels (H, W)."""
    classes = {
        name: drawn_result(labels == value, record.classes.get(name), instances=task.instances)
        for value, name in enumerate(task.names, start=1)
    }
    digest = sha256_of(out / (record.mask or ""))
    return replace(record, classes=classes, mask_sha256=digest, error=None)
