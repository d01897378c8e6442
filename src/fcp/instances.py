"""A class's mask → its objects: pieces that do not touch, each with a score and a box."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from fcp.prediction import ClassPrediction

_TOUCHING = np.ones((3, 3), dtype=bool)  # corners too


@dataclass(frozen=True)
class Instance:
    """One object of a class.

    Attributes:
        box: (x0, y0, x1, y1) px of the photo, ends exclusive.
        mask: (y1 - y0, x1 - x0) bool, within the box.
        score: 0 … 1, mean probability of its pixels.
    """

    box: tuple[int, int, int, int]
    mask: np.ndarray
    score: float

    def full_mask(self, size: tuple[int, int]) -> np.ndarray:
        """Return the mask (H, W) bool in a photo of this size."""
        x0, y0, x1, y1 = self.box
        full = np.zeros(size, dtype=bool)
        full[y0:y1, x0:x1] = self.mask
        return full


def split_objects(found: ClassPrediction) -> list[Instance]:
    """Split what was found of a class into its connected pieces.

    Two objects that touch are one piece. A piece smaller than one cell of the model's grid is left
    out: the model cannot have seen it.

    Returns:
        The objects, best score first.
    """
    pieces, _ = ndimage.label(found.mask, structure=_TOUCHING)
    least = found.labels.size / found.maps.pseudo_mask.numel()
    objects = []
    for number, (rows, columns) in enumerate(ndimage.find_objects(pieces), start=1):
        mask = pieces[rows, columns] == number
        if mask.sum() >= least:
            log_odds = found.logits[rows, columns][mask].astype(np.float64)
            score = float((1 / (1 + np.exp(-log_odds))).mean())
            box = (columns.start, rows.start, columns.stop, rows.stop)
            objects.append(Instance(box, mask, score))
    return sorted(objects, key=lambda one: -one.score)
