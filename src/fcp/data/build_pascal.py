"""VOC 2012 and SBD, as downloaded → ``VOC2012/`` with SegmentationClassAug and the lists.

Where both have a mask, VOC's is used, with its ignored border; the others come from SBD's ``.mat``
files. Downloads are read as streams, and files that are complete already are skipped.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from scipy.io import loadmat

from fcp.config import IGNORE
from fcp.data.archives import Built, Member, Progress, has_size, require_space, store, walk
from fcp.data.folds import ALL_PASCAL_IDS
from fcp.data.images import label_png, read_size
from fcp.data.pascal import POOL_FILE
from fcp.errors import FcpError

_PNG_END = b"IEND\xaeB`\x82"
_MASK_BYTES = 8192  # more than a palette PNG of this data set takes on the mean


@dataclass
class _Found:
    """Findings of the passes through the downloads so far."""

    voc: dict[str, list[str]] = field(default_factory=dict)  # list → ids
    sbd: dict[str, list[str]] = field(default_factory=dict)
    voc_masks: dict[str, int] = field(default_factory=dict)  # id → bytes
    photos: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def from_voc(self) -> set[str]:
        """Return the ids that need VOC's mask, even a missing one: SBD's has no ignored border."""
        return {*self.voc_masks, *(picture for ids in self.voc.values() for picture in ids)}

    def wanted(self) -> set[str]:
        """Return the ids of all lists."""
        lists = (*self.voc.values(), *self.sbd.values())
        return {picture for ids in lists for picture in ids}


def build_pascal(
    voc: Path, sbd: Path, out: Path, *, say: Callable[[str], None], progress: Progress
) -> Built:
    """Build the data set, or continue an interrupted build.

    Args:
        voc: VOCtrainval_11-May-2012.tar, or its unpacked folder.
        sbd: File benchmark.tgz, or its unpacked folder.
        out: Data root; ``VOC2012/`` is made in it.
        say: Function that takes the line on disk space before anything is written.
        progress: Function that is called after each file.

    Raises:
        FcpError: a download is missing, broken or of another data set; the disk is full. What was
            written stays, and the next run continues after it.
    """
    found = _Found()
    _index_voc(voc, found)
    _require(voc, found.voc, "ImageSets/Segmentation")
    if not found.voc_masks:
        raise FcpError(f"{voc}: no SegmentationClass/*.png; truncated, or another download")
    folder = out / "VOC2012"
    missing = {p: size for p, size in found.photos.items() if not has_size(_photo(folder, p), size)}
    say(require_space(out, sum(missing.values()) + _MASK_BYTES * len(missing)))
    _copy_masks(voc, folder, found, progress)
    _convert_masks(sbd, folder, found, progress)
    _require(sbd, found.sbd, "dataset")
    _copy_photos(voc, folder, found, progress)
    return _write_lists(folder, found)


def pool_ids(voc_train: list[str], voc_val: list[str], sbd_train: list[str]) -> list[str]:
    """Return the few-shot pool: SBD's train ids sorted, then VOC's not among them; no val id."""
    val, first = set(voc_val), set(sbd_train)
    return [*sorted(first - val), *sorted(set(voc_train) - first - val)]


def trainaug_ids(voc_train: list[str], voc_val: list[str], sbd: list[str]) -> list[str]:
    """Return the usual larger list, sorted: all of SBD and VOC's train ids; no val id."""
    return sorted({*sbd, *voc_train} - set(voc_val))


def read_sbd_mask(content: bytes) -> np.ndarray:
    """Read the label mask of a ``.mat`` of SBD's ``cls``.

    Returns:
        (H, W) uint8 class ids, 0 background.

    Raises:
        FcpError: damaged, or without ``GTcls.Segmentation``.
    """
    try:
        stream: Any = io.BytesIO(content)  # scipy's stubs allow only paths
        truth = loadmat(stream, variable_names=["GTcls"])["GTcls"][0][0]
        labels = np.asarray(truth["Segmentation"])
    except Exception as error:  # scipy raises many kinds on a damaged file
        raise FcpError(f"no readable GTcls.Segmentation ({error})") from error
    if labels.ndim != 2 or not np.isin(labels, (0, *ALL_PASCAL_IDS, IGNORE)).all():
        raise FcpError("expected class ids 0 … 20 as a matrix")
    return labels.astype(np.uint8)


def _voc_members(voc: Path) -> Iterator[Member]:
    """Go through VOC 2012 alone: a VOCdevkit may also hold the sets of other years."""
    for member in walk(voc):
        years = {part for part in member.path.parts if part.startswith("VOC20")}
        if years <= {"VOC2012"}:
            yield member


def _index_voc(voc: Path, found: _Found) -> None:
    for member in _voc_members(voc):
        path = member.path
        if path.parts[-3:-1] == ("ImageSets", "Segmentation") and path.stem in {"train", "val"}:
            found.voc[path.stem] = _ids(member)
        elif _is_in(path, "JPEGImages", ".jpg"):
            found.photos[path.stem] = member.size
        elif _is_in(path, "SegmentationClass", ".png"):
            found.voc_masks[path.stem] = member.size


