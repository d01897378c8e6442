"""The list rule: pictures that are rows, and pictures that may be supports of each class.

Masks count at their original size. Present = the classes with at least one pixel. Kept = present,
allowed, and covering at least the data set's ``min_pixels`` (PASCAL-5i, COCO-20i: 2·32·32 = 2,048;
where a data set has no such rule, 1). A picture with a kept class is listed once as a row and once
under each kept class. Training lists omit each picture with even one pixel of a novel class (the
filtered list; the unfiltered one keeps it).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fcp.data.dataset import ClassicRule, FewShotDataset
from fcp.errors import FcpError

_EVENNESS = 0.25  # power of a class's count; 0 would draw all classes evenly
Areas = Mapping[str, Mapping[int, int]]  # picture id → class id → pixels, in source order


@dataclass(frozen=True)
class ClassLists:
    """The lists that episodes are drawn from.

    Attributes:
        rows: Listed pictures, each once, in the order of the source list.
        members: Class id → pictures listed under it, in the same order; one entry for each
            allowed class, maybe empty.
        present: Row → allowed classes with at least one pixel in it, ascending.
        names: Class id → name, for the allowed classes.
        classic_rule: First draw of the benchmark's classic sampler: a row or a class.
    """

    rows: tuple[str, ...]
    members: Mapping[int, tuple[str, ...]]
    present: Mapping[str, tuple[int, ...]]
    names: Mapping[int, str]
    classic_rule: ClassicRule = "row"

    @cached_property
    def pairs(self) -> tuple[tuple[str, int], ...]:
        """Each row once for each class that it is listed under, ascending."""
        listed = {class_id: frozenset(members) for class_id, members in self.members.items()}
        return tuple((row, c) for row in self.rows for c in self.present[row] if row in listed[c])


def nearly_even(counts: Sequence[int] | np.ndarray) -> np.ndarray:
    """Return each class's share of the training draws: the fourth root of its pictures' count.

    Otherwise a few common kinds would determine what the model takes for an object.

    Args:
        counts: Number of pictures of each class, at least 1.

    Returns:
        Shares (C,) that sum to 1.
    """
    weights = np.array(counts) ** _EVENNESS
    return weights / weights.sum()


def train_lists(
    data: FewShotDataset, fold: int | None, *, filtered: bool = True, areas: Areas | None = None
) -> ClassLists:
    """Return a fold's training lists: its base classes, by default without any novel pixel.

    Args:
        data: Data set to list.
        fold: Fold; None for a data set without folds.
        filtered: Whether pictures of novel classes are left out; a novel class that is also a base
            class does not count.
        areas: Pixel counts to use instead of the data set's own.

    Raises:
        FcpError: no such fold, or a list or mask that cannot be read.
    """
    banned = data.novel(fold) if filtered else ()
    counted = data.areas("train") if areas is None else areas
    return _lists_of(data, data.base(fold), counted, banned)


def val_lists(data: FewShotDataset, fold: int | None, *, areas: Areas | None = None) -> ClassLists:
    """Return a fold's test lists: its novel classes in the val pictures.

    Raises:
        FcpError: no such fold, or a list or mask that cannot be read.
    """
    counted = data.areas("val") if areas is None else areas
    return _lists_of(data, data.novel(fold), counted, ())


def holdout_lists(data: FewShotDataset, fold: int | None) -> ClassLists:
    """Return the lists that checkpoints may be compared on: val pictures without a novel pixel.

    Raises:
        FcpError: no such fold, or a list or mask that cannot be read.
    """
    return _lists_of(data, data.holdout(fold), data.areas("val"), data.novel(fold))


def drop_small_classes(lists: ClassLists, shots: int) -> ClassLists:
    """Leave out the classes that fewer than shots + 1 pictures are listed under.

    A score over the classes that remain is another number than the benchmark's.

    Raises:
        FcpError: no class remains.
    """
    kept = {c: members for c, members in lists.members.items() if len(members) > shots}
    if not kept:
        raise FcpError(f"no class has {shots + 1} listed pictures; ask for fewer shots")
    listed = {picture for members in kept.values() for picture in members}
    rows = tuple(row for row in lists.rows if row in listed)
    return ClassLists(
        rows=rows,
        members=kept,
        present={row: tuple(c for c in lists.present[row] if c in kept) for row in rows},
        names={c: lists.names[c] for c in kept},
        classic_rule=lists.classic_rule,
    )


def make_lists(
    areas: Areas,
    names: Mapping[int, str],
    *,
    min_pixels: int,
    banned: Sequence[int] = (),
    classic_rule: ClassicRule = "row",
) -> ClassLists:
    """Apply the list rule to pixel counts.

    Args:
        areas: Picture id → class id → pixels, in source order.
        names: Class id → name, for the classes that may be kept.
        min_pixels: Number of pixels that a kept class covers at least.
        banned: Ids of classes that exclude a picture by a single pixel.
        classic_rule: First draw of the benchmark's classic sampler: a row or a class.
    """
    allowed = sorted(names)
    rows: list[str] = []
    members: dict[int, list[str]] = {class_id: [] for class_id in allowed}
    present: dict[str, tuple[int, ...]] = {}
    for picture, pixels in areas.items():
        shown = [c for c in allowed if pixels.get(c, 0) > 0]
        kept = [c for c in shown if pixels[c] >= min_pixels]
        if not kept or any(pixels.get(c, 0) > 0 for c in banned):
            continue
        rows.append(picture)
        present[picture] = tuple(shown)
        for class_id in kept:
            members[class_id].append(picture)
    return ClassLists(
        rows=tuple(rows),
        members={class_id: tuple(pictures) for class_id, pictures in members.items()},
        present=present,
        names={class_id: names[class_id] for class_id in allowed},
        classic_rule=classic_rule,
    )


def _lists_of(
    data: FewShotDataset, allowed: Sequence[int], areas: Areas, novel: Sequence[int]
) -> ClassLists:
    return make_lists(
        areas,
        {c: data.classes[c] for c in allowed},
        min_pixels=data.min_pixels,
        banned=[c for c in novel if c not in allowed],
        classic_rule=data.classic_rule,
    )


def write_lists(lists: ClassLists) -> bytes:
    """Return a list in a plain text form that can be compared with other people's lists.

    Each line is a row: the picture's id, then the ids of the classes that it is listed under,
    ascending, separated by tabs.
    """
    listed: dict[str, list[int]] = {row: [] for row in lists.rows}
    for picture, class_id in lists.pairs:
        listed[picture].append(class_id)
    lines = ("\t".join([row, *map(str, classes)]) for row, classes in listed.items())
    return "".join(f"{line}\n" for line in lines).encode()
