"""Objects of a class ↔ their records in ``results.json``."""

from __future__ import annotations

from fcp.data.pieces import Piece
from fcp.formats.run_lengths import from_text, to_text
from fcp.labelling.photo_results import ObjectResult


def record_of(piece: Piece, score: float) -> ObjectResult:
    """Return the record of an object; ``piece_of`` is the inverse.

    Args:
        piece: Mask and box of the object.
        score: Score of the object, 0 … 1.
    """
    return ObjectResult(list(piece.box), round(score, 4), to_text(piece.mask))


def piece_of(record: ObjectResult, size: tuple[int, ...]) -> Piece:
    """Return mask and box of a recorded object.

    Args:
        record: Record of the object.
        size: Size (H, W) of the photo.
    """
    x0, y0, x1, y1 = record.box
    return Piece((x0, y0, x1, y1), from_text(record.counts, (y1 - y0, x1 - x0)), (size[0], size[1]))
