"""Runs a predictor over episodes and scores all its masks; knows no model and no launcher.

Two resolutions are counted: ``square`` compares at 512×512 squashed (the paper's), ``original`` at
the photo's own size (what a user gets). Pixels labelled 255 are left out of both.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from fcp.data.episodes import EpisodeSpec
from fcp.data.folds import class_name
from fcp.data.pascal import IGNORE, PascalVOC
from fcp.data.transforms import logits_to_size, mask_to_square, to_square
from fcp.errors import FcpError
from fcp.evaluation.metrics import Counts, ScoreBoard, Scores, count_pixels

COMPARISON_SIZE = 512
THRESHOLD = 0.5
MASK = "mask"


@dataclass(frozen=True)
class Picture:
    """A picture that is read only when asked, so that a predictor's cache saves the reading too.

    Attributes:
        data: where it lies.
        id: its name in the data set, fit for a cache key.
        size: side S of the square that the predictor wants, px.
    """

    data: PascalVOC
    id: str
    size: int

    def image(self) -> Tensor:
        """Read and squash it: (3, S, S) RGB in 0 … 1."""
        return to_square(self.data.image(self.id), self.size)


@dataclass(frozen=True)
class Example(Picture):
    """A support picture: it also has a mask, of the class ``class_id``."""

    class_id: int

    def mask(self) -> Tensor:
        """Read and squash its mask: (S, S), 0 or 1; pixels labelled 255 are not foreground."""
        return mask_to_square(self.data.class_mask(self.id, self.class_id), self.size)


class Predictor(Protocol):
    """Anything that finds in a query what the supports show."""

    def __call__(self, supports: Sequence[Example], query: Picture) -> Mapping[str, Tensor]:
        """Return probability maps (H', W') in 0 … 1 at any size.

        ``"mask"`` is the prediction. Other names, such as ``"attention"`` and ``"conventional"``,
        are pseudo masks, which are scored as well; the same names in every episode.
        """


@dataclass(frozen=True)
class EvaluationResult:
    """What an evaluation found.

    Attributes:
        square: the prediction at 512×512.
        original: the prediction at the photo's own size.
        pseudo_masks: name → its scores at 512×512.
        episodes: how many episodes were run.
        seconds: wall-clock time of all of them.
    """

    square: Scores
    original: Scores
    pseudo_masks: dict[str, Scores]
    episodes: int
    seconds: float


def evaluate(
    predictor: Predictor,
    dataset: PascalVOC,
    episodes: Sequence[EpisodeSpec],
    *,
    image_size: int,
    progress: Callable[[int, int], None] | None = None,
) -> EvaluationResult:
    """Run all episodes and score them.

    Args:
        predictor: what is evaluated.
        dataset: where the pictures and masks lie.
        episodes: what to ask, at least one.
        image_size: side of the squares that the predictor is given, px.
        progress: called after each episode with (done, all).

    Raises:
        FcpError: no episodes, or a picture that cannot be read.
    """
    if not episodes:
        raise FcpError("episodes: expected at least one")
    started = time.perf_counter()
    square: dict[str, ScoreBoard] = {}
    original = ScoreBoard()
    # Sums do not mind the order; neighbours that share a class and a query make caches work.
    ordered = sorted(episodes, key=lambda spec: (spec.class_id, spec.query))
    for done, spec in enumerate(ordered, start=1):
        supports = [Example(dataset, id, image_size, spec.class_id) for id in spec.supports]
        maps = predictor(supports, Picture(dataset, spec.query, image_size))
        labels, name = dataset.labels(spec.query), class_name(spec.class_id)
        for kind, probabilities in maps.items():
            counts = count_at_square(probabilities, labels, spec.class_id)
            square.setdefault(kind, ScoreBoard()).add(name, counts)
        original.add(name, count_at_original(maps[MASK], labels, spec.class_id))
        if progress is not None:
            progress(done, len(ordered))
    scores = {kind: board.compute() for kind, board in square.items()}
    return EvaluationResult(
        square=scores.pop(MASK),
        original=original.compute(),
        pseudo_masks=scores,
        episodes=len(ordered),
        seconds=time.perf_counter() - started,
    )


def count_at_square(probabilities: Tensor, labels: np.ndarray, class_id: int) -> Counts:
    """Count a map at 512×512: the map resized bilinearly, the labels by nearest neighbour.

    Args:
        probabilities: (H', W') in 0 … 1; ≥ 0.5 is foreground.
        labels: (H, W) label ids, 255 left out.
        class_id: the label that is foreground.
    """
    return count_pixels(
        logits_to_size(probabilities, (COMPARISON_SIZE, COMPARISON_SIZE)).cpu() >= THRESHOLD,
        mask_to_square(labels == class_id, COMPARISON_SIZE) > 0,
        mask_to_square(labels != IGNORE, COMPARISON_SIZE) > 0,
    )


def count_at_original(probabilities: Tensor, labels: np.ndarray, class_id: int) -> Counts:
    """Count a map at the photo's own size: only the map is resized; as ``count_at_square``."""
    return count_pixels(
        logits_to_size(probabilities, (labels.shape[0], labels.shape[1])).cpu() >= THRESHOLD,
        torch.from_numpy(labels == class_id),
        torch.from_numpy(labels != IGNORE),
    )
