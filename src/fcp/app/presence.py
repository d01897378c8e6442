"""How sure the model is that a class is in a photo at all; the one place that the page asks.

Where a model is not calibrated for that, the score of the mask serves instead.
"""

from __future__ import annotations

from collections.abc import Iterable

from fcp.data.images import ImageLike
from fcp.labelling.results import ClassResult
from fcp.prediction import Prediction
from fcp.segmenter import FewShotSegmenter

LIKELY = 0.5


def presence_of(found: ClassResult) -> float | None:
    """Return the calibrated probability, 0 … 1, that the class is there; None without one."""
    return None


def strength(found: ClassResult) -> float:
    """Return what photos are sorted by and the slider cuts: presence, or else the score."""
    presence = presence_of(found)
    return found.score if presence is None else presence


def is_here(found: ClassResult, threshold: float) -> bool:
    """Say whether a class counts as there."""
    return found.area_px > 0 and strength(found) >= threshold


def first_threshold(found: Iterable[ClassResult]) -> float:
    """Return where the slider starts: scores alone say little about presence, so at nothing."""
    return LIKELY if any(presence_of(one) is not None for one in found) else 0.0


def always_answer(segmenter: FewShotSegmenter, photo: ImageLike) -> Prediction:
    """Segment a photo as if all classes were there: the slider decides later."""
    return segmenter.predict(photo)
