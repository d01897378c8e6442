"""A folder with one folder for each class, as a data set; each picture shows one class.

Pictures are called ``CLASS/NAME``, where NAME is the path below the folder of pictures, with the
suffixes only in a class where they alone distinguish two pictures. There are no folds and no
ignored pixels, and one pixel of a class is enough to be listed. Pictures are listed in turn of
their classes, since samplers take the rows in order: a few episodes ask all classes, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import zip_longest
from pathlib import Path
from typing import ClassVar

import numpy as np

from fcp.data.counts import count_areas
from fcp.data.dataset import ClassicRule, Split
from fcp.data.folder import find_folder, pair_whole_folder
from fcp.data.folds import refuse_fold
from fcp.data.images import read_image, read_mask
from fcp.data.mask_names import IMAGE_FOLDERS, MASK_FOLDERS
from fcp.errors import FcpError

# Picture id → the name of its class, its photo and its mask.
Entries = Mapping[str, tuple[str, tuple[Path, Path]]]


@dataclass(frozen=True)
class ClassFolders:
    """Any folder of ``CLASS/images`` and ``CLASS/masks``; each mask is a PNG of its photo's name.

    Every class is used for training and for testing. A score is a few-shot score only if the model
    was not trained on these classes, which this class cannot know.

    Attributes:
        root: Folder that holds the classes.
    """

    root: Path
    title = "folder of classes"
    min_pixels = 1
    folds = (None,)
    classic_rule: ClassVar[ClassicRule] = "row"

    def __post_init__(self) -> None:
        """Refuse a folder that holds no classes, or a class whose files do not pair.

        Raises:
            FcpError: the folder is not of this layout; the message names the class and the file.
        """
        self.entries()

    @property
    def pool(self) -> str:
        """Name of the training pictures, for protocol cards."""
        return "every picture of the folder"

    @property
    def classes(self) -> Mapping[int, str]:
        """Class id 1, 2, … → the class's folder, sorted."""
        return _classes(self)

    def novel(self, fold: int | None) -> tuple[int, ...]:
        """Return the class ids that are tested.

        Raises:
            FcpError: a fold is asked for.
        """
        refuse_fold(fold, self.title)
        return tuple(self.classes)

    def base(self, fold: int | None) -> tuple[int, ...]:
        """Return the class ids that are trained on."""
        return self.novel(fold)

    def holdout(self, fold: int | None) -> tuple[int, ...]:
        """Return the class ids that checkpoints are compared on."""
        return self.novel(fold)

    def ids(self, split: Split) -> tuple[str, ...]:
        """Return all picture ids in turn of their classes: both splits are the whole folder."""
        return in_turn(self.entries())

    def areas(self, split: Split) -> Mapping[str, Mapping[int, int]]:
        """Count the foreground of each mask, once per process.

        Raises:
            FcpError: a mask that cannot be read.
        """
        return _areas(self, split)

    def pixels(self, picture: str) -> Mapping[int, int]:
        """Count the pixels of the picture's one class; none where its mask is empty.

        Raises:
            FcpError: missing or damaged.
        """
        class_id = self.class_id(picture)
        count = int(self.class_mask(picture, class_id).sum())
        return {class_id: count} if count else {}

    def files(self, picture: str) -> tuple[Path, Path]:
        """Return a picture's photo and mask."""
        return self._entry(picture)[1]

    def image_path(self, picture: str) -> Path:
        """Return where a picture's photo lies."""
        return self.files(picture)[0]

    def image(self, picture: str) -> np.ndarray:
        """Read a photo: (H, W, 3) uint8 RGB.

        Raises:
            FcpError: missing or damaged.
        """
        return read_image(self.image_path(picture))

    def class_mask(self, picture: str, class_id: int) -> np.ndarray:
        """Read the mask of one class: (H, W) bool; empty for a class that the picture is not of.

        Raises:
            FcpError: missing, damaged, or of another size than its photo.
        """
        photo, mask = self.files(picture)
        size = self.image(picture).shape[:2]
        foreground = read_mask(mask, (size[0], size[1]), str(photo))
        return foreground if class_id == self.class_id(picture) else np.zeros_like(foreground)

    def ignored(self, picture: str) -> np.ndarray:
        """Return no pixel, (H, W) bool: every pixel's truth is known."""
        return np.zeros(self.image(picture).shape[:2], bool)

    def class_id(self, picture: str) -> int:
        """Return the one class of a picture.

        Raises:
            FcpError: no such picture.
        """
        return _numbers(self)[self._entry(picture)[0]]

    def entries(self) -> Entries:
        """List the pictures, class by class in sorted order.

        Raises:
            FcpError: the folder is not of this layout.
        """
        return _folder_entries(self.root)

    def _entry(self, picture: str) -> tuple[str, tuple[Path, Path]]:
        found = self.entries().get(picture)
        if found is None:
            raise FcpError(f"{self.root}: no picture {picture!r} in it")
        return found


def in_turn(entries: Entries) -> tuple[str, ...]:
    """Return picture ids in turn of their classes: the first of each, then the second of each.

    Args:
        entries: Pictures to list; the order of those of one class stays.
    """
    by_class: dict[str, list[str]] = {}
    for picture, (name, _) in entries.items():
        by_class.setdefault(name, []).append(picture)
    rounds = zip_longest(*(by_class[name] for name in sorted(by_class)))
    return tuple(picture for one in rounds for picture in one if picture is not None)


@lru_cache(maxsize=8)
def _folder_entries(root: Path) -> Entries:
    if not root.is_dir():
        raise FcpError(f"{root}: no such folder; it must hold CLASS/images and CLASS/masks")
    folders = sorted(f for f in root.iterdir() if f.is_dir() and not f.name.startswith("."))
    classes = [f for f in folders if find_folder(f, IMAGE_FOLDERS) or find_folder(f, MASK_FOLDERS)]
    if not classes:
        raise FcpError(f"{root}: no CLASS/images with CLASS/masks in it")
    return {
        f"{folder.name}/{name}": (folder.name, pair)
        for folder in classes
        for name, pair in _named(folder, pair_whole_folder(folder)).items()
    }


def _named(folder: Path, pairs: Sequence[tuple[Path, Path]]) -> dict[str, tuple[Path, Path]]:
    """Return pairs by their pictures' unique names in the folder of a class."""
    above = find_folder(folder, IMAGE_FOLDERS) or folder
    whole = [image.relative_to(above) for image, _ in pairs]
    bare = [name.with_suffix("") for name in whole]
    names = bare if len(set(bare)) == len(bare) else whole
    return {name.as_posix(): pair for name, pair in zip(names, pairs, strict=True)}


@lru_cache(maxsize=8)
def _areas(data: ClassFolders, split: Split) -> Mapping[str, Mapping[int, int]]:
    return count_areas(data, split)


@lru_cache(maxsize=8)
def _classes(data: ClassFolders) -> Mapping[int, str]:
    return dict(enumerate(sorted({name for name, _ in data.entries().values()}), start=1))


@lru_cache(maxsize=8)
def _numbers(data: ClassFolders) -> Mapping[str, int]:
    return {name: class_id for class_id, name in data.classes.items()}
