"""Strips of a picture give what the whole gives."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fcp.data import strips
from fcp.data.strips import clear_label, count_label, count_values, edges, resize_nearest


@given(size=st.tuples(st.integers(1, 50), st.integers(1, 50)), most=st.integers(1, 200))
def test_strips_cover_every_row_once(size, most):
    before, strips.STRIP_PIXELS = strips.STRIP_PIXELS, most
    try:
        found = list(edges(size))
    finally:
        strips.STRIP_PIXELS = before
    assert [row for top, end in found for row in range(top, end)] == list(range(size[0]))
    assert all((end - top) * size[1] <= max(most, size[1]) for top, end in found)


def test_values_are_counted_as_numpy_counts_them(monkeypatch):
    monkeypatch.setattr(strips, "STRIP_PIXELS", 70)
    labels = np.random.default_rng(0).integers(0, 4, (31, 20), dtype=np.uint8)
    wanted = [int((labels == label).sum()) for label in range(4)]
    assert count_values(labels)[:5].tolist() == [*wanted, 0]
    assert [count_label(labels, label) for label in range(4)] == wanted
    assert count_values(labels > 0)[:2].tolist() == [wanted[0], sum(wanted[1:])]
    cleared = np.where(labels == 2, 0, labels)
    clear_label(labels, 2)
    assert np.array_equal(labels, cleared)


@given(
    st.tuples(st.integers(1, 30), st.integers(1, 30)),
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
)
def test_resized_takes_the_value_under_the_centre(old, new):
    mask = np.random.default_rng(0).random(old) < 0.5
    found = resize_nearest(mask, new)
    for row in range(new[0]):
        for column in range(new[1]):
            under = int((row + 0.5) * old[0] / new[0]), int((column + 0.5) * old[1] / new[1])
            assert found[row, column] == mask[under]


def test_nearest_reads_the_cell_under_the_centre():
    labels = np.arange(12).reshape(3, 4)
    np.testing.assert_array_equal(resize_nearest(labels, (2, 2)), [[1, 3], [9, 11]])
