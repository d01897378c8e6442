"""A class's mask → its objects, touching ones too, each with a box and a score."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from fcp.data.pieces import Piece, connected_pieces
from fcp.data.strips import edges
from fcp.data.transforms import rows_to_size
from fcp.inference.prediction import ClassPrediction, Least
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
