"""The list rule of PASCAL-5i: which pictures are rows, and which may be supports of which class.

Masks count at their original size. Present = the ids in a mask but 0 and 255. Kept = present,
allowed, and covering at least 2·32·32 = 2,048 px. A picture with a kept class is listed once as a
row and once under each kept class. Training drops a picture that shows a single pixel of a novel
class (the filtered list; the unfiltered one skips this step).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from fcp.data.folds import ALL_PASCAL_IDS, base_classes, novel_classes
from fcp.data.pascal import PascalVOC, Split

MIN_PIXELS = 2 * 32 * 32


@dataclass(frozen=True)
class ClassLists:
    """The lists that episodes are drawn from.

    Attributes:
        rows: listed pictures, each once, in the order of the source list.
        members: class id → pictures listed under it, in the same order; one entry for each
            allowed class, maybe empty.
        present: row → allowed classes with at least one pixel in it, ascending.
    """

    rows: tuple[str, ...]
    members: Mapping[int, tuple[str, ...]]
    present: Mapping[str, tuple[int, ...]]


def train_lists(data: PascalVOC, fold: int, *, filtered: bool = True) -> ClassLists:
    """Return a fold's training lists: its base classes, by default without any novel pixel.

    Raises:
        FcpError: no such fold, or a list or mask that cannot be read.
    """
    banned = novel_classes(fold) if filtered else ()
    return make_lists(scan(data, "train"), allowed=base_classes(fold), banned=banned)


def val_lists(data: PascalVOC, fold: int) -> ClassLists:
    """Return a fold's test lists: its novel classes in the val pictures.

    Raises:
        FcpError: no such fold, or a list or mask that cannot be read.
    """
    return make_lists(scan(data, "val"), allowed=novel_classes(fold))


def make_lists(
    pixels: Mapping[str, np.ndarray], *, allowed: Sequence[int], banned: Sequence[int] = ()
) -> ClassLists:
    """Apply the list rule to pixel counts.

    Args:
        pixels: picture id → (21,) pixels of each label id 0 … 20, in source order.
        allowed: class ids that may be kept.
        banned: class ids whose single pixel excludes a picture.
    """
    rows: list[str] = []
    members: dict[int, list[str]] = {class_id: [] for class_id in sorted(allowed)}
    present: dict[str, tuple[int, ...]] = {}
    for picture, counts in pixels.items():
        kept = [class_id for class_id in members if counts[class_id] >= MIN_PIXELS]
        if not kept or any(counts[class_id] > 0 for class_id in banned):
            continue
        rows.append(picture)
        present[picture] = tuple(class_id for class_id in members if counts[class_id] > 0)
        for class_id in kept:
            members[class_id].append(picture)
    return ClassLists(
        rows=tuple(rows),
        members={class_id: tuple(pictures) for class_id, pictures in members.items()},
        present=present,
    )


@lru_cache(maxsize=8)
def scan(data: PascalVOC, split: Split) -> Mapping[str, np.ndarray]:
    """Count the pixels of each label id (0 … 20) in the masks of a split, once per process.

    Raises:
        FcpError: a list or mask that cannot be read.
    """
    return {
        picture: np.bincount(data.labels(picture).reshape(-1), minlength=256)[
            : len(ALL_PASCAL_IDS) + 1
        ]
        for picture in data.ids(split)
    }
