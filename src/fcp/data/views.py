"""Views of a photo for training: crops that show a class, perhaps mirrored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_TRIES = 20
_LEAST_SHARE = 0.01  # least share of a crop that some class covers …
_LEAST_SHOWN = 0.4  # … and least share of that class's pixels that the crop shows


@dataclass(frozen=True)
class View:
    """A crop of a photo, perhaps mirrored.

    Attributes:
        box: Left, top, right, bottom of the crop, px.
        flip: Whether the crop is mirrored.
    """

    box: tuple[int, int, int, int]
    flip: bool

    def crop(self, array: np.ndarray) -> np.ndarray:
        """Cut a photo (H, W, 3) or mask (H, W), and mirror it."""
        left, top, right, bottom = self.box
        cut = array[top:bottom, left:right]
        return np.ascontiguousarray(cut[:, ::-1] if self.flip else cut)


def draw_box(masks: Sequence[np.ndarray], rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Draw a crop of 40 … 95 % of the sides that shows enough of some class.

    Args:
        masks: Boolean mask (H, W) of each class, at least one, none empty.
        rng: Source of the draw.

    Returns:
        Left, top, right, bottom, px; the whole picture where no draw shows enough.
    """
    height, width = masks[0].shape
    for _ in range(_TRIES):
        across = rng.uniform(0.4, 0.95)
        down = float(np.clip(across * rng.uniform(0.75, 1.33), 0.35, 1))
        columns, rows = int(width * across), int(height * down)
        mask = masks[int(rng.integers(len(masks)))]
        ys, xs = np.nonzero(mask)
        pick = rng.integers(len(ys))
        left = int(np.clip(xs[pick] - rng.integers(columns), 0, width - columns))
        top = int(np.clip(ys[pick] - rng.integers(rows), 0, height - rows))
        seen = mask[top : top + rows, left : left + columns]
        if seen.mean() >= _LEAST_SHARE and seen.sum() >= _LEAST_SHOWN * mask.sum():
            return left, top, left + columns, top + rows
    return 0, 0, width, height
