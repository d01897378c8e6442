"""A mask that is shown smaller and changed only where its painting changes."""

from __future__ import annotations

import numpy as np
import pytest

from fcp.app.corrections import correction_of


@pytest.mark.parametrize("size", [(7, 10), (3, 4), (1, 10)])
def test_thin_parts_are_shown_and_can_be_erased(size):
    mask = np.zeros((7, 10), bool)
    mask[2, 3] = mask[6, 9] = True
    correction = correction_of(mask, size)
    assert correction.painting.shape == size
    assert correction.painting.any()
    assert (correction.applied(correction.painting) == mask).all()
    assert not correction.applied(np.zeros(size, bool)).any()
    assert correction.applied(np.ones(size, bool)).sum() >= mask.sum()


def test_a_painting_of_another_size_is_compared_all_the_same():
    mask = np.zeros((8, 8), bool)
    mask[:4, 1] = True
    correction = correction_of(mask, (2, 2))
    painting = correction.painting.repeat(2, axis=0).repeat(2, axis=1)
    assert (correction.applied(painting) == mask).all()
    painting[3, 3] = True
    mask[6:, 6:] = True
    assert (correction.applied(painting) == mask).all()
