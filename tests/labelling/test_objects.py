"""Objects in ``results.json`` and back."""

import json

import numpy as np
import pytest

from fcp.data.pieces import Piece
from fcp.labelling.objects import piece_of, record_of


@pytest.mark.parametrize("seed", range(5))
def test_round_trip_through_json(seed):
    generator = np.random.default_rng(seed)
    mask = generator.random(generator.integers(1, 30, 2)) < 0.5
    piece = Piece((7, 3, 7 + mask.shape[1], 3 + mask.shape[0]), mask, (60, 70))
    record = record_of(piece, 0.12345)
    assert abs(record.score - 0.12345) < 1e-4
    told = json.loads(json.dumps({"box": record.box, "counts": record.counts}))
    assert told == {"box": list(piece.box), "counts": record.counts}
    back = piece_of(record, piece.size)
    assert (back.box, back.size) == (piece.box, piece.size)
    np.testing.assert_array_equal(back.mask, piece.mask)
    np.testing.assert_array_equal(back.full_mask(), piece.full_mask())
