"""Checks of what callers in Python pass to the segmenter: another type is refused in one line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from io import IOBase
from itertools import islice
from math import isfinite
from numbers import Real
from pathlib import Path

import numpy as np

from fcp.data.decode import ImageLike
from fcp.data.images import name_of
from fcp.data.photos import Photo
from fcp.errors import FcpError

_NO_LISTS = (str, bytes, bytearray, Path, IOBase, Photo, Mapping)  # iterable, but no photos


def batches_of(images: Iterable[ImageLike | Photo], size: int) -> Iterator[list[ImageLike | Photo]]:
    """Take photos in batches, each only once the one before is done.

    Args:
        images: Photos, perhaps of a generator.
        size: Number of photos in a batch.

    Raises:
        FcpError: no list of photos, such as one photo by itself, whose rows are no photos.
    """
    if (
        not isinstance(images, Iterable)
        or isinstance(images, _NO_LISTS)
        or (isinstance(images, np.ndarray) and _is_one_picture(images))
    ):
        raise FcpError(
            f"predict_batch: expected a list of photos, got {name_of(images)}; give [photo], or "
            "call predict(photo)"
        )
    waiting = iter(images)
    return iter(lambda: list(islice(waiting, size)), [])


def _is_one_picture(array: np.ndarray) -> bool:
    """Return whether an array is (H, W) or (H, W, C), and neither a stack nor a list of files."""
    return array.ndim in (0, 2) or (array.ndim == 3 and array.shape[2] in (1, 3, 4))


def is_share(value: object) -> bool:
    """Return whether a value is a number in 0 … 1."""
    return isinstance(value, Real) and 0 <= float(value) <= 1


def is_amount(value: object) -> bool:
    """Return whether a value is a finite number from 0 on."""
    return isinstance(value, Real) and float(value) >= 0 and isfinite(value)


def require_mask_of_numbers(annotation: object) -> None:
    """Refuse an array that is no mask because of its type.

    Raises:
        FcpError: an array of something else than numbers, or one with a mask of its own.
    """
    if isinstance(annotation, np.ma.MaskedArray):
        raise FcpError("the given array: a masked array, not a mask; give mask.filled(0)")
    if isinstance(annotation, np.ndarray) and annotation.dtype.kind not in "biuf":
        raise FcpError(f"the given array: expected numbers, got {annotation.dtype}")
