"""What every few-shot data set offers, and its pictures as things that are read only when asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from torch import Tensor

from fcp.data.transforms import mask_to_square, to_square

Split = Literal["train", "val"]


class FewShotDataset(Protocol):
    """Pictures with a mask for each class that they show. Cheap to copy, hashable.

    A fold's novel classes are tested and its base classes are trained on; the hold-out is what a
    checkpoint may be chosen by. Where there are no folds, ``fold`` is None.
    """

    @property
    def title(self) -> str:
        """Name for people and protocol cards."""

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
    """A picture that is read only when asked, so that a cache of features saves the reading too.

    Attributes:
        data: where it lies.
        id: its name in the data set.
        size: side S of the square that the model wants, px.
    """

    data: FewShotDataset
    id: str
    size: int

    def image(self) -> Tensor:
        """Read and squash it: (3, S, S) RGB in 0 … 1."""
        return to_square(self.data.image(self.id), self.size)


@dataclass(frozen=True)
class Example(Picture):
    """A support picture: it also has a mask, of the class ``class_id``."""

    class_id: int

    def mask(self) -> Tensor:
        """Read and squash its mask: (S, S), 0 or 1; pixels labelled 255 are not foreground."""
        return mask_to_square(self.data.class_mask(self.id, self.class_id), self.size)
