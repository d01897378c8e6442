"""Objects of a COCO instances JSON → run lengths, from any of its forms, as the COCO API does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as rle_tools

from fcp.errors import FcpError


def run_lengths(
    annotation: Mapping[str, Any], size: tuple[int, int], file: Path | str
) -> dict[str, Any]:
    """Convert an object to compressed run lengths, with the rules of the API's annToRLE.

    Args:
        annotation: Annotation of an instances JSON.
        size: Size (H, W) of its picture.
        file: File of the annotation, for the error.

    Raises:
        FcpError: an object that cannot be painted.
    """
    shape = annotation["segmentation"]
    try:
        if isinstance(shape, list):
            runs = rle_tools.merge(rle_tools.frPyObjects(shape, *size))
        elif isinstance(shape["counts"], list):
            runs = rle_tools.frPyObjects(shape, *size)
        else:
            runs = shape
        painted = tuple(runs["size"])
        # pycocotools paints missing pixels at random, and never returns when it merges such masks.
        if not isinstance(shape, list) and unpack_counts(runs["counts"]).sum() != np.prod(painted):
            raise ValueError("run lengths that do not add up")
    except Exception as error:  # pycocotools raises nothing finer on an invalid shape
        raise FcpError(f"{file}: annotation {annotation.get('id')}: bad segmentation") from error
    if painted != size:
        raise FcpError(f"{file}: annotation {annotation.get('id')}: not of its picture's size")
    return runs


def unpack_counts(packed: str | bytes) -> np.ndarray:
    """Unpack compressed run lengths, as the API's rleFrString does.

    A character holds five bits of a number (lowest first) and one bit that tells whether the number
    continues; the third and all later numbers are differences to the number two places before.

    Returns:
        (R,) int64, background and foreground in turn.

    Raises:
        ValueError: not such a text, or a negative length.
    """
    text = packed.encode("ascii") if isinstance(packed, str) else packed
    characters = np.frombuffer(text, np.uint8).astype(np.int64) - 48
    last = np.flatnonzero(characters < 32)
    digits = np.diff(last, prepend=-1)
    if not len(text) or not (0 <= characters).all() or not (characters < 64).all():
        raise ValueError("not the text of run lengths")
    if last[-1:] != len(text) - 1 or digits.max() > 7:  # seven hold the API's 32 bits
        raise ValueError("a number without end")
    place = np.arange(len(text)) - np.repeat(last - digits + 1, digits)
    counts = np.add.reduceat((characters & 31) << 5 * place, last - digits + 1)
    counts -= (characters[last] >> 4) << 5 * digits  # the last character's fifth bit is the sign
    for start in (1, 2):
        counts[start::2] = counts[start::2].cumsum()
    if (counts < 0).any():
        raise ValueError("a negative length")
    return counts
