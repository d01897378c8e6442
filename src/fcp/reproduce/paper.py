"""The paper's published numbers (AAAI 2025, arXiv 2501.00752), in percent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

# Table 1, by fold: (benchmark and backbone, row, shots) → folds 0 … 3.
TABLE1: Mapping[tuple[str, str, int], tuple[float, ...]] = {
    ("pascal5i-resnet50", "FCP", 1): (74.9, 77.4, 71.8, 68.8),
    ("pascal5i-resnet50", "FCP", 5): (77.2, 78.8, 72.2, 67.7),
    ("pascal5i-resnet50", "VRP-SAM", 1): (74.5, 77.3, 69.5, 65.8),
    ("pascal5i-vgg16", "FCP", 1): (71.9, 75.0, 69.8, 65.5),
    ("pascal5i-vgg16", "FCP", 5): (73.5, 76.4, 71.6, 65.8),
    ("coco20i-resnet50", "FCP", 1): (46.4, 56.4, 55.3, 51.8),
    ("coco20i-resnet50", "FCP", 5): (52.6, 63.3, 59.8, 56.1),
    ("coco20i-resnet50", "VRP-SAM", 1): (44.3, 54.3, 52.3, 50.0),
    ("coco20i-vgg16", "FCP", 1): (44.5, 54.3, 53.5, 47.7),
    ("coco20i-vgg16", "FCP", 5): (49.0, 58.3, 55.2, 52.3),
}

# Table 1, means of the four folds as printed; for VRP-SAM with 5 shots the paper gives only these.
TABLE1_MEANS: Mapping[tuple[str, str, int], float] = {
    ("pascal5i-resnet50", "FCP", 1): 73.2,
    ("pascal5i-resnet50", "FCP", 5): 74.0,
    ("pascal5i-resnet50", "VRP-SAM", 1): 71.8,
    ("pascal5i-resnet50", "VRP-SAM", 5): 71.4,
    ("pascal5i-vgg16", "FCP", 1): 70.5,
    ("pascal5i-vgg16", "FCP", 5): 71.8,
    ("coco20i-resnet50", "FCP", 1): 52.5,
    ("coco20i-resnet50", "FCP", 5): 58.0,
    ("coco20i-resnet50", "VRP-SAM", 1): 50.2,
    ("coco20i-resnet50", "VRP-SAM", 5): 55.5,
    ("coco20i-vgg16", "FCP", 1): 50.0,
    ("coco20i-vgg16", "FCP", 5): 53.7,
}

# Tables 2 and 4, PASCAL-5i, ResNet-50, 1-shot, mean of the folds: row of ``plan.ROWS`` → mIoU.
TABLE2: Mapping[str, float] = {
    "VRP-SAM": 71.8,
    "b": 66.2,
    "c": 66.5,
    "d": 66.1,
    "e": 72.6,
    "FCP": 73.2,
}
TABLE4: Mapping[str, float] = {
    "prompt": 72.3,
    "prompt+guide": 72.7,
    "prompt+ortho": 72.4,
    "FCP": 73.2,
}

# Table 3: pseudo mask → (mIoU, precision, recall).
TABLE3: Mapping[str, tuple[float, float, float]] = {
    "conventional": (32.4, 46.5, 53.6),
    "attention": (60.9, 69.1, 79.4),
}


def table1_mean(setting: str, row: str, shots: int, folds: Sequence[int]) -> float | None:
    """Return the paper's mean over some folds, or None where it cannot be known.

    Args:
        setting: First part of a key of ``TABLE1``; other parts follow.
        row: Row of the table, "FCP" or "VRP-SAM".
        shots: Number of supports K.
        folds: Folds that the mean is taken over, the same as in our table.
    """
    key = (setting, row, shots)
    if set(folds) == {0, 1, 2, 3}:
        return TABLE1_MEANS.get(key)
    by_fold = TABLE1.get(key)
    return fmean(by_fold[fold] for fold in folds) if by_fold is not None and folds else None
