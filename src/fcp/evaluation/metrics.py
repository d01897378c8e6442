"""Pixel counts → IoU, precision and recall, pooled as few-shot segmentation does it.

Per class the counts are summed over all episodes before any division; mIoU is the mean over the
classes. The mean of the episodes' own IoUs is another number with its own name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from torch import Tensor


@dataclass(frozen=True)
class Counts:
    """Pixels by prediction and truth: true and false positives and negatives."""

    tp: int = 0
    fp: int = 0
    fn: int = 0
    tn: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.tp + other.tp, self.fp + other.fp, self.fn + other.fn, self.tn + other.tn
        )

    @property
    def iou(self) -> float:
        """Intersection over union; 1 where neither truth nor prediction has a pixel."""
        union = self.tp + self.fp + self.fn
        return self.tp / union if union else 1.0

    @property
    def precision(self) -> float:
        """Share of the predicted pixels that are right; 0 where none was predicted."""
        return self.tp / (self.tp + self.fp) if self.tp + self.fp else 0.0

    @property
    def recall(self) -> float:
        """Share of the true pixels that were predicted; 0 where there are none."""
        return self.tp / (self.tp + self.fn) if self.tp + self.fn else 0.0

    @property
    def background(self) -> Counts:
        """The counts with background taken as the class."""
        return Counts(tp=self.tn, fp=self.fn, fn=self.fp, tn=self.tp)


@dataclass(frozen=True)
class Scores:
    """Scores of a set of masks; all values 0 … 1.

    Attributes:
        miou: Mean of ``class_iou`` over the classes that were drawn.
        fb_iou: Mean of the IoUs of foreground and background, pooled over all classes.
        precision: Precision pooled for each class, mean over the classes that were drawn.
        recall: Recall pooled for each class, mean over the classes that were drawn.
        class_iou: IoU (ΣI/ΣU) by class name, for the classes that were drawn.
        mean_episode_iou: Mean of each episode's own IoU, which is not mIoU.
    """

    miou: float
    fb_iou: float
    precision: float
    recall: float
    class_iou: dict[str, float]
    mean_episode_iou: float


def mean_scores(runs: Sequence[Scores]) -> Scores:
    """Return the mean of several runs' scores, as tables do with folds.

    ``class_iou`` has every class that any run drew, with the mean over the runs that drew it.

    Args:
        runs: Scores of the runs, at least one.
    """
    names = dict.fromkeys(name for scores in runs for name in scores.class_iou)
    return Scores(
        miou=fmean(scores.miou for scores in runs),
        fb_iou=fmean(scores.fb_iou for scores in runs),
        precision=fmean(scores.precision for scores in runs),
        recall=fmean(scores.recall for scores in runs),
        class_iou={
            name: fmean(s.class_iou[name] for s in runs if name in s.class_iou) for name in names
        },
        mean_episode_iou=fmean(scores.mean_episode_iou for scores in runs),
    )


def count_pixels(prediction: Tensor, target: Tensor, valid: Tensor | None = None) -> Counts:
    """Count a binary mask against the true one.

    Args:
        prediction: Predicted mask (H, W), bool.
        target: True mask (H, W), bool.
        valid: Boolean mask of the pixels that count (H, W); None for all.
    """
    if valid is not None:
        prediction, target = prediction & valid, target & valid
    pixels = target.numel() if valid is None else int(valid.count_nonzero())
    tp = int((prediction & target).count_nonzero())
    fp = int(prediction.count_nonzero()) - tp
    fn = int(target.count_nonzero()) - tp
    return Counts(tp=tp, fp=fp, fn=fn, tn=pixels - tp - fp - fn)


class ScoreBoard:
    """Sums of the counts of many episodes, by class."""

    def __init__(self) -> None:
        self._counts: dict[str, Counts] = {}
        self._episode_ious: list[float] = []

    def add(self, name: str, counts: Counts) -> None:
        """Add one episode of the class of that name."""
        self._counts[name] = self._counts.get(name, Counts()) + counts
        self._episode_ious.append(counts.iou)

    def compute(self) -> Scores:
        """Divide the sums.

        Raises:
            ValueError: no episode was added.
        """
        if not self._counts:
            raise ValueError("compute: no episode was added")
        by_class = self._counts.values()
        pooled = sum(by_class, Counts())
        return Scores(
            miou=fmean(counts.iou for counts in by_class),
            fb_iou=(pooled.iou + pooled.background.iou) / 2,
            precision=fmean(counts.precision for counts in by_class),
            recall=fmean(counts.recall for counts in by_class),
            class_iou={name: counts.iou for name, counts in self._counts.items()},
            mean_episode_iou=fmean(self._episode_ious),
        )
