"""Windows cover the canvas and overlap; what agrees is blended without a trace."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fcp.errors import FcpError
from fcp.inference.prediction import Maps
from fcp.inference.tiling import (
    MOST_CANVAS,
    Blend,
    blend_answers,
    choose_tile,
    cut_closer,
    cut_to_tile,
    least_tile,
    plan_windows,
)

SQUARE, STRIDE = 32, 8


@given(
    size=st.tuples(st.integers(1, 400), st.integers(1, 400)),
    tile=st.integers(8, 300),
)
def test_windows_cover_all_and_overlap_by_a_quarter(size, tile):
    plan = plan_windows(size, tile, square=SQUARE, stride=STRIDE)
    covered = np.zeros(plan.canvas, dtype=int)
    for top, left in plan.corners:
        assert top % STRIDE == left % STRIDE == 0
        window = covered[top : top + SQUARE, left : left + SQUARE]
        assert window.shape == (SQUARE, SQUARE)
        window += 1
    assert covered.min() >= 1
    for axis in (0, 1):
        starts = sorted({corner[axis] for corner in plan.corners})
        assert all(after - start <= SQUARE * 3 // 4 for start, after in pairwise(starts))
        exact = max(SQUARE, size[axis] * SQUARE / tile)
        assert abs(plan.canvas[axis] - exact) <= STRIDE / 2


def test_a_tile_as_large_as_the_photo_is_one_window():
    plan = plan_windows((100, 100), 100, square=SQUARE, stride=STRIDE)
    assert (plan.canvas, plan.corners) == ((SQUARE, SQUARE), ((0, 0),))


def blend(parts, plan, *, shrink):
    blended = Blend(plan, side=len(parts[0]), shrink=shrink)
    for part, corner in zip(parts, plan.corners, strict=True):
        blended.add(part, corner)
    return blended.result()


@given(shrink=st.sampled_from([1, STRIDE]), seed=st.integers(0, 9))
def test_windows_of_one_map_give_the_map_back(shrink, seed):
    plan = plan_windows((130, 70), 40, square=SQUARE, stride=STRIDE)
    height, width = (length // shrink for length in plan.canvas)
    whole = torch.randn(height, width, generator=torch.Generator().manual_seed(seed))
    side = SQUARE // shrink
    parts = [
        whole[top // shrink : top // shrink + side, left // shrink : left // shrink + side]
        for top, left in plan.corners
    ]
    assert torch.allclose(blend(parts, plan, shrink=shrink), whole, atol=1e-5)


def test_between_two_windows_the_answer_changes_little_by_little():
    plan = plan_windows((32, 56), 32, square=SQUARE, stride=STRIDE)
    assert plan.corners == ((0, 0), (0, 24))
    row = blend([torch.zeros(32, 32), torch.ones(32, 32)], plan, shrink=1)[16]
    assert (row[:24] == 0).all()
    assert (row[32:] == 1).all()
    steps = row[23:33].diff()
    assert (steps > 0).all()
    assert steps.max() < 0.25


def test_all_maps_of_all_classes_are_blended():
    plan = plan_windows((32, 56), 32, square=SQUARE, stride=STRIDE)
    made = [
        [
            Maps(torch.full((32, 32), value), *torch.full((2, 4, 4), value / 2), presence=likely)
            for value in (1.0, 2.0, 0.0)
        ]
        for likely in (0.2, 0.7)
    ]
    found = blend_answers(made, plan, square=SQUARE)
    for maps, value in zip(found, (1.0, 2.0, 0.0), strict=True):
        assert torch.allclose(maps.logits, torch.full((32, 56), value))
        for kind in (maps.pseudo_mask, maps.conventional_mask):
            assert torch.allclose(kind, torch.full((4, 7), value / 2))
        assert maps.presence == 0.7


@pytest.mark.parametrize("tile", [0, -5])
def test_a_tile_needs_a_pixel(tile):
    with pytest.raises(FcpError, match=f"tile: expected at least 1 px, got {tile}"):
        plan_windows((10, 10), tile, square=SQUARE, stride=STRIDE)


def test_a_tile_that_makes_too_much_is_refused_with_one_that_does_not():
    size = (10_000, 10_000)
    with pytest.raises(
        FcpError, match=r"tile: 20 px are too few .* choose (\d+) or more"
    ) as caught:
        plan_windows(size, 20, square=SQUARE, stride=STRIDE)
    least = int(str(caught.value).split("choose ")[1].split()[0])
    plan = plan_windows(size, least + 1, square=SQUARE, stride=STRIDE)
    assert plan.canvas[0] * plan.canvas[1] <= MOST_CANVAS


def marked(things, size=(400, 600)):
    """A grey picture with square things: (top, left, side)."""
    mask = np.zeros(size, dtype=bool)
    for top, left, side in things:
        mask[top : top + side, left : left + side] = True
    return np.full((*size, 3), 128, dtype=np.uint8), mask


def test_a_small_thing_chooses_a_tile_four_times_its_side():
    assert choose_tile({"bolt": [marked([(10, 10, 30)])]}, square=100) == 120


def test_large_things_are_looked_at_whole():
    assert choose_tile({"car": [marked([(10, 10, 200)])]}, square=100) is None


def test_the_class_of_the_largest_things_decides():
    small, middle = marked([(10, 10, 20)]), marked([(10, 10, 40)])
    assert choose_tile({"nut": [small], "bolt": [middle]}, square=100) == 160
    assert choose_tile({"nut": [small], "car": [marked([(0, 0, 300)])]}, square=100) is None


def test_a_photo_is_not_magnified():
    assert choose_tile({"bolt": [marked([(10, 10, 10)])]}, square=150) == 150
    assert choose_tile({"bolt": [marked([(10, 10, 10)])]}, square=320) is None


def test_specks_do_not_decide():
    specks = [(300, left, 2) for left in range(0, 600, 5)]
    assert choose_tile({"bolt": [marked([(10, 10, 30), *specks])]}, square=100) == 120


@given(
    top=st.integers(0, 380),
    left=st.integers(0, 580),
    side=st.integers(1, 20),
    tile=st.integers(20, 900),
)
def test_an_example_is_cut_around_its_thing(top, left, side, tile):
    image, mask = marked([(top, left, side)])
    cut_image, cut_mask = cut_to_tile(image, mask, tile)
    assert cut_image.shape[:2] == cut_mask.shape == (min(tile, 400), min(tile, 600))
    assert cut_mask.sum() == mask.sum()


@given(height=st.integers(1, 60_000), width=st.integers(1, 60_000))
def test_the_least_tile_is_one_that_is_taken(height, width):
    plan_windows((height, width), least_tile((height, width), 320), square=320, stride=16)


def test_a_closer_cut_shows_all_of_a_small_object():
    image, mask = np.arange(300 * 400 * 3).reshape(300, 400, 3), np.zeros((300, 400), bool)
    mask[200:230, 350:390] = True
    pixels, marked = cut_closer(image, mask)
    assert marked.sum() == mask.sum()
    assert pixels.shape == (96, 96, 3)
    assert (pixels[marked] == image[mask]).all()


def test_a_large_object_needs_no_closer_cut():
    mask = np.zeros((300, 400), bool)
    mask[50:250, 50:350] = True
    assert cut_closer(np.zeros((300, 400, 3)), mask) is None
