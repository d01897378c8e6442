"""Cost of a training on several data sets (`shares`): the stage itself, on a few random photos."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import numpy as np

from fcp.data.dataset import FewShotDataset
from fcp.data.lists import ClassLists
from fcp.data.mixed import VOC, TaskSource
from fcp.engine.episodic import EpisodicStage
from fcp.engine.processes import processes
from fcp.engine.recipe import HeadRecipe
from fcp.engine.tracking import Report, say_nothing
from fcp.engine.train_pixels import stage_on_pixels
from fcp.engine.train_stored import photos_to_store, stage_on_views
from fcp.engine.view_store import build_views
from fcp.errors import FcpError
from fcp.method.fcp.model import FCP

_HEIGHT, _WIDTH = 375, 500  # px, of most photos of VOC
_CLASSES = (1, 2)


@dataclass(frozen=True)
class RandomPhotos:
    """Photos of noise as a data set, each with one of two classes in its middle.

    Attributes:
        count: Number of photos of each class.
    """

    count: int

    def files(self, photo: str) -> tuple[Path, ...]:
        """Return no file: a photo follows from its name."""
        return ()

    def image(self, photo: str) -> np.ndarray:
        """Return a photo (H, W, 3) uint8."""
        return _noise(int(photo))

    def class_mask(self, photo: str, class_id: int) -> np.ndarray:
        """Return the mask (H, W) bool of a class."""
        mask = np.zeros((_HEIGHT, _WIDTH), bool)
        if class_id in self.pixels(photo):
            mask[_HEIGHT // 4 : -_HEIGHT // 4, _WIDTH // 4 : -_WIDTH // 4] = True
        return mask

    def pixels(self, photo: str) -> Mapping[int, int]:
        """Return the class that a photo shows, and its number of pixels."""
        return {_CLASSES[int(photo) // self.count]: _HEIGHT * _WIDTH // 4}

    def ignored(self, photo: str) -> np.ndarray:
        """Return no pixel (H, W) bool: the truth is known."""
        return np.zeros((_HEIGHT, _WIDTH), bool)


@cache
def _noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (_HEIGHT, _WIDTH, 3), np.uint8)


@contextmanager
def mixed_stage(
    recipe: HeadRecipe, model: FCP, data_root: Path, report: Report
) -> Iterator[EpisodicStage]:
    """Make the stage of a recipe with shares on random photos; its files last as the context does.

    Args:
        recipe: Recipe with shares.
        model: Model that is trained.
        data_root: Folder of the data sets, whose photos are counted if they are there.
        report: Function that takes each line about how it is measured.

    Raises:
        FcpError: the recipe counts epochs, which needs the data.
    """
    if recipe.optim.epochs is not None:
        raise FcpError("optim.epochs: give optim.iterations for --dry-run of a recipe with shares")
    source = random_source(max(recipe.shots) + 1)
    own = replace(recipe, shares={VOC: 1.0})
    report("measured on random pictures")
    if recipe.train_backbone:
        yield stage_on_pixels(own, model, [source])
        return
    photos = [(source.data, photo) for photo in source.lists.rows]
    model = model.to(processes().device).eval()
    with TemporaryDirectory() as folder:
        started = time.monotonic()
        views = recipe.stored_views
        store = build_views(model, photos, Path(folder), views=views, seed=0, report=say_nothing)
        each = (time.monotonic() - started) / (len(photos) * views)
        report(_of_views(recipe, data_root, each))
        yield stage_on_views(own, model, [source], store)


def random_source(count: int) -> TaskSource:
    """List random photos of two classes, so many of each; either class is absent on the other's."""
    data = RandomPhotos(count)
    rows = tuple(str(number) for number in range(len(_CLASSES) * count))
    members = {c: tuple(row for row in rows if c in data.pixels(row)) for c in _CLASSES}
    lists = ClassLists(
        rows=rows,
        members=members,
        present={row: tuple(data.pixels(row)) for row in rows},
        names={c: str(c) for c in _CLASSES},
    )
    absent = {c: {o: members[o] for o in _CLASSES if o != c} for c in _CLASSES}
    return TaskSource(VOC, cast("FewShotDataset", data), lists, absent)


def _of_views(recipe: HeadRecipe, data_root: Path, seconds: float) -> str:
    """Say what encoding the photos takes before the first step, at so many seconds a view."""
    what = f"{recipe.stored_views} views of each photo are encoded first, {seconds:.2f} s each"
    try:
        photos = photos_to_store(recipe, data_root)
    except FcpError:  # the data are not here
        return what
    total = timedelta(seconds=round(seconds * recipe.stored_views * len(photos)))
    return f"{what}: {len(photos):,} photos, {total} in all"
