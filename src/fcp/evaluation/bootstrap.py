"""Intervals for mIoU by bootstrap over episodes, and for the difference of two models.

A resample draws as many episodes as there were, with replacement and within each run, and pools
them as the score does. The intervals cover only the random choice of the episodes, neither the
seed of the training nor the choice of the pictures, which many episodes share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fcp.errors import FcpError
from fcp.evaluation.episode_counts import MASK, EpisodeCounts, EpisodeId

RESAMPLES = 2000
CONFIDENCE = 0.95

Interval = tuple[float, float]


@dataclass(frozen=True)
class Comparison:
    """Difference of two models on the same episodes.

    Attributes:
        miou_difference: Difference of the mIoUs, ours - theirs, -1 … 1.
        miou_difference_interval: Bounds that hold 95 % of the difference's resamples.
        episodes: Number of compared episodes.
    """

    miou_difference: float
    miou_difference_interval: Interval
    episodes: int


def miou_interval(
    table: EpisodeCounts, kind: str = MASK, *, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """Return the percentile interval (95 %) of the mIoU of one kind of mask.

    Args:
        table: Counts of the episodes.
        kind: Kind of mask, a key of ``table.counts``.
        resamples: Number of resamples, at least one.
        seed: Seed of the resamples.
    """
    return percentiles(resample_miou(table, kind, resamples=resamples, seed=seed))


def compare(
    ours: EpisodeCounts,
    theirs: EpisodeCounts,
    kind: str = MASK,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """Compare two models by the same resamples of the same episodes (paired).

    Args:
        ours: Counts of one model.
        theirs: Counts of the other model, for the same episodes in the same order, which
            ``evaluate`` keeps.
        kind: Kind of mask, a key of both tables' counts.
        resamples: Number of resamples, at least one.
        seed: Seed of the resamples.

    Raises:
        FcpError: the episodes or their truths are not the same.
    """
    _check_pairs(ours, theirs, kind)
    differences = resample_miou(ours, kind, resamples=resamples, seed=seed) - resample_miou(
        theirs, kind, resamples=resamples, seed=seed
    )
    return Comparison(
        miou_difference=ours.scores(kind).miou - theirs.scores(kind).miou,
        miou_difference_interval=percentiles(differences),
        episodes=len(ours.ids),
    )


def resample_miou(
    table: EpisodeCounts, kind: str = MASK, *, resamples: int = RESAMPLES, seed: int = 0
) -> np.ndarray:
    """Return the mIoU of each resample, (R,): within runs, then the mean over the runs.

    The same seed draws the same episodes from every table with runs of the same lengths.
    """
    total = np.zeros(resamples)
    runs = table.runs()
    for index, rows in enumerate(runs.values()):
        generator = np.random.default_rng(np.random.SeedSequence([seed, index]))
        even = np.full(len(rows), 1 / len(rows))
        times = generator.multinomial(len(rows), even, size=resamples)  # (R, n): drawn how often
        names = [table.ids[row].class_name for row in rows]
        total += _weighted_miou(times.astype(float), table.counts[kind][rows], names)
    return total / len(runs)


def _weighted_miou(times: np.ndarray, counts: np.ndarray, names: list[str]) -> np.ndarray:
    """Pool by class and take the mean over the classes that were drawn.

    Args:
        times: Number of times that each episode was drawn in each resample (R, n).
        counts: Pixel counts of each episode (n, 4): tp, fp, fn, tn.
        names: Class names of the n episodes.
    """
    _, of_class = np.unique(names, return_inverse=True)
    members = np.eye(of_class.max() + 1)[of_class]  # (n, C): 1 where the episode asks the class
    # Sums of pixels stay far below 2^53, so floats hold them exactly.
    intersections = times @ (members * counts[:, :1])  # (R, C)
    unions = times @ (members * counts[:, :3].sum(axis=1, keepdims=True))
    drawn = times @ members > 0
    ious = np.ones_like(unions)  # 1 where neither truth nor prediction has a pixel
    np.divide(intersections, unions, out=ious, where=unions > 0)
    return np.where(drawn, ious, 0).sum(axis=1) / drawn.sum(axis=1)


def percentiles(values: np.ndarray) -> Interval:
    """Return the bounds that hold 95 % of resampled values (R,)."""
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(values, [tail, 100 - tail])
    return float(low), float(high)


def check_same_episodes(ours: Sequence[EpisodeId], theirs: Sequence[EpisodeId]) -> None:
    """Refuse a comparison of models that were run on different episodes.

    Raises:
        FcpError: a run, an episode or their order differs.
    """
    if tuple(ours) != tuple(theirs):
        raise FcpError(
            f"comparison: these {len(ours)} episodes are not the other model's {len(theirs)}; "
            "score both with the same folds, shots and seeds, or the same episode file"
        )


def _check_pairs(ours: EpisodeCounts, theirs: EpisodeCounts, kind: str) -> None:
    for table in (ours, theirs):
        if kind not in table.counts:
            raise FcpError(f"kind: expected one of {', '.join(table.counts)}, got {kind!r}")
    check_same_episodes(ours.ids, theirs.ids)
    true, other = (table.truth(kind)[0] for table in (ours, theirs))
    if not np.array_equal(true, other):
        raise FcpError("comparison: the same episodes have other masks; score both on one data set")
