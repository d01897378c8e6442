"""Runs a predictor over episodes and scores all its masks; knows no model and no launcher.

Two resolutions are counted: ``square`` compares at 512×512 squashed (the paper's), ``original`` at
the photo's own size (what a user gets). Ignored pixels are left out of both.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from functools import cached_property
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from fcp.data.dataset import ClassExample, FewShotDataset, Picture
from fcp.data.episodes import EpisodeSpec
from fcp.data.transforms import map_to_size, mask_to_square
from fcp.errors import FcpError
from fcp.evaluation.episode_counts import (
    MASK,
    ORIGINAL,
    EpisodeCounts,
    EpisodeDraw,
    EpisodeId,
    identify,
)
from fcp.evaluation.metrics import Counts, Scores, count_pixels

COMPARISON_SIZE = 512
THRESHOLD = 0.5

AnswerT = TypeVar("AnswerT")
Progress = Callable[[int, int], None]  # (done, all)


@dataclass(frozen=True)
class Truth:
    """True mask of a query's class, at the photo's own size.

    Attributes:
        mask: Boolean mask of the class (H, W).
        ignored: Boolean mask of the pixels that no score counts (H, W).
    """

    mask: np.ndarray
    ignored: np.ndarray

    @cached_property
    def square(self) -> tuple[Tensor, Tensor]:
        """The class and the pixels that count, both (512, 512) bool, by nearest neighbour."""
        return (
            mask_to_square(self.mask, COMPARISON_SIZE) > 0,
            mask_to_square(self.ignored, COMPARISON_SIZE) == 0,
        )


class Predictor(Protocol):
    """A function that segments in a query the class that the supports show."""

    def __call__(self, supports: Sequence[ClassExample], query: Picture) -> Mapping[str, Tensor]:
        """Return probability maps (H', W') in 0 … 1 at any size.

        ``"mask"`` is the prediction. Other names, such as ``"attention"`` and ``"conventional"``,
        are pseudo masks, which are scored as well; the same names in every episode.
        """


@dataclass(frozen=True)
class EvaluationResult:
    """Pixel counts and duration of an evaluation.

    Attributes:
        counts: Pixel counts of every episode, sorted by run, class and query.
        seconds: Wall-clock time of all episodes, s.
    """

    counts: EpisodeCounts
    seconds: float

    @property
    def episodes(self) -> int:
        """Number of episodes."""
        return len(self.counts.ids)

    @cached_property
    def square(self) -> Scores:
        """Scores of the prediction at 512×512."""
        return self.counts.scores(MASK)

    @cached_property
    def original(self) -> Scores:
        """Scores of the prediction at the photo's own size."""
        return self.counts.scores(ORIGINAL)

    @cached_property
    def pseudo_masks(self) -> dict[str, Scores]:
        """Scores of each pseudo mask at 512×512, by its name."""
        names = [kind for kind in self.counts.counts if kind not in (MASK, ORIGINAL)]
        return {name: self.counts.scores(name) for name in names}


def evaluate(
    predictor: Predictor,
    dataset: FewShotDataset,
    episodes: Sequence[EpisodeSpec],
    *,
    image_size: int,
    progress: Progress | None = None,
) -> EvaluationResult:
    """Run all episodes and score them.

    Args:
        predictor: Predictor to evaluate.
        dataset: Data set of the pictures and masks.
        episodes: Episodes to run, at least one.
        image_size: Side of the squares that the predictor is given, px.
        progress: Function called after each episode with (done, all).

    Raises:
        FcpError: no episodes, or a picture that cannot be read.
    """
    runs = {EpisodeDraw(): episodes}
    return evaluate_runs(predictor, dataset, runs, image_size=image_size, progress=progress)


def evaluate_runs(
    predictor: Predictor,
    dataset: FewShotDataset,
    runs: Mapping[EpisodeDraw, Sequence[EpisodeSpec]],
    *,
    image_size: int,
    progress: Progress | None = None,
) -> EvaluationResult:
    """Run the episodes of several draws together, so that they share cached features.

    Args:
        predictor: Predictor to evaluate.
        dataset: Data set of the pictures and masks.
        runs: Episodes by run, at least one of each.
        image_size: Side of the squares that the predictor is given, px.
        progress: Function called after each episode with (done, all).

    Raises:
        FcpError: a draw without episodes, or a picture that cannot be read.
    """
    if not runs or not all(runs.values()):
        raise FcpError("episodes: expected at least one")
    started = time.perf_counter()
    asked = _line_up(runs)
    specs = [spec for _, spec in asked]
    counted: dict[int, dict[str, Counts]] = {}
    for index, maps in ask_episodes(
        predictor, dataset, specs, image_size=image_size, progress=progress
    ):
        truth = truth_of(dataset, specs[index].query, specs[index].class_id)
        counted[index] = _count_maps(maps, truth)
    rows = [counted[index] for index in range(len(asked))]
    return EvaluationResult(
        counts=EpisodeCounts(
            ids=episode_ids(dataset, runs),
            counts={
                kind: np.array([astuple(row[kind]) for row in rows], dtype=np.int64)
                for kind in rows[0]
            },
        ),
        seconds=time.perf_counter() - started,
    )


