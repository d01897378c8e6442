"""The interface of every few-shot data set, and its pictures, which are read on demand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from torch import Tensor

from fcp.data.transforms import squash_truth, support_to_square, to_square

Split = Literal["train", "val"]
# First draw of the benchmark's classic sampler: a listed picture, or a class.
ClassicRule = Literal["row", "class"]


class FewShotDataset(Protocol):
    """Pictures with a mask for each class that they show. Cheap to copy, hashable.

    A fold's novel classes are for testing and its base classes for training; the hold-out classes
    are for choosing checkpoints. Where there are no folds, ``fold`` is None.
    """

    @property
    def title(self) -> str:
        """Name for people and protocol cards."""

    @property
    def pool(self) -> str:
        """Name of the list of training pictures, such as a file's name, for protocol cards."""

    @property
    def folds(self) -> tuple[int | None, ...]:
        """The folds whose mean is reported in tables; (None,) where there are none."""

    @property
    def classic_rule(self) -> ClassicRule:
        """First draw of this benchmark's classic sampler: a row or a class."""

    @property
    def classes(self) -> Mapping[int, str]:
        """Class id → name, ascending."""

    @property
    def min_pixels(self) -> int:
        """Pixels that a class must cover for its picture to be listed under it."""

    def novel(self, fold: int | None) -> tuple[int, ...]:
        """Return the class ids that a fold tests.

        Raises:
            FcpError: no such fold.
        """

    def base(self, fold: int | None) -> tuple[int, ...]:
        """Return the class ids that a fold trains on."""

    def holdout(self, fold: int | None) -> tuple[int, ...]:
        """Return the class ids, none of them novel, that checkpoints are compared on."""

    def ids(self, split: Split) -> tuple[str, ...]:
        """Return the picture ids of a split in source order."""

    def areas(self, split: Split) -> Mapping[str, Mapping[int, int]]:
        """Return, for each picture of a split in source order, class id → pixels (≥ 1)."""

    def pixels(self, picture: str) -> Mapping[int, int]:
        """Count the pixels of each class that a picture shows: class id → pixels (≥ 1).

        Raises:
            FcpError: missing or damaged.
        """

    def files(self, picture: str) -> tuple[Path, ...]:
        """Return the files that a picture is read from: its photo, then its mask if it has one."""

    def image_path(self, picture: str) -> Path:
        """Return where a picture's photo lies."""

    def image(self, picture: str) -> np.ndarray:
        """Read a photo: (H, W, 3) uint8 RGB.

        Raises:
            FcpError: missing or damaged.
        """

    def class_mask(self, picture: str, class_id: int) -> np.ndarray:
        """Read the mask of one class: (H, W) bool; ignored pixels are not foreground.

        Raises:
            FcpError: missing or damaged.
        """

    def ignored(self, picture: str) -> np.ndarray:
        """Return the pixels (H, W) bool whose truth is unknown: no score counts them."""


@dataclass(frozen=True)
class Picture:
    """A picture that is read on demand, so that a cache of features saves the reading too.

    Attributes:
        data: Data set that holds the picture.
        id: Name of the picture in the data set.
        size: Side S in px of the square that the model takes.
    """

    data: FewShotDataset
    id: str
    size: int

    def image(self) -> Tensor:
        """Read and squash it: (3, S, S) RGB in 0 … 1."""
        return to_square(self.data.image(self.id), self.size)


@dataclass(frozen=True)
class ClassExample(Picture):
    """A support picture: it also has a mask, of the class ``class_id``."""

    class_id: int

    def mask(self) -> Tensor:
        """Read and squash its mask: (S, S), 0 or 1; pixels labelled 255 are not foreground."""
        return support_to_square(self.data.class_mask(self.id, self.class_id), self.size)

    def truth(self) -> Tensor:
        """Return its mask (S, S) with 255 where the truth is unknown and the object is not."""
        wanted, ignored = self.data.class_mask(self.id, self.class_id), self.data.ignored(self.id)
        return squash_truth(wanted, ignored, self.size, never_empty=True)
