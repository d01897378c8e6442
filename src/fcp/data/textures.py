"""Values of a mask that are those of a photo: ids are flat, soft edges are narrow, photos are not.

The limits were set on 186 photos of VOC 2012, of which 9 in 10 are seen as such in colour and in
grey, and on VOC's masks in JPEG of the qualities 5 … 95, of which none is.
"""

from __future__ import annotations

import numpy as np

from fcp.data.strips import count_values

LEAST_GREYS = 7  # of 16, that 9 in 10 pixels have
LEAST_BETWEEN = 0.4  # share of the pixels that are neither dark nor bright
LEAST_TURNS = 0.08  # share of the pixels that are darker or brighter than both neighbours in a row
LEAST_VALUES, LEAST_STEPS = 32, 0.4  # of a cut-out: values, and neighbours in a row that differ


def is_photo(grey: np.ndarray) -> bool:
    """Return whether the values (H, W) of a mask are a photo's; only uint8 can be."""
    if grey.dtype != np.uint8:
        return False
    counts = count_values(grey)
    if (counts > 0).sum() <= LEAST_VALUES:
        return False
    shares = np.sort(counts.reshape(16, 16).sum(axis=1))[::-1].cumsum() / grey.size
    greys = int((shares < 0.9).sum()) + 1
    top = int(np.flatnonzero(counts)[-1])
    between = counts[top // 5 + 1 : top * 4 // 5].sum() / grey.size
    return bool(greys >= LEAST_GREYS and between >= LEAST_BETWEEN and _turns(grey) >= LEAST_TURNS)


def is_textured(grey: np.ndarray, seen: np.ndarray) -> bool:
    """Return whether the pixels of a mask (H, W) that are seen have the many values of a photo."""
    if np.unique(grey[seen]).size <= LEAST_VALUES:
        return False
    both = seen[:, 1:] & seen[:, :-1]
    return bool(both.any() and (grey[:, 1:] != grey[:, :-1])[both].mean() >= LEAST_STEPS)


def _turns(grey: np.ndarray) -> float:
    """Return the share of pixels that are darker, or brighter, than both neighbours in a row."""
    up, down = grey[:, 1:] > grey[:, :-1], grey[:, 1:] < grey[:, :-1]
    turns = up[:, :-1] & down[:, 1:] | down[:, :-1] & up[:, 1:]
    return float(turns.mean()) if turns.size else 0.0