def ask_episodes(
    ask: Callable[[Sequence[ClassExample], Picture], AnswerT],
    dataset: FewShotDataset,
    episodes: Sequence[EpisodeSpec],
    *,
    image_size: int,
    progress: Progress | None = None,
) -> Iterator[tuple[int, AnswerT]]:
    """Run one episode after another, in an order that reads few pictures twice.

    Args:
        ask: Function called with an episode's supports and query.
        dataset: Data set of the pictures and masks.
        episodes: Episodes to run, at least one.
        image_size: Side of the squares that pictures are squashed to, px.
        progress: Function called with (done, all) once the caller has processed an answer.

    Yields:
        Index of an episode among ``episodes``, and its answer. Episodes of one class and query
        follow each other, so that caches are used.

    Raises:
        FcpError: no episodes, or a picture that cannot be read.
    """
    if not episodes:
        raise FcpError("episodes: expected at least one")
    order = sorted(range(len(episodes)), key=lambda i: (episodes[i].class_id, episodes[i].query))
    for done, index in enumerate(order, start=1):
        spec = episodes[index]
        supports = [ClassExample(dataset, id, image_size, spec.class_id) for id in spec.supports]
        yield index, ask(supports, Picture(dataset, spec.query, image_size))
        if progress is not None:
            progress(done, len(order))


def truth_of(dataset: FewShotDataset, picture: str, class_id: int) -> Truth:
    """Read the true mask of a class in a picture.

    Raises:
        FcpError: its mask cannot be read.
    """
    return Truth(dataset.class_mask(picture, class_id), dataset.ignored(picture))


def episode_ids(
    dataset: FewShotDataset, runs: Mapping[EpisodeDraw, Sequence[EpisodeSpec]]
) -> tuple[EpisodeId, ...]:
    """Name all episodes, in the order in which ``evaluate_runs`` returns their counts.

    That order is by fold, seed, class, query and supports, whatever the order of ``runs``.
    """
    return tuple(
        identify(spec, dataset.classes[spec.class_id], run) for run, spec in _line_up(runs)
    )


def _line_up(
    runs: Mapping[EpisodeDraw, Sequence[EpisodeSpec]],
) -> list[tuple[EpisodeDraw, EpisodeSpec]]:
    return [
        (run, spec)
        for run in sorted(runs, key=_place_of)
        for spec in sorted(runs[run], key=lambda s: (s.class_id, s.query, s.supports))
    ]


def _place_of(run: EpisodeDraw) -> tuple[int, int]:
    """Return the fold and the seed of a run, -1 where there is none."""
    return (
        -1 if run.fold is None else run.fold,
        -1 if run.seed is None else run.seed,
    )


def _count_maps(maps: Mapping[str, Tensor], truth: Truth) -> dict[str, Counts]:
    """Count an episode's maps: kind of mask → its counts."""
    counts = {kind: count_at_square(probabilities, truth) for kind, probabilities in maps.items()}
    return {ORIGINAL: count_at_original(maps[MASK], truth), **counts}


def count_at_square(probabilities: Tensor, truth: Truth) -> Counts:
    """Count a map at 512×512: the map resized bilinearly, the truth by nearest neighbour.

    Args:
        probabilities: Foreground probability (H', W'), 0 … 1; ≥ 0.5 is foreground.
        truth: True mask and ignored pixels of the query.
    """
    return count_pixels(
        map_to_size(probabilities, (COMPARISON_SIZE, COMPARISON_SIZE)).cpu() >= THRESHOLD,
        *truth.square,
    )


def count_at_original(probabilities: Tensor, truth: Truth) -> Counts:
    """Count a map at the photo's own size, to which it is resized; see ``count_at_square``."""
    return count_pixels(
        map_to_size(probabilities, truth.mask.shape).cpu() >= THRESHOLD,
        torch.from_numpy(truth.mask),
        torch.from_numpy(~truth.ignored),
    )
