"""Results of a run over photos → files for other tools, and the report.

Both are made from the masks and records on disk, after the last photo, so that a resumed run gives
the same files as an uninterrupted one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from fcp.data.images import read_image
from fcp.data.own_labels import read_own_labels, read_own_mask
from fcp.data.photos import Photo, read_photo
from fcp.errors import FcpError
from fcp.formats.records import LabelledObject, LabelledPicture
from fcp.formats.writer import Writer
from fcp.labelling.objects import piece_of
from fcp.labelling.output import REPORT_FILE, is_page, page_file
from fcp.labelling.photo_results import ClassResult, PictureResult, name_of_result
from fcp.labelling.task import Task
from fcp.report.entries import ReportClass, ReportPicture
from fcp.report.thumbnails import class_thumbnail
from fcp.report.write import write_report
from fcp.system.files import write_beside
from fcp.system.words import counted
from fcp.visualize import Colour, class_colours, encode


def export(
    records: Sequence[PictureResult],
    out: Path,
    task: Task,
    *,
    writers: Sequence[Writer],
    facts: Mapping[str, str],
) -> None:
    """Pass each picture to the writers and to the report, one at a time.

    Args:
        records: Records of the run.
        out: Output folder of the run.
        task: Task of the run.
        writers: Writers of other tools' files; the caller closes them.
        facts: Facts about the run for the report, name → value.

    Raises:
        FcpError: a file cannot be written.
    """
    colours: Mapping[str, Colour] = class_colours(task.names)
    shown = _exported(records, out, task, writers)
    title = f"{', '.join(task.names)} in {counted(len(records), 'photo')}"
    write_report(out / REPORT_FILE, shown, title=title, facts=facts, colours=colours)


def _exported(
    records: Sequence[PictureResult], out: Path, task: Task, writers: Sequence[Writer]
) -> Iterator[ReportPicture]:
    """Yield each picture for the report, after passing it to the writers."""
    names, colours = task.names, list(class_colours(task.names).values())
    for record in records:
        labels, error = read_back(record, out, several=len(names) > 1)
        if labels is None:
            yield ReportPicture(record.title, None, (), record.seconds, error)
            continue
        photo = _photo(record, labels, task)
        if writers:
            _write(writers, record, labels, out, task, is_there=photo is not None)
        yield ReportPicture(
            file=record.title,
            thumbnail=None if photo is None else _thumbnail(photo, labels, colours),
            classes=tuple(_shown(name, record.classes[name]) for name in names),
            seconds=record.seconds,
            error=None,
            size=(labels.shape[0], labels.shape[1]),
        )


def _photo(record: PictureResult, labels: np.ndarray, task: Task) -> Photo | None:
    """Read a photo; None if it is missing or has another size now. Its result stays valid."""
    try:
        photo, _ = read_photo(Path(record.file), task.decoding_of(record.page))
    except FcpError:
        return None
    return photo if photo.size == labels.shape else None


def _thumbnail(photo: Photo, labels: np.ndarray, colours: Sequence[Colour]) -> bytes:
    return class_thumbnail(photo.pixels, photo.under(labels), colours)


def _write(
    writers: Sequence[Writer],
    record: PictureResult,
    labels: np.ndarray,
    out: Path,
    task: Task,
    *,
    is_there: bool,
) -> None:
    """Pass a picture to the writers; a page is written as a picture of its own first."""
    picture = labelled(record, labels, task.names)
    if is_page(Path(record.file), record.page, task):
        picture = replace(picture, file=out / page_file(picture.name))
        if is_there and any(writer.needs_pictures for writer in writers):
            page = read_image(Path(record.file), task.decoding_of(record.page))
            write_beside(picture.file, encode(page, "png"))
    for writer in writers:
        writer.add(picture)


def read_back(
    record: PictureResult, out: Path, *, several: bool
) -> tuple[np.ndarray | None, str | None]:
    """Read the label map of a photo.

    Args:
        record: Record of the photo.
        out: Output folder of the run.
        several: Whether the run has several classes; the map of one class is stored as 0 and 255.

    Returns:
        (H, W) labels and None, or None and the reason.
    """
    if record.mask is None or record.error is not None:
        return None, record.error
    mask = out / record.mask
    try:
        if several:
            return read_own_labels(mask), None
        return read_own_mask(mask).view(np.uint8), None
    except FcpError as error:  # the user removed it; the other pictures are still shown
        return None, str(error)


def labelled(record: PictureResult, labels: np.ndarray, names: Sequence[str]) -> LabelledPicture:
    """Return a picture with its objects, as the writers expect it.

    Args:
        record: Record of the picture; classes missing in it are left out.
        labels: Label map of the picture, (H, W).
        names: Classes in the order of their labels.
    """
    objects = [
        found
        for label, name in enumerate(names, start=1)
        if name in record.classes
        for found in _objects(name, labels == label, record.classes[name])
    ]
    name = name_of_result(record) or Path(record.file).stem
    height, width = labels.shape
    return LabelledPicture(Path(record.file), name, (height, width), tuple(objects))


def _objects(name: str, mask: np.ndarray, found: ClassResult) -> Iterator[LabelledObject]:
    """Yield the objects of a class if they are recorded, else its whole mask."""
    if found.objects is None:
        score = None if found.by_hand else found.score
        yield LabelledObject(name, mask, score, by_hand=found.by_hand)
        return
    for one in found.objects:
        score = None if found.by_hand else one.score
        yield LabelledObject(name, piece_of(one, mask.shape), score, by_hand=found.by_hand)


def _shown(name: str, found: ClassResult) -> ReportClass:
    area, area_px = found.area, found.area_px
    return ReportClass(
        name, found.score, found.presence, here=found.here, area=area, area_px=area_px
    )
