"""How sure the model is that a class is in a photo at all; the one place that the page asks.

Where a model is not calibrated for that, the score of the mask serves instead.
"""

from __future__ import annotations

from fcp.data.decode import ImageLike
from fcp.data.photos import Photo
from fcp.inference.prediction import Prediction
from fcp.inference.presence import Presence
from fcp.inference.segmenter import FewShotSegmenter
from fcp.inference.support import Support
from fcp.labelling.results import ClassResult


def strength(found: ClassResult) -> float:
    """Return what photos are sorted by and the slider cuts: presence, or else the score."""
    return found.score if found.presence is None else found.presence


def is_here(found: ClassResult, threshold: float) -> bool:
    """Say whether a class counts as there."""
    return found.area_px > 0 and strength(found) >= threshold


def first_threshold(judge: Presence | None) -> float:
    """Return where the slider starts: scores alone say little about presence, so at nothing."""
    return 0.0 if judge is None else judge.threshold


def always_answer(
    segmenter: FewShotSegmenter, photo: ImageLike | Photo, support: Support | None = None
) -> Prediction:
    """Segment a photo as if all classes were there: the slider decides later."""
    return segmenter.predict(photo, support=support, threshold=0)
