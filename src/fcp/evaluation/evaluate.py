"""Runs a predictor over episodes and scores all its masks; knows no model and no launcher.

Two resolutions are counted: ``square`` compares at 512×512 squashed (the paper's), ``original`` at
the photo's own size (what a user gets). Ignored pixels are left out of both.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from fcp.data.dataset import Example, FewShotDataset, Picture
from fcp.data.episodes import EpisodeSpec
from fcp.data.transforms import logits_to_size, mask_to_square
from fcp.errors import FcpError
from fcp.evaluation.metrics import Counts, ScoreBoard, Scores, count_pixels

COMPARISON_SIZE = 512
THRESHOLD = 0.5
MASK = "mask"


@dataclass(frozen=True)
class Truth:
    """What a query really shows, at its own size.

    Attributes:
        mask: (H, W) bool, the class.
        ignored: (H, W) bool, pixels that no score counts.
    """

    mask: np.ndarray
    ignored: np.ndarray


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
    dataset: FewShotDataset,
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
        truth = Truth(dataset.class_mask(spec.query, spec.class_id), dataset.ignored(spec.query))
        name = dataset.classes[spec.class_id]
        for kind, probabilities in maps.items():
            counts = count_at_square(probabilities, truth)
            square.setdefault(kind, ScoreBoard()).add(name, counts)
        original.add(name, count_at_original(maps[MASK], truth))
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


def count_at_square(probabilities: Tensor, truth: Truth) -> Counts:
    """Count a map at 512×512: the map resized bilinearly, the truth by nearest neighbour.

    Args:
        probabilities: (H', W') in 0 … 1; ≥ 0.5 is foreground.
        truth: of the query.
    """
    return count_pixels(
        logits_to_size(probabilities, (COMPARISON_SIZE, COMPARISON_SIZE)).cpu() >= THRESHOLD,
        mask_to_square(truth.mask, COMPARISON_SIZE) > 0,
        mask_to_square(truth.ignored, COMPARISON_SIZE) == 0,
    )


def count_at_original(probabilities: Tensor, truth: Truth) -> Counts:
    """Count a map at the photo's own size: only the map is resized; as ``count_at_square``."""
    return count_pixels(
        logits_to_size(probabilities, truth.mask.shape).cpu() >= THRESHOLD,
        torch.from_numpy(truth.mask),
        torch.from_numpy(~truth.ignored),
    )
