"""The paper's published numbers (AAAI 2025, arXiv 2501.00752), in percent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

# Table 1, by fold: (benchmark and backbone, row, shots) → folds 0 … 3.
TABLE1: Mapping[tuple[str, str, int], tuple[float, ...]] = {
    ("pascal5i-resnet50", "FCP", 1): (74.9, 77.4, 71.8, 68.8),
    ("pascal5i-resnet50", "FCP", 5): (77.2, 78.8, 72.2, 67.7),
    ("pascal5i-resnet50", "VRP-SAM", 1): (74.5, 77.3, 69.5, 65.8),
    ("pascal5i-resnet50", "PFENet", 1): (61.7, 69.5, 55.4, 56.3),
    ("pascal5i-resnet50", "PFENet", 5): (63.1, 70.7, 55.8, 57.9),
    ("pascal5i-resnet50", "CyCTR", 1): (65.7, 71.0, 59.5, 59.7),
    ("pascal5i-resnet50", "CyCTR", 5): (69.3, 73.5, 63.8, 63.5),
    ("pascal5i-resnet50", "SSP", 1): (60.5, 67.8, 66.4, 51.0),
    ("pascal5i-resnet50", "SSP", 5): (67.5, 72.3, 75.2, 62.1),
    ("pascal5i-resnet50", "BAM", 1): (68.97, 73.59, 67.55, 61.13),
    ("pascal5i-resnet50", "BAM", 5): (70.59, 75.05, 70.79, 67.20),
    ("pascal5i-resnet50", "HDMNet", 1): (71.0, 75.4, 68.9, 62.1),
    ("pascal5i-resnet50", "HDMNet", 5): (71.3, 76.2, 71.3, 68.5),
    ("pascal5i-vgg16", "FCP", 1): (71.9, 75.0, 69.8, 65.5),
    ("pascal5i-vgg16", "FCP", 5): (73.5, 76.4, 71.6, 65.8),
    ("coco20i-resnet50", "FCP", 1): (46.4, 56.4, 55.3, 51.8),
    ("coco20i-resnet50", "FCP", 5): (52.6, 63.3, 59.8, 56.1),
    ("coco20i-resnet50", "VRP-SAM", 1): (44.3, 54.3, 52.3, 50.0),
    ("coco20i-resnet50", "PFENet", 1): (36.5, 38.6, 34.5, 33.8),
    ("coco20i-resnet50", "PFENet", 5): (36.5, 43.3, 37.8, 38.4),
    ("coco20i-resnet50", "CyCTR", 1): (38.9, 43.0, 39.6, 39.8),
    ("coco20i-resnet50", "CyCTR", 5): (41.1, 48.9, 45.2, 47.0),
    ("coco20i-resnet50", "SSP", 1): (35.5, 39.6, 37.9, 36.7),
    ("coco20i-resnet50", "SSP", 5): (40.6, 47.0, 45.1, 43.9),
    ("coco20i-resnet50", "BAM", 1): (39.4, 49.9, 46.2, 45.2),
    ("coco20i-resnet50", "BAM", 5): (43.2, 53.4, 49.4, 48.1),
    ("coco20i-resnet50", "HDMNet", 1): (43.8, 55.3, 51.6, 49.4),
    ("coco20i-resnet50", "HDMNet", 5): (50.6, 61.6, 55.7, 56.0),
    ("coco20i-vgg16", "FCP", 1): (44.5, 54.3, 53.5, 47.7),
    ("coco20i-vgg16", "FCP", 5): (49.0, 58.3, 55.2, 52.3),
}

# Table 1, means of the four folds as printed; for VRP-SAM with 5 shots the paper gives only these.
TABLE1_MEANS: Mapping[tuple[str, str, int], float] = {
    ("pascal5i-resnet50", "FCP", 1): 73.2,
    ("pascal5i-resnet50", "FCP", 5): 74.0,
    ("pascal5i-resnet50", "VRP-SAM", 1): 71.8,
    ("pascal5i-resnet50", "VRP-SAM", 5): 71.4,
    ("pascal5i-resnet50", "PFENet", 1): 60.8,
    ("pascal5i-resnet50", "PFENet", 5): 61.9,
    ("pascal5i-resnet50", "CyCTR", 1): 64.0,
    ("pascal5i-resnet50", "CyCTR", 5): 67.5,
    ("pascal5i-resnet50", "SSP", 1): 61.4,
    ("pascal5i-resnet50", "SSP", 5): 69.3,
    ("pascal5i-resnet50", "BAM", 1): 67.8,
    ("pascal5i-resnet50", "BAM", 5): 70.9,
    ("pascal5i-resnet50", "HDMNet", 1): 69.4,
    ("pascal5i-resnet50", "HDMNet", 5): 71.8,
    ("pascal5i-vgg16", "FCP", 1): 70.5,
    ("pascal5i-vgg16", "FCP", 5): 71.8,
    ("coco20i-resnet50", "FCP", 1): 52.5,
    ("coco20i-resnet50", "FCP", 5): 58.0,
    ("coco20i-resnet50", "VRP-SAM", 1): 50.2,
    ("coco20i-resnet50", "VRP-SAM", 5): 55.5,
    ("coco20i-resnet50", "PFENet", 1): 35.8,
    ("coco20i-resnet50", "PFENet", 5): 39.0,
    ("coco20i-resnet50", "CyCTR", 1): 40.3,
    ("coco20i-resnet50", "CyCTR", 5): 45.6,
    ("coco20i-resnet50", "SSP", 1): 37.4,
    ("coco20i-resnet50", "SSP", 5): 44.1,
    ("coco20i-resnet50", "BAM", 1): 45.2,
    ("coco20i-resnet50", "BAM", 5): 48.5,
    ("coco20i-resnet50", "HDMNet", 1): 50.0,
    ("coco20i-resnet50", "HDMNet", 5): 56.0,
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
        row: Row of the table, such as "FCP" or "PFENet".
        shots: Number of supports K.
        folds: Folds that the mean is taken over, the same as in our table.
    """
    key = (setting, row, shots)
    if set(folds) == {0, 1, 2, 3}:
        return TABLE1_MEANS.get(key)
    by_fold = TABLE1.get(key)
    return fmean(by_fold[fold] for fold in folds) if by_fold is not None and folds else None
