"""What the segmenter found → predictions, and hints on a picture → what is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from fcp.data.prompts import Annotation, Box, Points, annotation_mask
from fcp.errors import FcpError
from fcp.formats.run_lengths import to_mask
from fcp.instances import split_objects
from fcp.label_studio.labelling import Control, Labelling
from fcp.label_studio.regions import Region, Size, labels_of, read_region, write_regions
from fcp.prediction import ClassPrediction, Prediction
from fcp.segmenter import FewShotSegmenter


def score_of(found: ClassPrediction) -> float:
    """Return how likely a class is there: its calibrated probability where the model has one."""
    presence = getattr(found, "presence", None)
    return float(found.score if presence is None else presence)


def prediction_of(found: Prediction, labelling: Labelling, version: str) -> dict[str, Any]:
    """Write what was found as Label Studio's prediction; its score is the mean of its classes'."""
    regions: list[dict[str, Any]] = []
    scores: list[float] = []
    for label, one in found.classes.items():
        control = labelling.control_of(label)
        mask = _drawable(one, control) if control is not None else None
        if control is None or mask is None or not mask.any():
            continue
        scores.append(round(score_of(one), 4))
        regions += write_regions(mask, label, control, labelling.picture, scores[-1])
    return answer(regions, sum(scores) / len(scores) if scores else 0.0, version)


def answer(regions: Sequence[Region], score: float, version: str) -> dict[str, Any]:
    """Return a prediction as Label Studio takes it."""
    return {"result": list(regions), "score": round(score, 4), "model_version": version}


def _drawable(found: ClassPrediction, control: Control) -> np.ndarray:
    """Return the mask, without the specks that would each be a shape of its own."""
    if control.kind == "brushlabels":
        return found.mask
    pieces = split_objects(found)
    masks = [one.piece.full_mask((found.labels.shape[0], found.labels.shape[1])) for one in pieces]
    joined: np.ndarray = np.logical_or.reduce(masks, axis=0) if masks else found.mask & False
    return joined


@dataclass(frozen=True)
class Hint:
    """What an annotator has marked on the picture to segment.

    Attributes:
        label: of the thing.
        shown: what is on the thing: boxes, points or masks.
        against: what is not on it.
    """

    label: str
    shown: tuple[Annotation, ...]
    against: tuple[Annotation, ...]


def read_hint(context: Mapping[str, Any], size: Size) -> Hint:
    """Read what a smart tool sends: regions on the picture, the label that is being drawn.

    Raises:
        FcpError: nothing is marked, or a damaged region.
    """
    regions = context.get("result")
    listed = [one for one in regions if isinstance(one, Mapping)] if regions else []
    marked = [(label, region) for region in listed for label in labels_of(region)]
    if not marked:
        raise FcpError("smart tool: expected a labelled box or point, got none")
    last = marked[-1][0]
    shown: list[Annotation] = []
    against: list[Annotation] = []
    for label, region in marked:
        if label != last:
            continue
        drawn = read_region(region, size, "smart tool")
        annotation = to_mask(drawn) if isinstance(drawn, Mapping) else drawn
        (shown if _is_positive(region) else against).append(annotation)
    if not shown:
        raise FcpError("smart tool: only what is not meant is marked; mark the thing first")
    return Hint(last, _together(shown), _together(against))


def find_hinted(segmenter: FewShotSegmenter, picture: np.ndarray, hint: Hint) -> np.ndarray:
    """Segment the thing that a hint marks on this very picture.

    The hint is an example on the picture itself. What is found elsewhere in it, such as another
    thing of the same kind, is left out: inside the box, or the pieces that a point or stroke meets.

    Args:
        segmenter: to ask; its examples are replaced.
        picture: (H, W, 3) uint8.
        hint: on it.

    Returns:
        (H, W) bool.
    """
    size = (picture.shape[0], picture.shape[1])
    pairs = [(picture, one) for one in hint.shown]
    segmenter.fit({hint.label: pairs}, negatives=[(picture, one) for one in hint.against])
    found = segmenter.predict(picture).classes[hint.label]
    # Whoever marks a thing knows that it is there, whatever the model says of its presence.
    mask = found.mask if found.mask.any() else found.logits > 0
    marked = np.logical_or.reduce([annotation_mask(one, size) for one in hint.shown], axis=0)
    if all(isinstance(one, Box) for one in hint.shown):
        return mask & marked
    pieces, _ = ndimage.label(mask, structure=np.ones((3, 3)))
    met = np.unique(pieces[marked & mask])
    kept: np.ndarray = np.isin(pieces, met) & mask
    return kept


def _together(annotations: Sequence[Annotation]) -> tuple[Annotation, ...]:
    """Join points: they are of one thing, and one picture is one example."""
    points = [point for one in annotations if isinstance(one, Points) for point in one.points]
    others = [one for one in annotations if not isinstance(one, Points)]
    return (*others, *([Points(points)] if points else []))


def _is_positive(region: Region) -> bool:
    return bool(region.get("is_positive", True))
