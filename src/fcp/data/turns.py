"""EXIF orientations: pictures, masks and points as stored → upright."""

from __future__ import annotations

import numpy as np

_SIDEWAYS = frozenset({5, 6, 7, 8})  # orientations that swap width and height


def upright(size: tuple[int, int], turn: int) -> tuple[int, int]:
    """Return the size (H, W) of a stored picture after it is turned as EXIF says."""
    return size[::-1] if turn in _SIDEWAYS else size


def turn_array(values: np.ndarray, turn: int) -> np.ndarray:
    """Turn a stored picture or mask (H, W) or (H, W, C) upright.

    Args:
        values: Picture or mask as stored.
        turn: EXIF orientation, 1 … 8.
    """
    if turn in _SIDEWAYS:
        values = values.swapaxes(0, 1)  # orientation 5 is just that
    if turn in (3, 4, 7, 8):
        values = values[::-1]
    if turn in (2, 3, 6, 7):
        values = values[:, ::-1]
    return values


def turn_points(points: np.ndarray, size: tuple[int, int], turn: int) -> np.ndarray:
    """Turn points (P, 2) of x and y in px on a stored picture upright.

    Args:
        points: Points on the picture as stored.
        size: Size (H, W) of the picture as stored.
        turn: EXIF orientation, 1 … 8.
    """
    height, width = upright(size, turn)
    x, y = points.T[::-1] if turn in _SIDEWAYS else points.T
    y = height - y if turn in (3, 4, 7, 8) else y
    x = width - x if turn in (2, 3, 6, 7) else x
    return np.stack([x, y], axis=1)
