"""What an earlier run has finished, and what a person has corrected since → records to keep."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from fcp.data.photos import read_photo
from fcp.errors import FcpError
from fcp.files import sha256_of
from fcp.labelling.export import read_back
from fcp.labelling.photos import Job, photo_hash, write_overlay
from fcp.labelling.results import (
    ClassResult,
    PictureResult,
    Record,
    Results,
    Source,
    name_of_result,
)
from fcp.labelling.task import Task


def known_results(photos: Iterable[Source], earlier: Record) -> dict[Source, PictureResult]:
    """Find the record of each photo, by its file or else by its content.

    Args:
        photos: as they are asked for now, perhaps from another folder than before.
        earlier: the run that is gone on with.

    Returns:
        Photo → record, which names the file as it is asked for now; those of other photos follow.
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
    """Take over what is finished, of photos that are not asked for now too.

    A mask that a person has corrected is kept as it is. One that is damaged or gone is made again.

    Args:
        jobs: all photos that are asked for.
        results: of the run; get the records.
        known: see ``known_results``.
        task: what is looked for.

    Returns:
        The photos that are left to do.

    Raises:
        FcpError: a mask that was changed into something that is no mask of its photo.
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
    """Return the record where its files are whole; None where the photo is to be done."""
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
    """Make a record of a mask that is not the one that was written; None of a damaged one."""
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
        error = f"the value {labels.max()} is no class"
    if labels is None or error is not None:
        reason = (error or "").removeprefix(f"{mask}: ")
        raise FcpError(
            f"{mask}: was changed and is no mask of {record.title} now ({reason}); put it right, "
            "or remove it and it is made again"
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
    """Say of a class what a person has drawn of it."""
    here = float(mask.any())
    return ClassResult(
        score=here,
        area=round(float(mask.mean()), 6),
        area_px=int(mask.sum()),
        presence=here if before is not None and before.presence is not None else None,
        by_hand=True,
    )
