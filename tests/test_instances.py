"""Pieces against a flood fill, and what is said of each."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fcp.instances import connected_pieces, split_objects
from fcp.prediction import Answer, Maps, predict_classes


def class_found(log_odds, grid=4):
    values = torch.tensor(log_odds, dtype=torch.float32)
    maps = Maps(values, torch.zeros(grid, grid), torch.zeros(grid, grid))
    return predict_classes(Answer({"cat": maps}), tuple(values.shape)).classes["cat"]


def flood(mask):
    """Return each 8-connected piece as a set of pixels."""
    left, pieces = {tuple(p) for p in np.argwhere(mask)}, []
    while left:
        piece, edge = set(), [left.pop()]
        while edge:
            y, x = edge.pop()
            piece.add((y, x))
            near = {(y + i, x + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & left
            left -= near
            edge += near
        pieces.append(piece)
    return pieces


@settings(max_examples=30)
@given(seed=st.integers(0, 999), share=st.floats(0.1, 0.7))
def test_objects_are_the_connected_pieces_of_a_cell_or_more(seed, share):
    generator = np.random.default_rng(seed)
    mask = generator.random((16, 12)) < share
    found = class_found(np.where(mask, 1 + generator.random(mask.shape), -1))
    objects = split_objects(found)
    expected = {frozenset(piece) for piece in flood(mask) if len(piece) >= 16 * 12 / 16}
    seen = {
        frozenset(map(tuple, np.argwhere(one.piece.full_mask((16, 12))).tolist()))
        for one in objects
    }
    assert seen == {frozenset(map(tuple, np.array(list(p)).tolist())) for p in expected}
    for one in objects:
        for axis in (0, 1):  # the box is tight
            edges = one.piece.mask.any(axis)
            assert edges[0]
            assert edges[-1]
        inside = torch.tensor(found.logits[one.piece.full_mask((16, 12))]).sigmoid()
        assert one.score == pytest.approx(float(inside.mean()), abs=1e-6)
    assert [one.piece.box for one in objects] == [
        piece.box for piece in connected_pieces(mask) if piece.mask.sum() >= 16 * 12 / 16
    ]


def test_an_empty_mask_has_no_object():
    assert split_objects(class_found(np.full((8, 8), -1.0))) == []
