"""A visitor's drawings on the photos of a run, which replace the model's results there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from fcp.app.marks import Marked
from fcp.data.prompts import annotation_mask
from fcp.data.strips import clear_label, edges
from fcp.errors import FcpError
from fcp.labelling.objects import drawn_result, objects_within
from fcp.labelling.photo_results import ClassResult, PictureResult
from fcp.system.files import sha256_of

KINDS_OF_MASKS = ("paint", "outline")  # a box marks a place, not a shape


def drawn_on(records: Sequence[PictureResult], marked: Sequence[Marked]) -> dict[str, list[Marked]]:
    """Return photo → the masks that the visitor drew on it, as corrections or examples.

    Args:
        records: Results of the photos.
        marked: The visitor's examples; pictures are matched by file or by content.
    """
    masks = [(one, _content(one)) for one in marked if one.kind in KINDS_OF_MASKS]
    return {
        record.file: [
            one
            for one, content in masks
            if one.example.picture == Path(record.file) or content == (record.sha256 or "")
        ]
        for record in records
    }


def names_with(names: Sequence[str], drawn: Mapping[str, Sequence[Marked]]) -> list[str]:
    """Return the classes of a run, then those that occur only in drawings on its photos."""
    by_hand = (one.class_name for of_photo in drawn.values() for one in of_photo)
    return list(dict.fromkeys([*names, *(name for name in by_hand if name is not None)]))


def put_over(
    record: PictureResult,
    labels: np.ndarray,
    names: Sequence[str],
    drawn: Sequence[Marked],
) -> tuple[PictureResult, np.ndarray]:
    """Replace the result of a photo by the drawings on it.

    A correction replaces its class in the whole photo; so do all examples of a class in the photo
    together. A negative example removes its pixels from all classes.

    Args:
        record: Result of the photo.
        labels: Label map (H, W) that the model found.
        names: Classes in the order of their labels.
        drawn: Drawings on this photo, oldest first.

    Returns:
        The record with ``by_hand`` set for drawn classes, and the new label map (H, W).
    """
    if not drawn:
        return record, labels
    size = (labels.shape[0], labels.shape[1])
    by_hand: set[int] = set()
    put = labels.copy()
    for one in drawn:
        mask = annotation_mask(one.example.annotation, size)
        label = 0 if one.class_name is None else names.index(one.class_name) + 1
        if label and (one.corrects or label not in by_hand):
            clear_label(put, label)
        put[mask] = label
        by_hand.add(label)
    classes = dict(record.classes)
    instances = any(one.objects is not None for one in classes.values())
    for label, name in enumerate(names, start=1):
        found = record.classes.get(name)
        if label in by_hand:
            classes[name] = drawn_result(put == label, found, instances=instances)
        elif found is not None and _differs(put, labels, label):
            classes[name] = _cut(found, put == label)
    return replace(record, classes=classes), put


def _differs(one: np.ndarray, other: np.ndarray, label: int) -> bool:
    """Return whether a label has different pixels in two label maps (H, W)."""
    rows = edges((one.shape[0], one.shape[1]))
    return any(((one[a:b] == label) != (other[a:b] == label)).any() for a, b in rows)


def _cut(found: ClassResult, mask: np.ndarray) -> ClassResult:
    """Return the result of a class that lost pixels to a drawn one, with what is left of it."""
    objects = None if found.objects is None else objects_within(found.objects, mask)
    area, area_px = round(float(mask.mean()), 6), int(mask.sum())
    return replace(found, area=area, area_px=area_px, objects=objects, by_hand=False)


def _content(one: Marked) -> str | None:
    """Hash the bytes of an example's picture; None if it is missing."""
    try:
        return sha256_of(Path(str(one.example.picture)))
    except FcpError:
        return None
