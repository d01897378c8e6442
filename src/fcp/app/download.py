"""Results of a run → zip in the format of a tool, without classes below the threshold."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fcp.app.drawn import drawn_on, names_with, put_over
from fcp.app.marks import Marked
from fcp.app.runs import PhotoRun
from fcp.app.threshold import is_here
from fcp.errors import FcpError
from fcp.formats import FORMATS
from fcp.formats.writer import Writer
from fcp.labelling.export import labelled, read_back
from fcp.labelling.photo_results import PictureResult
from fcp.labelling.results import Results

# Key of FORMATS → the words on the page.
TITLES: Mapping[str, str] = {
    "png": "PNG label maps",
    "coco": "COCO",
    "coco-polygons": "COCO with polygons",
    "yolo": "YOLO-seg",
    "labelme": "LabelMe",
    "label-studio": "Label Studio",
    "cvat": "CVAT",
    "davis": "DAVIS",
}
_PICTURES = {"yolo": "yolo/images"}  # where tools expect the photos; else photos/


def make_download(
    run: PhotoRun,
    kind: str,
    threshold: float,
    folder: Path,
    *,
    photos: bool = False,
    marked: Sequence[Marked] = (),
) -> Path:
    """Write the zip: the format's files, ``results.json`` and, if wanted, the photos.

    Args:
        run: Finished run.
        kind: Format, key of ``FORMATS``.
        threshold: Smallest presence (or score) of a class, 0 … 1; photos without such a class are
            left out.
        folder: New folder for the zip; created here.
        photos: Whether to include the photos.
        marked: The visitor's examples; drawings on a photo replace the model's result there.

    Returns:
        The zip, the only file left in the folder.

    Raises:
        FcpError: no class reaches the threshold, a photo was removed, or a file cannot be
            written; the folder is removed then.
    """
    drawn = drawn_on(run.records(), marked)
    corrected = _Corrected(run, names_with(run.task.names, drawn), drawn)
    kept = [cut for record in run.records() if (cut := _cut(corrected.record(record), threshold))]
    if not kept:
        raise FcpError("nothing to download: no class reaches the threshold in any photo; lower it")
    gone = next((r.file for r in kept if photos and not Path(r.file).is_file()), None)
    if gone is not None:
        raise FcpError(
            f"{gone}: was removed, so the download cannot include the photos; leave them out, "
            "or upload and run them again"
        )
    inside, file = folder / "inside", folder / f"fcp-{kind}.zip"
    try:
        (inside / "photos").mkdir(parents=True)
        _write(corrected, kept, kind, inside)
        _pack(inside, file, {r.file: _place(run, r, kind) for r in kept if photos})
    except (FcpError, OSError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, FcpError):
            raise
        raise FcpError(f"the download cannot be written ({error.strerror}); try again") from error
    shutil.rmtree(inside, ignore_errors=True)
    return file


def _place(run: PhotoRun, record: PictureResult, kind: str) -> str:
    """Return a photo's path in the zip; for YOLO it has the name of the label file."""
    if kind in _PICTURES:
        name = run.result_names[record.file]
        return f"{_PICTURES[kind]}/{name}{Path(record.file).suffix}"
    return f"photos/{run.originals[record.file]}"


def _pack(inside: Path, file: Path, photos: Mapping[str, str]) -> None:
    """Zip the files of a folder, and photos: file → path in the zip."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(inside.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(inside).as_posix())
        for photo, place in photos.items():
            archive.write(photo, place, compress_type=zipfile.ZIP_STORED)


def _cut(record: PictureResult, threshold: float) -> PictureResult | None:
    """Return a record with the present classes only, or None if there are none."""
    here = {name: found for name, found in record.classes.items() if is_here(found, threshold)}
    return replace(record, classes=here) if record.error is None and here else None


@dataclass(frozen=True)
class _Corrected:
    """The results of a run, corrected by the visitor's drawings.

    Attributes:
        run: Finished run.
        names: Classes in the order of their labels.
        drawn: Photo → drawings on it.
    """

    run: PhotoRun
    names: list[str]
    drawn: Mapping[str, Sequence[Marked]]

    def record(self, record: PictureResult) -> PictureResult:
        """Return the corrected record of a photo; without its mask, the record is unchanged."""
        drawn = self.drawn[record.file]
        if not drawn:
            return record
        with self.run.engine.room_for(Path(record.file)):
            labels = self._labels(record)
            return record if labels is None else put_over(record, labels, self.names, drawn)[0]

    def labels(self, record: PictureResult) -> np.ndarray | None:
        """Return the corrected label map (H, W) of a photo, or None if it is missing."""
        labels = self._labels(record)
        if labels is None:
            return None
        return put_over(record, labels, self.names, self.drawn[record.file])[1]

    def _labels(self, record: PictureResult) -> np.ndarray | None:
        several = len(self.run.task.names) > 1
        return read_back(record, self.run.folder, several=several)[0]


def _write(corrected: _Corrected, kept: list[PictureResult], kind: str, inside: Path) -> None:
    names = corrected.names
    results = Results(inside, model=corrected.run.engine.name, fingerprint="")
    with results, FORMATS[kind](inside, names) as writer:
        for record in kept:
            with corrected.run.engine.room_for(Path(record.file)):
                written = _give(writer, corrected, record, inside)
            if written:
                results.add([_public(record, corrected.run)])


def _give(writer: Writer, corrected: _Corrected, record: PictureResult, inside: Path) -> bool:
    """Give a photo to a writer; return False if its mask is missing."""
    labels = corrected.labels(record)
    if labels is None:
        return False
    # Its path in the zip, so that paths in the format's files are valid there.
    file = inside / "photos" / corrected.run.originals[record.file]
    picture = labelled(record, labels, corrected.names)
    writer.add(replace(picture, file=file, name=corrected.run.result_names[record.file]))
    return True


def _public(record: PictureResult, run: PhotoRun) -> PictureResult:
    """Return a record without paths and hashes that have no meaning outside the server."""
    bare = replace(record, mask=None, overlay=None, mask_sha256=None, overlay_sha256=None)
    return replace(bare, file=run.originals[record.file])
