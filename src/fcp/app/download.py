"""What a run found → a zip in the format of a tool, without what the slider has cut off."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fcp.app.drawn import drawn_on, names_with, put_over
from fcp.app.marks import Marked
from fcp.app.presence import is_here
from fcp.app.runs import Run
from fcp.errors import FcpError
from fcp.formats import FORMATS
from fcp.formats.writer import Writer
from fcp.labelling.export import labelled, read_back
from fcp.labelling.results import PictureResult, Results

# Key of FORMATS → the words on the page.
TITLES: Mapping[str, str] = {
    "png": "PNG label maps",
    "coco": "COCO",
    "coco-polygons": "COCO with polygons",
    "yolo": "YOLO-seg",
    "labelme": "LabelMe",
    "label-studio": "Label Studio",
    "cvat": "CVAT",
}
_PICTURES = {"yolo": "yolo/images"}  # where tools look for the pictures; else in photos/


def make_download(
    run: Run,
    kind: str,
    threshold: float,
    folder: Path,
    *,
    photos: bool = False,
    marked: Sequence[Marked] = (),
) -> Path:
    """Write the zip: the format's files, ``results.json`` and, where wanted, the photos.

    Args:
        run: which is finished.
        kind: key of ``FORMATS``.
        threshold: classes below it are left out, and pictures with none above it.
        folder: for the zip and what goes into it; made here, must be new.
        photos: whether the pictures go into it.
        marked: the visitor's examples: what was drawn on a photo replaces what was found there.

    Returns:
        The zip, which is all that stays in the folder.

    Raises:
        FcpError: nothing is above the threshold, a photo was removed, or a file cannot be
            written; the folder is gone then.
    """
    drawn = drawn_on(run.records(), marked)
    found = _Found(run, names_with(run.task.names, drawn), drawn)
    kept = [cut for record in run.records() if (cut := _cut(found.told(record), threshold))]
    if not kept:
        raise FcpError("nothing to download: no class is above the slider in any photo")
    gone = next((r.file for r in kept if photos and not Path(r.file).is_file()), None)
    if gone is not None:
        raise FcpError(
            f"{gone}: was removed, so the photos cannot be in the download; make it without them, "
            "or load and run them again"
        )
    inside, file = folder / "inside", folder / f"fcp-{kind}.zip"
    try:
        (inside / "photos").mkdir(parents=True)
        _write(found, kept, kind, inside)
        _pack(inside, file, {r.file: _place(run, r, kind) for r in kept if photos})
    except (FcpError, OSError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, FcpError):
            raise
        raise FcpError(f"the download cannot be written ({error.strerror}); try again") from error
    shutil.rmtree(inside, ignore_errors=True)
    return file


def _place(run: Run, record: PictureResult, kind: str) -> str:
    """Return a photo's place in the zip: under its own name, or that of its YOLO file."""
    if kind in _PICTURES:
        name = run.result_names[record.file]
        return f"{_PICTURES[kind]}/{name}{Path(record.file).suffix}"
    return f"photos/{run.originals[record.file]}"


def _pack(inside: Path, file: Path, photos: Mapping[str, str]) -> None:
    """Zip a folder's files, and photos: file → where it goes."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(inside.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(inside).as_posix())
        for photo, place in photos.items():
            archive.write(photo, place, compress_type=zipfile.ZIP_STORED)


def _cut(record: PictureResult, threshold: float) -> PictureResult | None:
    """Leave the classes that count as there; None where none does."""
    here = {name: found for name, found in record.classes.items() if is_here(found, threshold)}
    return replace(record, classes=here) if record.error is None and here else None


@dataclass(frozen=True)
class _Found:
    """What a run found, under what the visitor drew.

    Attributes:
        run: which is finished.
        names: the classes, in the order of their labels.
        drawn: photo → what was drawn on it.
    """

    run: Run
    names: list[str]
    drawn: Mapping[str, Sequence[Marked]]

    def told(self, record: PictureResult) -> PictureResult:
        """Return a photo's record; one whose mask is gone stays as it is."""
        drawn = self.drawn[record.file]
        if not drawn:
            return record
        with self.run.engine.room_for(Path(record.file)):
            labels = self._labels(record)
            return record if labels is None else put_over(record, labels, self.names, drawn)[0]

    def labels(self, record: PictureResult) -> np.ndarray | None:
        """Return a photo's label map (H, W), or None where it is gone."""
        labels = self._labels(record)
        if labels is None:
            return None
        return put_over(record, labels, self.names, self.drawn[record.file])[1]

    def _labels(self, record: PictureResult) -> np.ndarray | None:
        several = len(self.run.task.names) > 1
        return read_back(record, self.run.folder, several=several)[0]


def _write(found: _Found, kept: list[PictureResult], kind: str, inside: Path) -> None:
    names = found.names
    results = Results(inside, model=found.run.engine.name, fingerprint="")
    with results, FORMATS[kind](inside, names) as writer:
        for record in kept:
            with found.run.engine.room_for(Path(record.file)):
                is_told = _give(writer, found, record, inside)
            if is_told:
                results.add([_told(record, found.run)])


def _give(writer: Writer, found: _Found, record: PictureResult, inside: Path) -> bool:
    """Give a photo to a writer; False where its mask is gone."""
    labels = found.labels(record)
    if labels is None:
        return False
    # As it will lie in the zip, so that files name it by a path that holds there too.
    file = inside / "photos" / found.run.originals[record.file]
    picture = labelled(record, labels, found.names)
    writer.add(replace(picture, file=file, name=found.run.result_names[record.file]))
    return True


def _told(record: PictureResult, run: Run) -> PictureResult:
    """Leave out what means nothing outside the server."""
    bare = replace(record, mask=None, overlay=None, mask_sha256=None, overlay_sha256=None)
    return replace(bare, file=run.originals[record.file])
