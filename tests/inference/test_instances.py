"""Pieces against a flood fill, and what is said of each."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fcp.data.pieces import connected_pieces
from fcp.inference.instances import keep_objects, split_objects
from fcp.inference.prediction import Least, Maps, predict_classes


def class_found(log_odds, grid=4):
    values = torch.tensor(log_odds, dtype=torch.float32)
    maps = Maps(values, torch.zeros(grid, grid), torch.zeros(grid, grid))
    return predict_classes({"cat": maps}, tuple(values.shape)).classes["cat"]


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
def test_objects_share_out_the_connected_pieces_of_a_cell_or_more(seed, share):
    generator = np.random.default_rng(seed)
    mask = generator.random((16, 12)) < share
    found = class_found(np.where(mask, 1 + generator.random(mask.shape), -1))
    objects = split_objects(found, Least(score=0))
    expected = {frozenset(piece) for piece in flood(mask) if len(piece) >= 16 * 12 / 16}
    seen = [frozenset(map(tuple, np.argwhere(one.piece.full_mask()).tolist())) for one in objects]
    whole = [{p for p in map(tuple, np.array(list(one)).tolist())} for one in expected]
    assert sum(map(len, seen)) == sum(map(len, whole)) == len(set().union(*seen))
    assert all(any(one <= piece for piece in whole) for one in seen)
    for one in objects:
        for axis in (0, 1):  # the box is tight
            edges = one.piece.mask.any(axis)
            assert edges[0]
            assert edges[-1]
        x0, y0, x1, y1 = one.piece.box
        inside, union = 0.0, 0.0
        for y in range(y0, y1):
            for x in range(x0, x1):
                own, likely = one.piece.mask[y - y0, x - x0], 1 / (1 + np.exp(-found.logits[y, x]))
                inside += likely if own else 0
                union += 1 if own else 0 if mask[y, x] else likely
        assert one.score == pytest.approx(inside / union, abs=1e-6)


def test_touching_discs_are_two_objects_of_the_class():
    y, x = np.mgrid[:64, :64]
    discs = [(y - 30) ** 2 + (x - at) ** 2 < 12**2 for at in (20, 42)]
    found = class_found(np.where(discs[0] | discs[1], 5.0, -5.0), grid=8)
    objects = split_objects(found)
    assert len(list(connected_pieces(found.mask))) == 1
    assert len(objects) == 2
    assert all(one.score > 0.9 for one in objects)


def test_an_empty_mask_has_no_object():
    assert split_objects(class_found(np.full((8, 8), -1.0))) == []


def test_small_and_unsure_objects_are_left_out():
    log_odds = np.full((16, 16), -9.0)
    log_odds[0:4, 0:4] = 9  # 16 px: one cell of a 4×4 grid
    log_odds[8:10, 8:10] = 9
    log_odds[12:16, 0:5] = 0.1
    found = class_found(log_odds)
    boxes = [
        [one.piece.box for one in split_objects(found, least)]
        for least in (None, Least(area=0), Least(area=17), Least(area=0.07), Least(score=0.9))
    ]
    large, small, unsure = (0, 0, 4, 4), (8, 8, 10, 10), (0, 12, 5, 16)
    assert boxes == [[large, unsure], [large, small, unsure], [unsure], [unsure], [large]]


def test_what_is_no_object_loses_its_pixels_and_the_score_is_of_the_rest():
    cat, dog = np.full((2, 16, 16), -9.0)
    cat[0:4, 0:4] = 9
    cat[8:10, 8:10] = 9
    dog[12:14, 0:2] = 9
    maps = {name: class_found(one).maps for name, one in (("cat", cat), ("dog", dog))}
    found = predict_classes(maps, (16, 16))
    kept, objects = keep_objects(found, Least(area=5))
    expected = np.zeros((16, 16))
    expected[0:4, 0:4] = 1
    assert np.array_equal(kept.labels, expected)
    assert [len(objects["cat"]), len(objects["dog"])] == [1, 0]
    likely = 1 / (1 + np.exp(-cat))
    assert kept.classes["cat"].score == pytest.approx(likely[:4, :4].sum() / (16 + 4), abs=1e-2)
    assert kept.classes["cat"].score < found.classes["cat"].score
    assert (kept.classes["dog"].score, kept.classes["dog"].here) == (0, False)
    assert keep_objects(found, Least(area=0))[0] is found
    assert (found.labels > 0).sum() == 24
