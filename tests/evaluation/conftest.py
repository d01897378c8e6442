"""A data set without files and folds, and counts as an evaluation leaves them."""

from pathlib import Path

import numpy as np
import pytest

from fcp.evaluation.episode_counts import EpisodeCounts, EpisodeDraw, EpisodeId

ONE_RUN = (EpisodeDraw(0, 0),)


class Shapes:
    """Two classes without folds: discs and bars on 40×30 px, with an ignored last column."""

    title, pool, min_pixels = "Shapes", "none", 10
    folds, classic_rule = (None,), "row"
    classes = {3: "disc", 8: "bar"}  # noqa: RUF012

    def novel(self, fold):
        return tuple(self.classes)

    base = holdout = novel

    def ids(self, split):
        return tuple(f"{name}{copy}" for name in self.classes.values() for copy in range(4))

    def areas(self, split):
        return {
            id: {c: int(n) for c in self.classes if (n := self.class_mask(id, c).sum())}
            for id in self.ids(split)
        }

    def image_path(self, picture):
        return Path(picture)

    def image(self, picture):
        mask = self.class_mask(picture, 3) | self.class_mask(picture, 8)
        return np.repeat(mask[..., None], 3, axis=2).astype(np.uint8) * 200

    def class_mask(self, picture, class_id):
        rows, columns = np.mgrid[:30, :40]
        shift = int(picture[-1])
        if picture.startswith("disc"):
            mask = (rows - 15) ** 2 + (columns - 12 - shift) ** 2 < 60
        else:
            mask = abs(rows - 10 - shift) < 3
        shown = self.classes[class_id] == picture[:-1]
        return mask & shown & ~self.ignored(picture)

    def ignored(self, picture):
        return np.arange(40)[None].repeat(30, 0) == 39


@pytest.fixture
def shapes():
    return Shapes()


@pytest.fixture
def make_table():
    """Return a function that makes counts of random masks for so many episodes a run."""

    def make(runs=ONE_RUN, episodes=30, seed=0, kinds=("mask", "original", "attention")):
        generator = np.random.default_rng(seed)
        total = len(runs) * episodes
        names = [("cat", "dog", "cow")[i % 3] for i in range(episodes)]
        ids = tuple(
            EpisodeId(run, f"{i:012x}", f"query {i}", names[i])
            for run in runs
            for i in range(episodes)
        )
        true = np.random.default_rng(1).integers(1, 500, total)
        counts = {}
        for kind in kinds:
            found = (generator.random(total) * (true + 1)).astype(int)
            wrong = generator.integers(0, 300, total)
            counts[kind] = np.stack([found, wrong, true - found, 1000 - true - wrong], axis=1)
        return EpisodeCounts(ids, counts)

    return make
