"""Places of the pictures and label masks of VOC 2012 + SBD, and how they are read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import ClassVar

import numpy as np

from fcp.config import IGNORE
from fcp.data.counts import count_areas
from fcp.data.dataset import ClassicRule, Split
from fcp.data.folds import ALL_PASCAL_IDS, PASCAL_CLASSES, base_classes, novel_classes
from fcp.data.images import read_image, read_labels, require_same_size
from fcp.errors import FcpError
from fcp.system.documents import read_text
from fcp.system.files import PICTURE_SUFFIXES

MIN_PIXELS = 2 * 32 * 32

POOL_FILE = "pascal5i.txt"  # the few-shot pool; without it the larger trainaug.txt is used


@dataclass(frozen=True)
class PascalVOC:
    """VOC 2012 with the masks of SegmentationClassAug, in its standard layout.

    Attributes:
        root: Data root; it holds ``VOC2012/`` with ``JPEGImages/``, ``SegmentationClassAug/`` and
            ``ImageSets/Segmentation/`` with ``val.txt`` and ``pascal5i.txt``, the few-shot pool, or
            ``trainaug.txt``.
        pool_file: Another list of the training pictures, one id a line, in the order to keep; None
            for the data root's own.
    """

    root: Path
    pool_file: Path | None = None
    title = "PASCAL-5i (VOC 2012, masks of VOC 2012 + SBD)"
    min_pixels = MIN_PIXELS
    folds = (0, 1, 2, 3)
    classic_rule: ClassVar[ClassicRule] = "row"

    def __post_init__(self) -> None:
        """Refuse a root that holds no VOC2012.

        Raises:
            FcpError: one of its folders is missing.
        """
        for name in ("JPEGImages", "SegmentationClassAug", "ImageSets/Segmentation"):
            if not (self._folder / name).is_dir():
                raise FcpError(
                    f"{self._folder / name}: no such folder; the data root must hold VOC2012/ "
                    "with JPEGImages/, SegmentationClassAug/ and ImageSets/Segmentation/"
                )

    @property
    def pool(self) -> str:
        """Name of the file that lists the training pictures."""
        return self.list_file("train").name

    @property
    def classes(self) -> Mapping[int, str]:
        """Class id 1 … 20 → VOC's name."""
        return dict(zip(ALL_PASCAL_IDS, PASCAL_CLASSES, strict=True))

    def novel(self, fold: int | None) -> tuple[int, ...]:
        """Return the five class ids that a fold tests; none for no fold.

        Raises:
            FcpError: no such fold.
        """
        return () if fold is None else novel_classes(fold)

    def base(self, fold: int | None) -> tuple[int, ...]:
        """Return the fifteen class ids that a fold trains on; all twenty for no fold."""
        return ALL_PASCAL_IDS if fold is None else base_classes(fold)

    def holdout(self, fold: int | None) -> tuple[int, ...]:
        """Return the base classes: the hold-out are val pictures that show no novel one."""
        return self.base(fold)

    def list_file(self, split: Split) -> Path:
        """Return the file that lists the pictures of a split."""
        folder = self._folder / "ImageSets/Segmentation"
        if split == "val":
            return folder / "val.txt"
        if self.pool_file is not None:
            return self.pool_file
        return folder / (POOL_FILE if (folder / POOL_FILE).is_file() else "trainaug.txt")

    def ids(self, split: Split) -> tuple[str, ...]:
        """Return the picture ids of a split: train as its file lists them, val sorted.

        Raises:
            FcpError: the list file is missing, empty, no text, or names a picture twice.
        """
        file = self.list_file(split)
        lines = read_text(file).splitlines()
        ids = tuple(_read_id(line, file) for line in lines if line.strip())
        if not ids:
            raise FcpError(f"{file}: expected one picture id a line, found none")
        if len(set(ids)) < len(ids):
            twice = Counter(ids).most_common(1)[0][0]
            raise FcpError(f"{file}: expected each picture id once, {twice} comes again")
        return ids if split == "train" else tuple(sorted(ids))

    def areas(self, split: Split) -> Mapping[str, Mapping[int, int]]:
        """Count the pixels of each class in the masks of a split, once per process.

        Raises:
            FcpError: a list or mask that cannot be read.
        """
        return _areas(self, split)

    def pixels(self, picture: str) -> Mapping[int, int]:
        """Count the pixels of each class in a picture's mask.

        Raises:
            FcpError: missing, damaged, a colour picture, or of another size than its photo.
        """
        counts = np.bincount(self.labels(picture).reshape(-1), minlength=IGNORE + 1)
        return {c: int(counts[c]) for c in ALL_PASCAL_IDS if counts[c]}

    def files(self, picture: str) -> tuple[Path, Path]:
        """Return a picture's photo and label mask."""
        return self.image_path(picture), self.mask_path(picture)

    def image_path(self, picture: str) -> Path:
        """Return where a picture's photo lies."""
        return self._folder / "JPEGImages" / f"{picture}.jpg"

    def mask_path(self, picture: str) -> Path:
        """Return where a picture's label mask lies."""
        return self._folder / "SegmentationClassAug" / f"{picture}.png"

    def image(self, picture: str) -> np.ndarray:
        """Read a photo: (H, W, 3) uint8 RGB.

        Raises:
            FcpError: missing or damaged.
        """
        return read_image(self.image_path(picture))

    def labels(self, picture: str) -> np.ndarray:
        """Read a label mask: (H, W) uint8 class ids, 0 background, 255 ignore.

        Lists can be made of masks alone: the sizes are compared only if the photo exists.

        Raises:
            FcpError: missing, damaged, a colour picture, or of another size than its photo.
        """
        path, photo = self.mask_path(picture), self.image_path(picture)
        labels = read_labels(path)
        if photo.is_file():
            require_same_size(path, labels.shape, photo)
        return labels

    def class_mask(self, picture: str, class_id: int) -> np.ndarray:
        """Read the mask of one class: (H, W) bool; ignored pixels are not foreground.

        Raises:
            FcpError: missing or damaged.
        """
        return self.labels(picture) == class_id

    def ignored(self, picture: str) -> np.ndarray:
        """Return the pixels (H, W) bool that are labelled 255."""
        return self.labels(picture) == IGNORE

    @property
    def _folder(self) -> Path:
        return self.root / "VOC2012"


def _read_id(line: str, file: Path) -> str:
    """Read an id; other programs write a photo and its mask, ``JPEGImages/X.jpg …/X.png``."""
    paths = [PurePosixPath(part) for part in line.split()]
    ids = {p.stem if p.suffix.lower() in PICTURE_SUFFIXES else str(p) for p in paths}
    if len(ids) > 1:
        raise FcpError(f"{file}: expected one picture id a line, got {line.strip()!r}")
    return ids.pop()


@lru_cache(maxsize=8)
def _areas(data: PascalVOC, split: Split) -> Mapping[str, Mapping[int, int]]:
    for picture in data.ids(split):
        if not data.mask_path(picture).is_file():
            mask = data.mask_path(picture)
            raise FcpError(f"{data.list_file(split)}: lists {picture}, but there is no {mask}")
    return count_areas(data, split)
