"""Masks out of a COCO instances JSON: polygons and run lengths, painted as the COCO API does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as rle_tools

from fcp.config import load_json
from fcp.errors import FcpError


def read_instances(file: Path, class_name: str | None) -> dict[Path, np.ndarray]:
    """Paint, for each picture that shows the class, the union of its objects (crowds included).

    Args:
        file: instances JSON.
        class_name: category to take; None where the objects are all of one category.

    Returns:
        picture file → (H, W) bool at the size that the JSON states, in the JSON's order.

    Raises:
        FcpError: no instances JSON, an unknown or unstated class, an object that cannot be
            painted, or a picture that is not there.
    """
    content = load_json(file)
    try:
        return paint_class(content, file, class_name)
    except (KeyError, TypeError, AttributeError) as error:
        raise FcpError(f"{file}: not a COCO instances JSON (missing or odd: {error})") from error


def paint_class(
    content: Mapping[str, Any], file: Path, class_name: str | None
) -> dict[Path, np.ndarray]:
    """Do what ``read_instances`` does with a JSON that is read already, for one class of many.

    Args:
        content: of the file.
        file: that it was read from, to find the pictures by.
        class_name: as in ``read_instances``.

    Raises:
        FcpError: as there; what is missing in a file that is no instances JSON is a KeyError.
    """
    category = _category_id(content, file, class_name)
    masks: dict[Any, np.ndarray] = {}
    sizes = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
    for annotation in content["annotations"]:
        if annotation["category_id"] == category:
            picture = annotation["image_id"]
            painted = _paint(annotation, sizes[picture], file)
            masks[picture] = masks[picture] | painted if picture in masks else painted
    return {
        _find_picture(file, image["file_name"]): masks[image["id"]]
        for image in content["images"]
        if image["id"] in masks
    }


def _category_id(content: Mapping[str, Any], file: Path, class_name: str | None) -> int:
    """Choose the category; categories without any object do not make the choice ambiguous."""
    used = {annotation["category_id"] for annotation in content["annotations"]}
    names = {item["name"]: item["id"] for item in content["categories"] if item["id"] in used}
    known = ", ".join(sorted(names)) or "none with an object"
    if class_name is None and len(names) == 1:
        return next(iter(names.values()))
    if class_name is None:
        raise FcpError(f"{file}: which class is meant? Choose one of: {known}")
    if class_name not in names:
        raise FcpError(f"{file}: no object of the class {class_name!r}; it has: {known}")
    return names[class_name]


def _paint(annotation: Mapping[str, Any], size: tuple[int, int], file: Path) -> np.ndarray:
    """Paint one object, (H, W) bool."""
    return rle_tools.decode(run_lengths(annotation, size, file)).astype(bool)


def run_lengths(annotation: Mapping[str, Any], size: tuple[int, int], file: Path) -> dict[str, Any]:
    """Bring an object to compressed run lengths; the same choice of forms as the API's annToRLE.

    Args:
        annotation: of an instances JSON.
        size: (H, W) of its picture.
        file: that it comes from, for the error.

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
        # pycocotools paints missing pixels as chance has it, and never ends when it joins them.
        if not isinstance(shape, list) and unpack_counts(runs["counts"]).sum() != np.prod(painted):
            raise ValueError("run lengths that do not add up")
    except Exception as error:  # pycocotools raises nothing finer on an odd shape
        raise FcpError(f"{file}: annotation {annotation.get('id')}: bad segmentation") from error
    if painted != size:
        raise FcpError(f"{file}: annotation {annotation.get('id')}: not of its picture's size")
    return runs


def unpack_counts(packed: str | bytes) -> np.ndarray:
    """Unpack compressed run lengths, as the API's rleFrString does.

    A character holds five bits of a number (lowest first) and says whether it goes on; the third
    number and all after it are differences to the one but one before.

    Returns:
        (R,) int64, background and foreground in turn.

    Raises:
        ValueError: no such text, or a negative length.
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


def _find_picture(file: Path, name: str) -> Path:
    """Look for a picture beside the JSON, then where COCO's own layout puts it."""
    split = file.stem.removeprefix("instances_")
    above = file.parent.parent
    places = (file.parent, file.parent / "images", above, above / "images", above / split)
    for place in places:
        if (place / name).is_file():
            return place / name
    raise FcpError(
        f"{file}: its picture {name!r} is not there; put it beside the JSON or in "
        f"{file.parent / 'images'}"
    )
