"""Decision of the page whether a class is in a photo.

A model without calibrated presence is judged by the score of the mask instead.
"""

from __future__ import annotations

from fcp.data.decode import ImageLike
from fcp.data.photos import Photo
from fcp.inference.prediction import Prediction
from fcp.inference.presence import Presence
from fcp.inference.segmenter import FewShotSegmenter
from fcp.inference.support import Support
from fcp.labelling.photo_results import ClassResult


def is_here(found: ClassResult, threshold: float) -> bool:
    """Return whether a class counts as present."""
    return found.area_px > 0 and found.confidence >= threshold


def first_threshold(judge: Presence | None) -> float:
    """Return the first value of the slider: 0 for scores, which say little about presence."""
    return 0.0 if judge is None else judge.threshold


def always_answer(
    segmenter: FewShotSegmenter, photo: ImageLike | Photo, support: Support | None = None
) -> Prediction:
    """Segment a photo as if all classes were present; the slider decides later."""
    return segmenter.predict(photo, support=support, threshold=0)
