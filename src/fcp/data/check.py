"""Counts of a data set's files and pixels, and why they differ from the published ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from fcp.data.coco import Coco
from fcp.data.dataset import FewShotDataset, Split
from fcp.data.fss1000 import FSS1000
from fcp.data.lists import Areas, ClassLists, make_lists, train_lists, val_lists
from fcp.data.lvis import WHOLE, Lvis
from fcp.data.objects import Objects
from fcp.data.pascal import PascalVOC
from fcp.errors import FcpError
from fcp.system.words import counted

SPLITS: tuple[Split, ...] = ("train", "val")
POOL = 5953  # pictures that the released PASCAL-5i lists were made from
TRAINAUG = 10582
VOC_VAL = 1449
# Number of rows of the released PASCAL-5i lists, by fold.
RELEASED = {
    "train filtered": (4208, 3726, 2752, 4510),
    "train unfiltered": (4760, 4588, 4097, 5108),
    "val": (364, 445, 592, 336),
}


@dataclass(frozen=True)
class SplitCount:
    """Counts of a split.

    Attributes:
        pictures: Number of pictures that the split lists.
        missing: Files of listed pictures that do not exist.
        damaged: One line for each mask that exists and cannot be read.
        classes: Number of classes with at least one pixel in the readable masks.
    """

    pictures: int
    missing: tuple[str, ...]
    damaged: tuple[str, ...]
    classes: int


@dataclass(frozen=True)
class Check:
    """Counts of a data set, ready for JSON.

    Attributes:
        title: Title of the data set.
        pool: Name of the list of training pictures.
        classes: Number of the data set's classes.
        splits: Counts of each split, by the split's name.
        rules: List rule → number of rows in each fold, in the order of ``folds``.
        folds: Folds of the data set.
        expected: List rule → number of rows in the released lists, where they are known.
        notes: Sentences on missing files and on differences.
    """

    title: str
    pool: str
    classes: int
    splits: Mapping[str, SplitCount]
    rules: Mapping[str, tuple[int, ...]]
    folds: tuple[int | None, ...]
    expected: Mapping[str, tuple[int, ...]]
    notes: tuple[str, ...]

    @property
    def usable(self) -> bool:
        """Whether every listed picture can be read."""
        return not any(count.missing or count.damaged for count in self.splits.values())


def check(data: FewShotDataset) -> Check:
    """Count a data set; pictures that cannot be read are named and left out of the lists.

    Raises:
        FcpError: a list of pictures that cannot be read.
    """
    areas: dict[Split, Areas] = {}
    splits: dict[str, SplitCount] = {}
    for split in SPLITS:
        areas[split], splits[split] = _count(data, split)
    lists = _rules(data, areas)
    rules = {name: tuple(len(one.rows) for one in by_fold) for name, by_fold in lists.items()}
    expected = RELEASED if isinstance(data, PascalVOC) else {}
    return Check(
        title=data.title,
        pool=data.pool,
        classes=len(data.classes),
        splits=splits,
        rules=rules,
        folds=data.folds,
        expected=expected,
        notes=(
            *_explain_files(splits),
            *_explain(data, splits, rules),
            *_explain_small(data.folds, lists["val"]),
        ),
    )


def _count(data: FewShotDataset, split: Split) -> tuple[Areas, SplitCount]:
    ids = data.ids(split)
    absent = {p: [f for f in data.files(p) if not f.is_file()] for p in ids}
    missing = tuple(str(file) for files in absent.values() for file in files)
    areas, damaged = _readable_areas(data, split, [p for p in ids if not absent[p]])
    shown = {class_id for pixels in areas.values() for class_id in pixels}
    return areas, SplitCount(len(ids), missing, damaged, len(shown))


def _readable_areas(
    data: FewShotDataset, split: Split, pictures: list[str]
) -> tuple[Areas, tuple[str, ...]]:
    """Return the counts of the readable masks, and a line for each unreadable one."""
    if len(pictures) == len(data.ids(split)):
        with suppress(FcpError):
            return data.areas(split), ()
    areas, damaged = {}, []
    for picture in pictures:
        try:
            areas[picture] = data.pixels(picture)
        except FcpError as error:
            damaged.append(str(error))
    return areas, tuple(damaged)


def _rules(data: FewShotDataset, areas: Mapping[Split, Areas]) -> dict[str, list[ClassLists]]:
    """Apply each list rule in use here, and the variants that other programs use."""
    train, folds = areas["train"], data.folds
    rules = {
        "train filtered": [train_lists(data, fold, areas=train) for fold in folds],
        "train unfiltered": [
            train_lists(data, fold, filtered=False, areas=train) for fold in folds
        ],
        "val": [val_lists(data, fold, areas=areas["val"]) for fold in folds],
    }
    if data.min_pixels > 1:
        rules["train filtered, any size"] = [
            make_lists(train, _names(data, fold), min_pixels=1, banned=data.novel(fold))
            for fold in folds
        ]
        rules["train unfiltered, any size"] = [
            make_lists(train, _names(data, fold), min_pixels=1) for fold in folds
        ]
        rules["val, any size"] = [
            make_lists(areas["val"], {c: data.classes[c] for c in data.novel(fold)}, min_pixels=1)
            for fold in folds
        ]
    return rules


def _names(data: FewShotDataset, fold: int | None) -> dict[int, str]:
    return {c: data.classes[c] for c in data.base(fold)}


def _explain_files(splits: Mapping[str, SplitCount]) -> Iterator[str]:
    for split, count in splits.items():
        for what, lines in (("missing", count.missing), ("damaged", count.damaged)):
            if lines:
                yield f"{split}: {counted(len(lines), 'file')} {what}, such as {lines[0]}"


def _explain_small(folds: Sequence[int | None], lists: Sequence[ClassLists]) -> Iterator[str]:
    """Report splits without episodes, and classes too small for them."""
    for fold, of_fold in zip(folds, lists, strict=True):
        small = [of_fold.names[c] for c, members in of_fold.members.items() if len(members) < 2]
        where = "val" if fold is None else f"val, fold {fold}"
        if not of_fold.rows:
            yield f"{where}: no picture is listed, so there are no episodes"
        elif small:
            few = counted(len(small), "class", "classes")
            yield f"{where}: {few} with fewer than 2 pictures, such as {small[0]}"


def _explain(
    data: FewShotDataset,
    splits: Mapping[str, SplitCount],
    rules: Mapping[str, tuple[int, ...]],
) -> Iterator[str]:
    if isinstance(data, PascalVOC):
        yield from _explain_pascal(data, splits, rules)
    elif isinstance(data, Coco):
        left_out = data.left_out()
        if left_out:
            entries = counted(len(left_out), "entry", "entries")
            yield f"left out: {entries} of the JSON, such as {left_out[0]}"
        if isinstance(data, Lvis) and len(data.classes) != WHOLE:
            yield f"{len(data.classes)} classes in two val pictures or more; LVIS-92i has {WHOLE}"
    elif isinstance(data, FSS1000):
        parts = (len(data.base(None)), len(data.holdout(None)), len(data.novel(None)))
        if parts != (520, 240, 240):
            yield f"train/val/test classes: {_row(parts)}; the whole data set has 520/240/240"
    elif isinstance(data, Objects):
        yield from _explain_objects(data)


def _explain_objects(data: Objects) -> Iterator[str]:
    """Report the kinds whose number of masks is not the manifest's."""
    found = Counter(class_id for shown in data.shown.values() for class_id in shown)
    for class_id, kind in data.kinds.items():
        if found[class_id] != kind.masks:
            name = data.classes[class_id]
            yield f"{name}: {found[class_id]} masks; the manifest has {kind.masks}"