def _copy_masks(voc: Path, folder: Path, found: _Found, progress: Progress) -> None:
    done = 0
    for member in _voc_members(voc):
        if _is_in(member.path, "SegmentationClass", ".png"):
            target = _mask(folder, member.path.stem)
            if not has_size(target, member.size):
                store(target, member.read)
            done += 1
            progress("masks of VOC", done, len(found.voc_masks))


def _convert_masks(sbd: Path, folder: Path, found: _Found, progress: Progress) -> None:
    from_voc = found.from_voc()
    done = 0
    for member in walk(sbd):
        path = member.path
        if path.parent.name in {"dataset", ""} and path.name in {"train.txt", "val.txt"}:
            found.sbd[path.stem] = _ids(member)
        elif _is_in(path, "cls", ".mat"):
            if path.stem not in from_voc:
                _convert(member, folder, found)
            done += 1
            progress("masks of SBD", done, None)


def _convert(member: Member, folder: Path, found: _Found) -> None:
    picture = member.path.stem
    target = _mask(folder, picture)
    if _is_whole_png(target):
        # The photos come last: where a build was stopped before them, only the mask is checked.
        photo = _photo(folder, picture)
        if not photo.is_file() or not any(_faults_of_size(photo, target)):
            return
    content = member.read()
    try:
        labels = read_sbd_mask(content)
    except FcpError as error:
        found.problems.append(f"{member.path}: {error}; left out")
        return
    store(target, lambda: label_png(labels))


def _copy_photos(voc: Path, folder: Path, found: _Found, progress: Progress) -> None:
    wanted = found.wanted()
    total = len(wanted & set(found.photos))
    done = 0
    for member in _voc_members(voc):
        if _is_in(member.path, "JPEGImages", ".jpg") and member.path.stem in wanted:
            target = _photo(folder, member.path.stem)
            if not has_size(target, member.size):
                store(target, member.read)
            done += 1
            progress("photos", done, total)


def _write_lists(folder: Path, found: _Found) -> Built:
    """Write the lists of the complete pictures, and report the incomplete ones."""
    named = " ".join(found.problems)
    complete, from_voc = set(), found.from_voc()
    for picture in sorted(found.wanted()):
        faults = list(_faults(picture, folder, found, from_voc))
        if not faults:
            complete.add(picture)
        mat = f"/{picture}.mat:"  # a file that could not be read is reported already
        new = [fault for fault in faults if mat not in fault or mat not in named]
        found.problems += [f"{fault}; left out" for fault in new]
    train, val, sbd = found.voc["train"], found.voc["val"], found.sbd
    lists = {
        "train.txt": train,
        "val.txt": val,
        "trainaug.txt": trainaug_ids(train, val, [*sbd["train"], *sbd["val"]]),
        POOL_FILE: pool_ids(train, val, sbd["train"]),
    }
    for name, ids in lists.items():
        text = "".join(f"{picture}\n" for picture in ids if picture in complete)
        store(folder / "ImageSets/Segmentation" / name, text.encode)
    return Built(len(complete), tuple(found.problems))


def _faults(picture: str, folder: Path, found: _Found, from_voc: set[str]) -> Iterator[str]:
    photo, mask = _photo(folder, picture), _mask(folder, picture)
    if not photo.is_file():
        yield f"JPEGImages/{picture}.jpg: not in the VOC download"
    if picture in from_voc and picture not in found.voc_masks:
        yield f"SegmentationClass/{picture}.png: not in the VOC download"
    elif not _is_whole_png(mask):
        yield f"dataset/cls/{picture}.mat: not in the SBD download"
    elif photo.is_file():
        yield from _faults_of_size(photo, mask)


def _faults_of_size(photo: Path, mask: Path) -> Iterator[str]:
    try:
        if read_size(mask) != read_size(photo):
            yield f"{mask}: not of its photo's size; download both again"
    except FcpError as error:
        yield str(error)


def _require(source: Path, lists: dict[str, list[str]], folder: str) -> None:
    for name in ("train", "val"):
        if not lists.get(name):
            raise FcpError(f"{source}: no {folder}/{name}.txt; truncated, or another download")


def _ids(member: Member) -> list[str]:
    ids = member.read().decode("utf-8", "replace").split()
    if not all(picture.replace("_", "").isalnum() for picture in ids):
        raise FcpError(f"{member.path}: expected one picture id a line")
    return ids


def _is_in(path: PurePosixPath, folder: str, suffix: str) -> bool:
    return path.parent.name == folder and path.suffix == suffix


def _is_whole_png(path: Path) -> bool:
    return path.is_file() and path.read_bytes().endswith(_PNG_END)


def _photo(folder: Path, picture: str) -> Path:
    return folder / "JPEGImages" / f"{picture}.jpg"


def _mask(folder: Path, picture: str) -> Path:
    return folder / "SegmentationClassAug" / f"{picture}.png"
