"""What a run found → a zip in the format of a tool, without what the slider has cut off."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from fcp.app.presence import is_here
from fcp.app.runs import Run
from fcp.errors import FcpError
from fcp.formats import FORMATS
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
    run: Run, kind: str, threshold: float, folder: Path, *, photos: bool = False
) -> Path:
    """Write the zip: the format's files, ``results.json`` and, where wanted, the photos.

    Args:
        run: which is finished.
        kind: key of ``FORMATS``.
        threshold: classes below it are left out, and pictures with none above it.
        folder: for the zip and what goes into it; made here, must be new.
        photos: whether the pictures go into it.

    Returns:
        The zip, which is all that stays in the folder.

    Raises:
        FcpError: nothing is above the threshold, a photo was removed, or a file cannot be
            written; the folder is gone then.
    """
    kept = [cut for record in run.records() if (cut := _cut(record, threshold)) is not None]
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
        _write(run, kept, kind, inside)
        _pack(inside, file, {r.file: _PICTURES.get(kind, "photos") for r in kept if photos})
    except (FcpError, OSError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, FcpError):
            raise
        raise FcpError(f"the download cannot be written ({error.strerror}); try again") from error
    shutil.rmtree(inside, ignore_errors=True)
    return file


def _pack(inside: Path, file: Path, photos: Mapping[str, str]) -> None:
    """Zip a folder's files, and photos: file → where it goes."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(inside.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(inside).as_posix())
        for photo, place in photos.items():
            to = f"{place}/{Path(photo).name}"
            archive.write(photo, to, compress_type=zipfile.ZIP_STORED)


def _cut(record: PictureResult, threshold: float) -> PictureResult | None:
    """Leave the classes that count as there; None where none does."""
    here = {name: found for name, found in record.classes.items() if is_here(found, threshold)}
    return replace(record, classes=here) if record.error is None and here else None


def _write(run: Run, kept: list[PictureResult], kind: str, inside: Path) -> None:
    names = run.task.names
    results = Results(inside, model=run.engine.name, fingerprint="")
    with results, FORMATS[kind](inside, names) as writer:
        for record in kept:
            labels, _ = read_back(record, run.folder, several=len(names) > 1)
            if labels is None:
                continue
            # As it will lie in the zip, so that files name it by a path that holds there too.
            file = inside / "photos" / Path(record.file).name
            picture = labelled(record, labels, names)
            writer.add(replace(picture, file=file))
            results.add([_told(record)])


def _told(record: PictureResult) -> PictureResult:
    """Leave out what means nothing outside the server."""
    return replace(record, file=Path(record.file).name, mask=None, overlay=None)
