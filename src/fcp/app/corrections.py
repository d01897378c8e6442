"""A mask in the editor: shown smaller than it is, and changed only where its painting changes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fcp.data.strips import edges, nearest, resize_nearest
from fcp.formats.run_lengths import RunLengths, to_mask, to_runs


@dataclass(frozen=True, eq=False)
class Correction:
    """A mask that is being corrected.

    Attributes:
        runs: Mask (H, W) as it was found.
        painting: Its painting in the editor, (h, w) bool.
    """

    runs: RunLengths
    painting: np.ndarray

    def applied(self, painting: np.ndarray) -> np.ndarray:
        """Return the mask (H, W) bool, changed where a new painting differs from the first one.

        Args:
            painting: New painting, (h, w) bool.
        """
        mask = to_mask(self.runs)
        differs = painting != resize_nearest(self.painting, (painting.shape[0], painting.shape[1]))
        rows, columns = (nearest(*sides) for sides in zip(painting.shape, mask.shape, strict=True))
        for top, end in edges((mask.shape[0], mask.shape[1])):
            at = np.ix_(rows[top:end], columns)
            np.copyto(mask[top:end], painting[at], where=differs[at])
        return mask


def correction_of(mask: np.ndarray, size: tuple[int, int]) -> Correction:
    """Prepare a mask (H, W) bool for the editor.

    Args:
        mask: Mask as it was found.
        size: (h, w) of the picture in the editor, at most that of the mask.

    Returns:
        The correction, whose painting covers each pixel that holds any of the mask, so that thin
        parts are shown and can be erased.
    """
    starts = (
        np.searchsorted(nearest(new, old), np.arange(new))
        for new, old in zip(size, mask.shape, strict=True)
    )
    painting = mask
    for axis, first in enumerate(starts):
        painting = np.logical_or.reduceat(painting, first, axis=axis)
    return Correction(to_runs(mask), painting)
