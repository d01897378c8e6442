"""Rows of a large picture, some at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

STRIP_PIXELS = 1 << 20  # of a strip, which has at least one row


def edges(size: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Yield first row and end of each strip of a picture of (H, W)."""
    rows = max(1, STRIP_PIXELS // size[1])
    return ((top, min(top + rows, size[0])) for top in range(0, size[0], rows))


def count_values(values: np.ndarray) -> np.ndarray:
    """Count how often each value occurs.

    Args:
        values: Values (H, W) uint8 or bool.

    Returns:
        (256,) int64.
    """
    counts = np.zeros(256, np.int64)
    for top, end in edges((values.shape[0], values.shape[1])):
        counts += np.bincount(values[top:end].ravel().astype(np.uint8), minlength=256)
    return counts


def count_label(labels: np.ndarray, label: int) -> int:
    """Count the pixels of a label map (H, W) that have this label."""
    size = (labels.shape[0], labels.shape[1])
    return sum(int(np.count_nonzero(labels[top:end] == label)) for top, end in edges(size))


def clear_label(labels: np.ndarray, label: int) -> None:
    """Make the pixels of a label map (H, W) that have this label 0, in place."""
    for top, end in edges((labels.shape[0], labels.shape[1])):
        part = labels[top:end]
        part[part == label] = 0


def resize_nearest(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize a map (h, w) to (H, W): each pixel takes the value under its centre."""
    if labels.shape == size:
        return labels
    rows, columns = (nearest(old, new) for new, old in zip(size, labels.shape, strict=True))
    return labels[np.ix_(rows, columns)]


def nearest(old: int, new: int) -> np.ndarray:
    """Return for each of ``new`` pixels of a side the one of ``old`` under its centre, (new,)."""
    return (np.arange(new) * 2 + 1) * old // (2 * new)
