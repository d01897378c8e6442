"""Matcher's constants, which its authors set for each kind of data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class MatcherSettings:
    """How prompts are drawn, masks kept and masks merged.

    Attributes:
        draws: Random subsets of each size, where there are more than 8 points.
        sizes: Fewest and most points of a prompt.
        centres: Prompts are drawn from 8 k-means++ centres of the points, not from the points.
        with_box: Each prompt also carries the box of all points.
        masks: 1 or 3 masks a prompt.
        nms: IoU of boxes above which the mask with the lower estimate goes; 1 keeps all.
        iou: Estimate that a mask must exceed; 0 is off.
        stability: Least area(logit > 1) / area(logit > -1); 0 is off.
        dense: Also prompt with a grid of 64×64 points.
        least_coverage: Filter; 0 is off.
        least_emd: Filter; 0 is off.
        least_purity: Filter; 0 is off.
        alpha: Weight of emd in the score.
        beta: Weight of purity·coverage^gamma.
        gamma: See ``beta``.
        merge_by: "distance" to the best score, or "top" scores.
        merge: Most masks in the answer of one example.
        merge_few: The same of several examples.
    """

    draws: int
    sizes: tuple[int, int]
    centres: bool
    with_box: bool
    masks: int
    nms: float
    iou: float
    stability: float
    dense: bool
    least_coverage: float
    least_emd: float
    least_purity: float
    alpha: float
    beta: float
    gamma: float
    merge_by: Literal["distance", "top"]
    merge: int
    merge_few: int


COCO = MatcherSettings(
    draws=64,
    sizes=(1, 6),
    centres=False,
    with_box=False,
    masks=3,
    nms=0.65,
    iou=0.85,
    stability=0.90,
    dense=True,
    least_coverage=0,
    least_emd=0,
    least_purity=0.02,
    alpha=1,
    beta=0,
    gamma=0,
    merge_by="distance",
    merge=9,
    merge_few=5,
)
FSS = MatcherSettings(
    draws=30,
    sizes=(4, 6),
    centres=True,
    with_box=False,
    masks=1,
    nms=1,
    iou=0,
    stability=0,
    dense=False,
    least_coverage=0,
    least_emd=0,
    least_purity=0,
    alpha=0.8,
    beta=0.2,
    gamma=1,
    merge_by="top",
    merge=10,
    merge_few=5,
)
PARTS = MatcherSettings(
    draws=128,
    sizes=(3, 6),
    centres=False,
    with_box=True,
    masks=1,
    nms=1,
    iou=0,
    stability=0,
    dense=False,
    least_coverage=0.3,
    least_emd=0,
    least_purity=0,
    alpha=0.5,
    beta=0.5,
    gamma=0,
    merge_by="top",
    merge=5,
    merge_few=5,
)
PRESETS = {"coco": COCO, "fss": FSS, "parts": PARTS}
