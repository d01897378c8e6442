"""FSS-1000: 1000 classes of ten pictures; 520 for training, 240 for validation, 240 for testing.

The test classes are the list that the data set's authors publish (``fss_test_set.txt`` of their
repository, here ``fss1000_test.txt``). They publish no list of the other two parts; the default is
``default_split``, and ``splits/{trn,val,test}.txt`` beside the classes replaces it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

import numpy as np

from fcp.data.class_folders import ClassFolders, Entries, in_turn
from fcp.data.dataset import Split
from fcp.data.folds import refuse_fold
from fcp.data.images import read_image, require_same_size
from fcp.errors import FcpError
from fcp.system.documents import read_text

FOLDER = "FSS-1000"
PARTS = ("trn", "val", "test")
VAL_CLASSES = 240
FOREGROUND = 128  # of 0 … 255: edges of the masks are smoothed


@dataclass(frozen=True)
class FSS1000(ClassFolders):
    """FSS-1000 as ``fcp data fss1000`` lays it out: ``FSS-1000/CLASS/N.jpg`` with ``N.png``.

    The split "train" has the pictures of the training classes; "val" has those of the test classes
    and of the validation classes, on which checkpoints are compared.

    Attributes:
        root: Data root, which holds ``FSS-1000/``.
    """

    title = "FSS-1000"

    @property
    def pool(self) -> str:
        """Name of the source of the classes' split, for protocol cards."""
        return "splits/ in FSS-1000" if self._splits().is_dir() else "published test classes"

    def novel(self, fold: int | None) -> tuple[int, ...]:
        """Return the test classes.

        Raises:
            FcpError: a fold is asked for, or a split file is at odds with the classes.
        """
        return self._part("test", fold)

    def base(self, fold: int | None) -> tuple[int, ...]:
        """Return the training classes."""
        return self._part("trn", fold)

    def holdout(self, fold: int | None) -> tuple[int, ...]:
        """Return the validation classes."""
        return self._part("val", fold)

    def ids(self, split: Split) -> tuple[str, ...]:
        """Return the pictures of the training or of all other classes, in turn of their classes."""
        chosen = set(self.base(None)) if split == "train" else {*self.novel(None)}
        if split == "val":
            chosen |= set(self.holdout(None))
        return in_turn({p: e for p, e in self.entries().items() if self.class_id(p) in chosen})

    def class_mask(self, picture: str, class_id: int) -> np.ndarray:
        """Read the mask of one class: (H, W) bool; empty for a class that the picture is not of.

        Raises:
            FcpError: missing, damaged, or of another size than its photo.
        """
        photo, mask = self.files(picture)
        foreground = read_image(mask).max(axis=2) >= FOREGROUND
        require_same_size(mask, foreground.shape, photo)
        return foreground if class_id == self.class_id(picture) else np.zeros_like(foreground)

    def entries(self) -> Entries:
        """List the pictures, class by class in sorted order.

        Raises:
            FcpError: there is no FSS-1000 under the root.
        """
        return _entries(self.root / FOLDER)

    def _part(self, part: str, fold: int | None) -> tuple[int, ...]:
        refuse_fold(fold, self.title)
        named = _split(self)[part]
        return tuple(class_id for class_id, name in self.classes.items() if name in named)

    def _splits(self) -> Path:
        return self.root / FOLDER / "splits"


def default_split(classes: Iterable[str]) -> dict[str, list[str]]:
    """Split classes without split files: the published test classes, and 240 of the others for val.

    The 240 are the first in the order of the SHA-256 of their names: fixed, and independent of the
    alphabet.
    """
    test = set(files("fcp.data").joinpath("fss1000_test.txt").read_text("utf-8").split())
    others = sorted(set(classes) - test, key=lambda name: hashlib.sha256(name.encode()).digest())
    return {
        "trn": sorted(others[VAL_CLASSES:]),
        "val": sorted(others[:VAL_CLASSES]),
        "test": sorted(test & set(classes)),
    }


def read_split(folder: Path, classes: Iterable[str]) -> dict[str, list[str]]:
    """Read ``trn.txt``, ``val.txt`` and ``test.txt``, one class a line.

    Raises:
        FcpError: a file is missing, or names a class that does not exist or that another file also
            names.
    """
    known, taken = set(classes), dict[str, str]()
    split: dict[str, list[str]] = {}
    for part in PARTS:
        file = folder / f"{part}.txt"
        split[part] = read_text(file).split()
        for name in split[part]:
            if name not in known:
                raise FcpError(f"{file}: there is no class {name!r} in the data")
            if taken.setdefault(name, part) != part:
                raise FcpError(f"{file}: the class {name!r} is in {taken[name]}.txt too")
    return split


@lru_cache(maxsize=8)
def _split(data: FSS1000) -> Mapping[str, frozenset[str]]:
    folder, names = data.root / FOLDER / "splits", data.classes.values()
    parts = read_split(folder, names) if folder.is_dir() else default_split(names)
    return {part: frozenset(classes) for part, classes in parts.items()}


@lru_cache(maxsize=8)
def _entries(folder: Path) -> Entries:
    if not folder.is_dir():
        raise FcpError(f"{folder}: no such folder; make it: fcp data fss1000 ZIP --out DATA_ROOT")
    photos = {
        f"{photo.parent.name}/{photo.stem}": (photo.parent.name, (photo, photo.with_suffix(".png")))
        for photo in sorted(folder.glob("*/*.jpg"), key=_by_class_and_number)
    }
    if not photos:
        raise FcpError(f"{folder}: no CLASS/N.jpg in it; make it again with fcp data fss1000")
    return photos


def _by_class_and_number(photo: Path) -> tuple[str, int, str]:
    return photo.parent.name, int(photo.stem) if photo.stem.isdecimal() else 0, photo.stem
