"""Records of an earlier run, and masks that a person has corrected since → records to keep."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from fcp.data.photos import read_photo
from fcp.errors import FcpError
from fcp.labelling.export import read_back
from fcp.labelling.photo_results import ClassResult, PictureResult, Source, name_of_result
from fcp.labelling.photos import Job, photo_hash, write_overlay
from fcp.labelling.results import Record, Results
from fcp.labelling.task import Task
from fcp.system.files import sha256_of


def known_results(photos: Iterable[Source], earlier: Record) -> dict[Source, PictureResult]:
    """Find the record of each photo, by its file or else by its content.

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
    by_content = {(one.sha256, one.page): one for one in known.values() if one.sha256}
    for file, page in unknown if by_content else ():
        record = by_content.pop((photo_hash(Path(file)) or "", page), None)
        if record is not None:
            found[file, page] = replace(known.pop(record.source), file=file)
    return found | known


def take_over(
    jobs: Sequence[Job], results: Results, known: Mapping[Source, PictureResult], task: Task
) -> list[Job]:
    """Take over the finished records, including those of photos that are not requested now.

    A mask that a person has corrected is kept; a damaged or missing mask is made again.

    Args:
        jobs: Jobs of all requested photos.
        results: Results of the run, which receive the records.
        known: Photo → earlier record, see ``known_results``.
        task: Classes with their examples, and options.

    Returns:
        The jobs that are left to do.

    Raises:
        FcpError: a mask was changed and is no longer a valid mask of its photo.
    """
    out = results.path.parent
    asked = {job.source: job for job in jobs}
    for photo, record in known.items():
        job = asked.get(photo) or _job_of(record)
        if job is None:
            continue
        gone = photo not in asked and not job.picture.exists() and (out / job.mask).is_file()
        kept = record if gone else _kept(record, job, out, task)
        if kept is not None:
            results.pictures[photo] = kept
    return [job for job in jobs if job.source not in results.pictures]


def _job_of(record: PictureResult) -> Job | None:
    name = name_of_result(record)
    return None if name is None else Job(Path(record.file), name, record.page)


def _kept(record: PictureResult, job: Job, out: Path, task: Task) -> PictureResult | None:
    """Return the record if its files are complete; None if the photo must be segmented."""
    mask, overlay = out / job.mask, out / job.overlay
    if record.error is not None or record.mask != job.mask or not mask.is_file():
        return None
    if sha256_of(mask) != record.mask_sha256:
        return _corrected(record, job, out, task)
    if record.sha256 != photo_hash(job.picture):
        if record.by_hand:
            raise FcpError(
                f"{job.picture}: has changed since its mask was corrected; move {mask} away"
            )
        return None
    whole = overlay.is_file() and sha256_of(overlay) == record.overlay_sha256
    return record if whole else None


def _corrected(record: PictureResult, job: Job, out: Path, task: Task) -> PictureResult | None:
    """Make a record for a mask that was changed since; None for a damaged mask."""
    mask, names = out / job.mask, task.names
    try:
        read_photo(mask)
    except FcpError:
        return None
    labels, error = read_back(record, out, several=len(names) > 1)
    photo, _ = read_photo(job.picture, task.decoding_of(job.page))
    if labels is not None and labels.shape != photo.size:
        error = "it has another size"
    elif labels is not None and labels.max() > len(names):
        error = f"no class has the value {labels.max()}"
    if labels is None or error is not None:
        reason = (error or "").removeprefix(f"{mask}: ")
        raise FcpError(
            f"{mask}: was changed and is no longer a valid mask of {record.title} ({reason}); "
            "correct it, or remove it to have it made again"
        )
    overlay = write_overlay(job, photo, labels, names, out)
    return replace(
        record,
        sha256=photo_hash(job.picture),
        classes={
            name: _drawn(labels == value, record.classes.get(name))
            for value, name in enumerate(names, start=1)
        },
        mask_sha256=sha256_of(mask),
        overlay_sha256=hashlib.sha256(overlay).hexdigest(),
    )


def _drawn(mask: np.ndarray, before: ClassResult | None) -> ClassResult:
    """Return the result of a class from the mask that a person has drawn."""
    here = float(mask.any())
    return ClassResult(
        score=here,
        area=round(float(mask.mean()), 6),
        area_px=int(mask.sum()),
        presence=here if before is not None and before.presence is not None else None,
        by_hand=True,
    )
