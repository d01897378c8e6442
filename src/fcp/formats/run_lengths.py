"""Masks as run lengths: COCO's, column by column and packed, and plain ones row by row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from pycocotools import mask as rle_tools

# As the COCO API has them: "size" [H, W] and "counts", packed as ASCII bytes.
RunLengths = Mapping[str, Any]


def to_runs(mask: np.ndarray) -> RunLengths:
    """Pack a mask (H, W) bool; ``to_mask`` is the inverse."""
    runs: RunLengths = rle_tools.encode(np.asfortranarray(mask, dtype=np.uint8))
    return runs


def to_mask(runs: RunLengths) -> np.ndarray:
    """Unpack run lengths: (H, W) bool."""
    return rle_tools.decode(runs).astype(bool)


def to_text(mask: np.ndarray) -> str:
    """Pack a mask (H, W) bool as text for JSON; ``from_text`` is the inverse."""
    return to_runs(mask)["counts"].decode("ascii")


def from_text(counts: str, size: tuple[int, int]) -> np.ndarray:
    """Unpack the text of a mask: (H, W) bool of that size."""
    return to_mask({"size": list(size), "counts": counts.encode("ascii")})


def union(many: Iterable[RunLengths]) -> RunLengths:
    """Join masks of one size, at least one."""
    runs: RunLengths = rle_tools.merge(list(many))
    return runs


def area(runs: RunLengths) -> int:
    """Count the foreground in px."""
    return int(rle_tools.area(runs))


def overlap(a: RunLengths, b: RunLengths) -> float:
    """Return the IoU of two masks of one size, 0 … 1."""
    return float(rle_tools.iou([a], [b], [0])[0, 0])


def row_runs(mask: np.ndarray) -> np.ndarray:
    """Count the pixels between changes, row by row.

    Args:
        mask: Mask (H, W) bool with at least one pixel.

    Returns:
        (R,) int64, background and foreground in turn, background first (0 px where the first pixel
        is foreground); sums to H·W.
    """
    flat = mask.ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    edges = np.concatenate([[0], changes, [flat.size]])
    return np.diff(edges, prepend=0) if flat[0] else np.diff(edges)
