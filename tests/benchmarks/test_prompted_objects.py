"""Prompts for touching objects: planted masks, and a real promptable stage."""

import numpy as np
import pytest
import torch
from prompted_objects import draw_objects, prompts_of, settle

from fcp.data.pieces import connected_pieces
from fcp.data.transforms import to_square
from fcp.inference.segmenter import FewShotSegmenter
from fcp.inference.touching import touching_objects

Y, X = np.mgrid[:60, :90]


def discs():
    """Return two discs that touch, and the photo that shows them."""
    left, right = ((Y - 30) ** 2 + (X - at) ** 2 < 15**2 for at in (30, 57))
    photo = np.zeros((60, 90, 3), np.uint8)
    photo[left], photo[right] = (230, 60, 60), (60, 60, 230)
    return left, right & ~left, photo


def signed(mask, height=3.0):
    return np.where(mask, height, -height)


def test_masks_that_agree_move_the_border():
    left, right, _ = discs()
    both = left | right
    basins = np.where(both, np.where(X < 40, 1, 2), 0)
    labels = settle(basins, np.stack([signed(left), signed(right)]), np.array([0.9, 0.8]))
    np.testing.assert_array_equal(labels, left + 2 * right)


def test_a_mask_stays_in_the_piece_and_the_higher_logit_wins():
    left, right, _ = discs()
    basins = left + 2 * right
    wide = [signed((X < 50) & (X > 12), 2.0), signed(right, 3.0)]
    labels = settle(basins, np.stack(wide), np.array([0.9, 0.8]))
    np.testing.assert_array_equal(labels > 0, basins > 0)
    np.testing.assert_array_equal(labels == 2, right)


def test_a_mask_that_does_not_agree_is_not_taken():
    left, right, _ = discs()
    basins = left + 2 * right
    labels = settle(basins, np.stack([signed(Y < 20), signed(right)]), np.array([0.9, 0.8]))
    np.testing.assert_array_equal(labels, basins)
    nothing = np.full((2, 60, 90), -1.0)
    np.testing.assert_array_equal(settle(basins, nothing, np.zeros(2)), basins)


def test_a_second_mask_of_the_same_object_is_removed():
    left, _, _ = discs()
    top = left & (Y < 30)
    basins = np.where(left, np.where(top, 1, 2), 0)
    larger = [signed(left & (Y < 36)), signed(left & (Y > 22))]
    apart = settle(basins, np.stack(larger), np.array([0.5, 0.9]))
    assert set(np.unique(apart)) == {0, 1, 2}
    twins = np.stack([signed(left)] * 2)
    one = settle(basins, twins, np.array([0.5, 0.9]))
    np.testing.assert_array_equal(one > 0, left)
    assert len(np.unique(one[left])) == 1


def test_prompts_lie_in_their_basins():
    left, right, _ = discs()
    (piece,) = connected_pieces(left | right)
    basins = list(touching_objects(piece))
    boxes, points = prompts_of(basins)
    assert boxes.shape == (2, 4)
    assert points.shape == (2, 1, 2)
    for basin, point in zip(basins, points[:, 0].tolist(), strict=True):
        assert basin.full_mask()[int(point[1] * 60), int(point[0] * 90)]


@pytest.mark.parametrize("order", [1, -1])
def test_a_real_stage_shares_out_the_piece(order):
    left, right, photo = discs()
    model = FewShotSegmenter.from_pretrained("tiny", device="cpu").model
    (piece,) = connected_pieces(left | right)
    basins = list(touching_objects(piece))[::order]
    with torch.inference_mode():
        embedding = model.segmenter.encode(to_square(photo, model.config.image_size)[None])
    objects = draw_objects(model.segmenter, embedding, basins)
    assert len(objects) == 2
    total = sum(one.full_mask().astype(int) for one in objects)
    np.testing.assert_array_equal(total, left | right)
    for one in objects:
        mask = one.full_mask()
        assert max((mask & true).sum() / (mask | true).sum() for true in (left, right)) > 0.8
