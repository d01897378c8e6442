"""Where the pictures and label masks of VOC 2012 + SBD lie, and how they are read; nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from fcp.data.images import read_image, read_labels
from fcp.errors import FcpError

IGNORE = 255
Split = Literal["train", "val"]

_LISTS: dict[Split, str] = {"train": "trainaug.txt", "val": "val.txt"}


@dataclass(frozen=True)
class PascalVOC:
    """VOC 2012 with the masks of SegmentationClassAug, in its standard layout.

    Attributes:
        root: the data root; it holds ``VOC2012/`` with ``JPEGImages/``, ``SegmentationClassAug/``
            and ``ImageSets/Segmentation/{trainaug,val}.txt``.
    """

    root: Path

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

    def ids(self, split: Split) -> tuple[str, ...]:
        """Return the picture ids of a split: train as its file lists them, val sorted.

        Raises:
            FcpError: the list file is missing, empty or names a picture twice.
        """
        file = self._folder / "ImageSets/Segmentation" / _LISTS[split]
        try:
            ids = tuple(file.read_text(encoding="utf-8").split())
        except OSError as error:
            raise FcpError(f"{file}: cannot be read ({error.strerror})") from error
        if not ids or len(set(ids)) < len(ids):
            raise FcpError(f"{file}: expected one picture id a line, each once")
        return ids if split == "train" else tuple(sorted(ids))

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

        Raises:
            FcpError: missing, damaged, or a colour picture.
        """
        return read_labels(self.mask_path(picture))

    def class_mask(self, picture: str, class_id: int) -> np.ndarray:
        """Read the mask of one class: (H, W) bool; ignored pixels are not foreground.

        Raises:
            FcpError: missing or damaged.
        """
        return self.labels(picture) == class_id

    @property
    def _folder(self) -> Path:
        return self.root / "VOC2012"
