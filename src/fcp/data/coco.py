"""COCO-20i: COCO's pictures with the masks of the index that ``fcp data coco`` builds.

Without an index, small instances JSON files (a part of COCO) are indexed in memory, which takes
seconds. The full JSON files would cost minutes and gigabytes at each start of a command, so for
these an index is required.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pycocotools import mask as rle_tools

from fcp.data.coco_index import (
    COCO_LAYOUT,
    FORMAT,
    Layout,
    clear_errors,
    fact_of,
    fill,
    read_source,
)
from fcp.data.dataset import ClassicRule, Split
from fcp.data.folds import coco_novel_classes
from fcp.data.images import read_image
from fcp.errors import FcpError

MIN_PIXELS = 2 * 32 * 32
IN_MEMORY_BYTES = 20_000_000  # of JSON: about ten seconds


@dataclass(frozen=True)
class Coco:
    """COCO 2014 (COCO-20i's own) or 2017 under ``COCO/`` of the data root.

    A picture's id is its file's name without suffix; a class id 1 … 80 counts the categories in
    the order of COCO's ids.

    Attributes:
        root: Data root; ``COCO/`` in it holds coco20i.sqlite, or ``annotations/`` with
            instances_{train,val}{2014,2017}.json and the pictures in train2014/ and so on.
    """

    root: Path
    layout: ClassVar[Layout] = COCO_LAYOUT
    title = "COCO-20i (masks from the instances JSON, crowds included)"
    min_pixels = MIN_PIXELS
    folds: ClassVar[tuple[int | None, ...]] = (0, 1, 2, 3)
    classic_rule: ClassVar[ClassicRule] = "class"

    def __post_init__(self) -> None:
        """Refuse a root without an index or small JSON files.

        Raises:
            FcpError: no data, an index that is damaged or not finished, or large JSON files without
                an index; the message names the command to run.
        """
        self._ask("SELECT 1")

    @property
    def pool(self) -> str:
        """Name of the JSON that the training pictures come from."""
        found = self._ask("SELECT value FROM facts WHERE name = 'name train'")
        return str(found[0][0]) if found else "none"

    @property
    def classes(self) -> Mapping[int, str]:
        """Class id 1, 2, … → the category's name."""
        return _classes(self)

    def novel(self, fold: int | None) -> tuple[int, ...]:
        """Return the twenty class ids that a fold tests; none for no fold.

        Raises:
            FcpError: no such fold.
        """
        return () if fold is None else coco_novel_classes(fold)

    def base(self, fold: int | None) -> tuple[int, ...]:
        """Return the sixty class ids that a fold trains on; all eighty for no fold."""
        novel = self.novel(fold)
        return tuple(c for c in self.classes if c not in novel)

    def holdout(self, fold: int | None) -> tuple[int, ...]:
        """Return the base classes: the hold-out are val pictures that show no novel one."""
        return self.base(fold)

    def ids(self, split: Split) -> tuple[str, ...]:
        """Return the picture ids of a split, sorted."""
        return tuple(self.areas(split))

    def areas(self, split: Split) -> Mapping[str, Mapping[int, int]]:
        """Return the pixels of each class in the pictures of a split, which the index holds."""
        return areas_of_split(self, split)

    def pixels(self, picture: str) -> Mapping[int, int]:
        """Return the pixels of each class in a picture."""
        query = "SELECT class, pixels FROM masks WHERE picture = ? ORDER BY class"
        return dict(self._ask(query, picture))

    def files(self, picture: str) -> tuple[Path]:
        """Return a picture's photo; its masks are in the index."""
        return (self.image_path(picture),)

    def image_path(self, picture: str) -> Path:
        """Return where a picture's photo lies.

        Raises:
            FcpError: no such picture.
        """
        query = (
            "SELECT value, file FROM pictures JOIN facts ON name = 'images ' || split WHERE id = ?"
        )
        self._size(picture)
        folder, file = self._ask(query, picture)[0]
        return self.root / self.layout.folder / folder / file

    def image(self, picture: str) -> np.ndarray:
        """Read a photo: (H, W, 3) uint8 RGB.

        Raises:
            FcpError: missing, damaged, or of another size than its masks.
        """
        image = read_image(self.image_path(picture))
        if image.shape[:2] != self._size(picture):
            size = "×".join(map(str, reversed(self._size(picture))))
            path = self.image_path(picture)
            raise FcpError(f"{path}: not of the {size} px that the JSON says; download it again")
        return image

    def class_mask(self, picture: str, class_id: int) -> np.ndarray:
        """Paint the mask of one class: (H, W) bool, maybe empty.

        Raises:
            FcpError: no such picture.
        """
        height, width = self._size(picture)
        query = "SELECT runs FROM masks WHERE picture = ? AND class = ?"
        found = self._ask(query, picture, class_id)
        if not found:
            return np.zeros((height, width), bool)
        return rle_tools.decode({"size": [height, width], "counts": found[0][0]}).astype(bool)

    def ignored(self, picture: str) -> np.ndarray:
        """Return no pixel, (H, W) bool: COCO marks none whose truth is unknown."""
        height, width = self._size(picture)
        return np.zeros((height, width), bool)

    def left_out(self) -> tuple[str, ...]:
        """Return a line for each picture or annotation that the index had to leave out."""
        return tuple(str(line) for (line,) in self._ask("SELECT line FROM problems"))

    @property
    def index(self) -> Path:
        """Path of the index; the file need not exist."""
        return self.root / self.layout.folder / self.layout.index

    def _size(self, picture: str) -> tuple[int, int]:
        found = self._ask("SELECT height, width FROM pictures WHERE id = ?", picture)
        if not found:
            raise FcpError(f"{self.index}: no picture {picture!r} in it")
        return found[0]

    def _ask(self, query: str, *values: object) -> list[Any]:
        with clear_errors(self.index, self.layout):
            return _connect(self, os.getpid()).execute(query, values).fetchall()


@lru_cache(maxsize=4)
def _connect(data: Coco, process: int) -> sqlite3.Connection:
    """Open the index; each process needs a connection of its own."""
    index, layout = data.index, data.layout
    if not index.is_file():
        return _in_memory(data.root, layout)
    address = f"{index.resolve().as_uri()}?mode=ro"
    database = sqlite3.connect(address, uri=True, check_same_thread=False)
    with clear_errors(index, layout):
        done = [fact_of(database, f"done {split}") for split in layout.splits]
        if fact_of(database, "format") != FORMAT or None in done:
            needed = " and ".join(layout.splits)
            raise FcpError(
                f"{index}: not finished; run fcp data {layout.command} again with the JSON of "
                f"{needed}"
            )
    return database


def _in_memory(root: Path, layout: Layout) -> sqlite3.Connection:
    folder, images = root / layout.folder, root / COCO_LAYOUT.folder
    files = _find_annotations(folder, layout)
    if sum(file.stat().st_size for file in files) > IN_MEMORY_BYTES:
        command = " ".join(f"--annotations {file}" for file in files)
        raise FcpError(
            f"{folder}: no {layout.index}; make it once: "
            f"fcp data {layout.command} --images {images} {command} --out {root}"
        )
    database = sqlite3.connect(":memory:", check_same_thread=False)
    for file in files:
        fill(database, read_source(file, images, layout), images, lambda *_: None)
    return database


def _find_annotations(folder: Path, layout: Layout) -> list[Path]:
    """Return the JSON files of the first release of which all are there."""
    for names in layout.annotations:
        files = [folder / "annotations" / name for name in names.values()]
        if all(file.is_file() for file in files):
            return files
    expected = " and ".join(layout.annotations[0].values())
    raise FcpError(
        f"{folder}: neither {layout.index} nor annotations/ with {expected}; make the index with "
        f"fcp data {layout.command}"
    )


@lru_cache(maxsize=8)
def _classes(data: Coco) -> Mapping[int, str]:
    return dict(data._ask("SELECT id, name FROM classes ORDER BY id"))


@lru_cache(maxsize=8)
def areas_of_split(data: Coco, split: Split) -> Mapping[str, Mapping[int, int]]:
    """Read a split's areas from the index, once per process; see ``Coco.areas``."""
    pictures = data._ask("SELECT id FROM pictures WHERE split = ? ORDER BY id", split)
    areas: dict[str, dict[int, int]] = {picture: {} for (picture,) in pictures}
    query = (
        "SELECT picture, class, pixels FROM masks JOIN pictures ON picture = id "
        "WHERE split = ? ORDER BY picture, class"
    )
    for picture, class_id, pixels in data._ask(query, split):
        areas[picture][class_id] = pixels
    return areas
