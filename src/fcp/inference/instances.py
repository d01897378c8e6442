"""A class's mask → its objects, touching ones too, each with a box and a score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from fcp.data.pieces import Piece, connected_pieces
from fcp.data.strips import edges
from fcp.data.transforms import rows_to_size
from fcp.inference.prediction import ClassPrediction, Least, Prediction
from fcp.inference.touching import touching_objects

# Of a cell of the model's grid, which the mask decoder's logits resolve; an object that touches
# others is found down to one of these.
DECODED_CELLS = 16


@dataclass(frozen=True, eq=False)
class Instance:
    """One object of a class.

    Attributes:
        piece: Mask and box of the object.
        score: Score of the object, 0 … 1: as ``ClassPrediction.score``, within its box and without
            the other objects' pixels.
    """

    piece: Piece
    score: float


def split_objects(found: ClassPrediction, least: Least | None = None) -> list[Instance]:
    """Split the mask of a class into its objects: its connected pieces, and those that touch.

    Args:
        found: Prediction of the class.
        least: Least area and score of an object; others are left out. None for ``Least()``.
    """
    least = least or Least()
    size = (found.labels.shape[0], found.labels.shape[1])
    pixels = least.pixels(size, found.maps.pseudo_mask.numel())
    smallest = pixels if least.area is not None else pixels / DECODED_CELLS
    mask = found.mask
    objects = (
        Instance(one, _expected_iou(found.maps.logits, mask, one))
        for piece in connected_pieces(mask)
        if piece.mask.sum() >= pixels
        for one in touching_objects(piece, smallest)
    )
    return [one for one in objects if one.score >= least.score]


def keep_objects(
    found: Prediction, least: Least | None = None
) -> tuple[Prediction, Mapping[str, Sequence[Instance]]]:
    """Split all classes into their objects; a pixel of no object is of no class.

    Args:
        found: Prediction of a photo.
        least: See ``split_objects``.

    Returns:
        Prediction whose classes are their objects, with scores of what is left, and the objects of
        each class.
    """
    objects = {name: split_objects(one, least) for name, one in found.classes.items()}
    labels = np.zeros_like(found.labels)
    for name, own in objects.items():
        for one in own:
            x0, y0, x1, y1 = one.piece.box
            labels[y0:y1, x0:x1][one.piece.mask] = found.classes[name].label
    if np.array_equal(labels, found.labels):
        return found, objects
    classes = {name: _redrawn(one, labels) for name, one in found.classes.items()}
    return Prediction(labels, classes), objects


def _redrawn(found: ClassPrediction, labels: np.ndarray) -> ClassPrediction:
    """Return the prediction of a class in another label map (H, W)."""
    mask, (height, width) = labels == found.label, labels.shape
    whole = Piece((0, 0, width, height), mask, (height, width))
    score = _expected_iou(found.maps.logits, mask, whole) if mask.any() else 0.0
    return replace(found, labels=labels, score=score)


def _expected_iou(logits: Tensor, mask: np.ndarray, piece: Piece) -> float:
    """Return Σ M·p / Σ max(M, p) of a piece M over all pixels but those of other pieces.

    Args:
        logits: Log-odds of the class, of any size.
        mask: Mask of the class (H, W).
        piece: Piece of the mask.
    """
    x0, y0, x1, _ = piece.box
    size = (mask.shape[0], mask.shape[1])
    inside, anywhere = 0.0, 0.0
    for top, end in edges((len(piece.mask), size[1])):
        own = piece.mask[top:end]
        odds = rows_to_size(logits, size, y0 + top, y0 + end)[:, x0:x1].numpy()
        probability = 1 / (1 + np.exp(-odds.astype(np.float64)))
        probability[mask[y0 + top : y0 + end, x0:x1] & ~own] = 0
        inside += float(probability[own].sum())
        anywhere += float(probability.sum())
    return inside / (int(piece.mask.sum()) + anywhere - inside)
