"""The list rule: which pictures are rows, and which may be supports of which class.

Masks count at their original size. Present = the classes with at least one pixel. Kept = present,
allowed, and covering at least the data set's ``min_pixels`` (PASCAL-5i, COCO-20i: 2·32·32 =
2,048). A picture with a kept class is listed once as a row and once under each kept class.
Training drops a picture that shows a single pixel of a novel class (the filtered list; the
unfiltered one skips this step).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fcp.data.dataset import FewShotDataset


@dataclass(frozen=True)
class ClassLists:
    """The lists that episodes are drawn from.

    Attributes:
        rows: listed pictures, each once, in the order of the source list.
        members: class id → pictures listed under it, in the same order; one entry for each
            allowed class, maybe empty.
        present: row → allowed classes with at least one pixel in it, ascending.
        names: class id → name, of the allowed classes.
    """

    rows: tuple[str, ...]
    members: Mapping[int, tuple[str, ...]]
    present: Mapping[str, tuple[int, ...]]
    names: Mapping[int, str]


def train_lists(data: FewShotDataset, fold: int | None, *, filtered: bool = True) -> ClassLists:
    """Return a fold's training lists: its base classes, by default without any novel pixel.

    Raises:
        FcpError: no such fold, or a list or mask that cannot be read.
    """
    banned = data.novel(fold) if filtered else ()
    names = {c: data.classes[c] for c in data.base(fold)}
    return make_lists(data.areas("train"), names, min_pixels=data.min_pixels, banned=banned)


def val_lists(data: FewShotDataset, fold: int | None) -> ClassLists:
    """Return a fold's test lists: its novel classes in the val pictures.

    Raises:
        FcpError: no such fold, or a list or mask that cannot be read.
    """
    names = {c: data.classes[c] for c in data.novel(fold)}
    return make_lists(data.areas("val"), names, min_pixels=data.min_pixels)


def holdout_lists(data: FewShotDataset, fold: int | None) -> ClassLists:
    """Return what checkpoints may be compared on: val pictures without a novel pixel.

    Raises:
        FcpError: no such fold, or a list or mask that cannot be read.
    """
    names = {c: data.classes[c] for c in data.holdout(fold)}
    banned = data.novel(fold)
    return make_lists(data.areas("val"), names, min_pixels=data.min_pixels, banned=banned)


def make_lists(
    areas: Mapping[str, Mapping[int, int]],
    names: Mapping[int, str],
    *,
    min_pixels: int,
    banned: Sequence[int] = (),
) -> ClassLists:
    """Apply the list rule to pixel counts.

    Args:
        areas: picture id → class id → pixels, in source order.
        names: class id → name, of the classes that may be kept.
        min_pixels: that a kept class covers at least.
        banned: class ids whose single pixel excludes a picture.
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
    )
