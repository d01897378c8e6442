"""Predictions of the segmenter → predictions of Label Studio."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fcp.inference.instances import split_objects
from fcp.inference.prediction import ClassPrediction, Prediction
from fcp.label_studio.label_config import Control, Labelling
from fcp.label_studio.regions import Region, write_regions


def prediction_of(found: Prediction, labelling: Labelling, version: str) -> dict[str, Any]:
    """Convert a prediction to Label Studio's form; its score is the mean over the classes."""
    regions: list[dict[str, Any]] = []
    scores: list[float] = []
    for label, one in found.classes.items():
        control = labelling.control_of(label)
        mask = _drawable(one, control) if control is not None else None
        if control is None or mask is None or not mask.any():
            continue
        scores.append(round(one.confidence, 4))
        regions += write_regions(mask, label, control, labelling.picture, scores[-1])
    return answer(regions, sum(scores) / len(scores) if scores else 0.0, version)


def answer(regions: Sequence[Region], score: float, version: str) -> dict[str, Any]:
    """Return a prediction as Label Studio expects it."""
    return {"result": list(regions), "score": round(score, 4), "model_version": version}


def _drawable(found: ClassPrediction, control: Control) -> np.ndarray:
    """Return the mask; for shapes, without small pieces that would each become a shape."""
    if control.kind == "brushlabels":
        return found.mask
    pieces = split_objects(found)
    masks = [one.piece.full_mask() for one in pieces]
    joined: np.ndarray = np.logical_or.reduce(masks, axis=0) if masks else found.mask & False
    return joined
