"""Objects of a class ↔ their records in ``results.json``."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from fcp.data.pieces import Piece, connected_pieces, tight_piece
from fcp.formats.run_lengths import from_text, to_text
from fcp.labelling.photo_results import ClassResult, ObjectResult


def record_of(piece: Piece, score: float) -> ObjectResult:
    """Return the record of an object; ``piece_of`` is the inverse.

    Args:
        piece: Mask and box of the object.
        score: Score of the object, 0 … 1.
    """
    return ObjectResult(list(piece.box), round(score, 4), to_text(piece.mask))


def pieces_as_objects(mask: np.ndarray, score: float) -> list[ObjectResult]:
    """Record each connected piece of a mask (H, W) as an object with this score, 0 … 1."""
    return [record_of(piece, score) for piece in connected_pieces(mask)]


def objects_within(objects: Iterable[ObjectResult], mask: np.ndarray) -> list[ObjectResult]:
    """Cut recorded objects down to a mask (H, W) bool; objects without a pixel in it are left out.

    Each keeps its score, and is one object even if it falls into pieces.
    """
    size, kept = (mask.shape[0], mask.shape[1]), []
    for one in objects:
        x0, y0, x1, y1 = one.box
        left = piece_of(one, size).mask & mask[y0:y1, x0:x1]
        if left.any():
            kept.append(record_of(tight_piece(left, (x0, y0), size), one.score))
    return kept


def drawn_result(mask: np.ndarray, before: ClassResult | None, *, instances: bool) -> ClassResult:
    """Return the result of a class from a mask that a person has drawn.

    What belongs to one object is not drawn: its connected pieces are the objects.

    Args:
        mask: Mask (H, W), bool; all False if the person has removed the class.
        before: What the model found; None if it was not asked for the class.
        instances: Whether objects are recorded.
    """
    here = float(mask.any())
    return ClassResult(
        score=here,
        area=round(float(mask.mean()), 6),
        area_px=int(mask.sum()),
        presence=here if before is not None and before.presence is not None else None,
        objects=pieces_as_objects(mask, 1.0) if instances else None,
        by_hand=True,
    )


def piece_of(record: ObjectResult, size: tuple[int, ...]) -> Piece:
    """Return mask and box of a recorded object.

    Args:
        record: Record of the object.
        size: Size (H, W) of the photo.
    """
    x0, y0, x1, y1 = record.box
    return Piece((x0, y0, x1, y1), from_text(record.counts, (y1 - y0, x1 - x0)), (size[0], size[1]))
