"""The objects found in a picture, in the form that the writers take."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from pathlib import Path

import numpy as np

from fcp.data.pieces import Piece


@dataclass(frozen=True, eq=False)
class LabelledObject:
    """An object that was found; several may be of one class and may overlap.

    Attributes:
        class_name: Name of its class, not empty.
        drawn: Mask (H, W) bool, or a piece of a mask; an empty one is not written.
        score: Score 0 … 1, or None if there is none.
        by_hand: Whether a person has drawn or corrected it.
    """

    class_name: str
    drawn: np.ndarray | Piece
    score: float | None = None
    by_hand: bool = False

    def __post_init__(self) -> None:
        """Refuse objects that no format can hold."""
        if not self.class_name:
            raise ValueError("LabelledObject: the class has no name")
        mask = self.drawn.mask if isinstance(self.drawn, Piece) else self.drawn
        if mask.ndim != 2 or mask.dtype != bool:
            raise ValueError(f"LabelledObject: {mask.dtype} {mask.shape} is no mask")
        if self.score is not None and not isfinite(self.score):
            raise ValueError(f"LabelledObject: the score {self.score} is no number")
        if self.score is not None:  # JSON has no numbers of numpy
            object.__setattr__(self, "score", float(self.score))

    @property
    def mask(self) -> np.ndarray:
        """(H, W) bool; of a piece it is made at each call, so that hundreds take no memory."""
        return self.drawn.full_mask() if isinstance(self.drawn, Piece) else self.drawn

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        if isinstance(self.drawn, Piece):
            return self.drawn.size
        return self.drawn.shape[0], self.drawn.shape[1]

    @property
    def is_empty(self) -> bool:
        """Whether it has no pixel; a piece always has one."""
        return not isinstance(self.drawn, Piece) and not self.drawn.any()


@dataclass(frozen=True, eq=False)
class LabelledPicture:
    """A picture with all objects found in it, maybe none.

    Attributes:
        file: Path of the picture.
        name: Unique name of the files about it, without suffix, "/" between folders
            (``fcp.labelling.queries``).
        size: Size (H, W) in px of the upright picture.
        objects: Objects with masks of the same size.
    """

    file: Path
    name: str
    size: tuple[int, int]
    objects: tuple[LabelledObject, ...]

    def __post_init__(self) -> None:
        """Refuse masks of another size and names that cannot be a file's."""
        parts = self.name.split("/")
        if any(part in {"", ".", ".."} or Path(part).name != part for part in parts):
            raise ValueError(f"LabelledPicture: {self.name!r} is no name for a file")
        sizes = {found.size for found in self.objects}
        if not sizes <= {self.size}:
            raise ValueError(f"LabelledPicture: masks of {sizes} in a picture of {self.size}")
