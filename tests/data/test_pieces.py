"""Pieces of a mask against scipy's labels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

import fcp.data.strips
from fcp.data.pieces import connected_pieces


@settings(max_examples=60)
@given(
    seed=st.integers(0, 999),
    share=st.floats(0, 1),
    size=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    strip=st.sampled_from([1, 30, 1 << 20]),
)
def test_pieces_are_those_that_scipy_finds_in_the_same_order(seed, share, size, strip):
    mask = np.random.default_rng(seed).random(size) < share
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fcp.data.strips, "STRIP_PIXELS", strip)
        found = list(connected_pieces(mask))
    labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
    assert len(found) == count
    for number, (piece, place) in enumerate(
        zip(found, ndimage.find_objects(labels), strict=True), start=1
    ):
        rows, columns = place
        assert piece.box == (columns.start, rows.start, columns.stop, rows.stop)
        assert (piece.mask == (labels[place] == number)).all()
        assert (piece.full_mask() == (labels == number)).all()


def test_no_piece_of_nothing():
    assert list(connected_pieces(np.zeros((5, 7), bool))) == []


def test_pillow_s_true_is_255_and_counts_as_one():
    mask = np.zeros((6, 8), bool)
    mask[1:3, 2:5] = True
    theirs = np.array(Image.fromarray(mask))  # mode 1
    assert theirs.view(np.uint8).max() == 255
    (piece,) = connected_pieces(theirs)
    assert piece.box == (2, 1, 5, 3)
    assert piece.mask.all()