def _explain_pascal(
    data: PascalVOC, splits: Mapping[str, SplitCount], rules: Mapping[str, tuple[int, ...]]
) -> Iterator[str]:
    pool, val = splits["train"].pictures, splits["val"].pictures
    if all(rules[name] == rows for name, rows in RELEASED.items()):
        yield "all lists have the released lengths"
        return
    if pool == POOL:
        yield f"the pool has the {POOL:,} pictures of the released lists"
    elif pool == TRAINAUG:
        yield (
            f"the pool is the usual trainaug of {TRAINAUG:,} pictures (SBD train and val); the "
            f"released lists come from {POOL:,} (SBD train alone): pascal5i.txt, by fcp data pascal"
        )
    else:
        yield (
            f"the pool has {pool:,} pictures; the released lists come from {POOL:,}, the usual "
            f"trainaug has {TRAINAUG:,}: a part, or another --pool"
        )
    yield from _compare_pools(data)
    if val != VOC_VAL:
        yield f"val has {val:,} pictures; VOC 2012 val has {VOC_VAL:,}"
    yield from _explain_rows(rules)


def _compare_pools(data: PascalVOC) -> Iterator[str]:
    """Report how an explicit pool differs from the data root's own."""
    own = PascalVOC(data.root)
    if data.pool_file is None or own.list_file("train") == data.pool_file:
        return
    ours, theirs = own.ids("train"), data.ids("train")
    for name, more in (
        (f"in {own.pool} and not in {data.pool}", sorted(set(ours) - set(theirs))),
        (f"in {data.pool} and not in {own.pool}", sorted(set(theirs) - set(ours))),
    ):
        if more:
            yield f"{counted(len(more), 'picture')} {name}, such as {more[0]}"
    if set(ours) == set(theirs) and ours != theirs:
        yield f"{data.pool} has {own.pool}'s pictures in another order: other rows, other draws"


def _explain_rows(rules: Mapping[str, tuple[int, ...]]) -> Iterator[str]:
    """Report, for each released length, whether its rule gives it here, or else which rule does."""
    for name, expected in RELEASED.items():
        if rules[name] == expected:
            yield f"{name}: the released lengths"
            continue
        other = [rule for rule, rows in rules.items() if rows == expected]
        given = f"; the rule {other[0]!r} gives them here" if other else ""
        yield f"{name}: {_row(rules[name])} rows, released {_row(expected)}{given}"


def _row(counts: tuple[int, ...]) -> str:
    return "/".join(str(count) for count in counts)
