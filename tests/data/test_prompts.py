"""Each way to annotate an example becomes a mask; mistakes are named."""

import numpy as np
import pytest
import torch
from PIL import Image

from fcp.data.prompts import (
    Box,
    Points,
    Scribble,
    annotation_mask,
    read_support,
)
from fcp.errors import FcpError

SIZE = (96, 128)


def test_box_is_filled_and_clipped():
    mask = annotation_mask(Box(10, 20, 30, 50), SIZE)
    expected = np.zeros(SIZE, bool)
    expected[20:50, 10:30] = True
    np.testing.assert_array_equal(mask, expected)
    assert annotation_mask(Box(-5, -5, 500, 500), SIZE).all()
    assert annotation_mask(Box(3.2, 3.2, 3.4, 3.4), SIZE).sum() == 1


@pytest.mark.parametrize(
    "box", [Box(5, 5, 5, 9), Box(9, 5, 5, 9), Box(200, 5, 300, 9), Box(float("nan"), 0, 1, 1)]
)
def test_box_without_pixels_is_refused(box):
    with pytest.raises(FcpError, match=r"cat\.jpg: Box.* holds no pixel"):
        annotation_mask(box, SIZE, "cat.jpg")


@pytest.mark.parametrize(
    "mark",
    [
        Box(0.1, 0.2, 0.6, 0.8),
        Box(0, 0, 0.5, 0.5),
        Points([(0.4, 0.5), (0.6, 0.7)]),
        Points([(0.4, 0.5)]),
        Scribble([(0, 0.25), (1, 0.5)]),
        [Box(10, 20, 30, 50), Points([(0.4, 0.5)])],
    ],
)
def test_shares_of_the_picture_are_refused(mark):
    with pytest.raises(FcpError, match=r"cat\.jpg: .* lie in 0 … 1; expected px, not shares"):
        annotation_mask(mark, SIZE, "cat.jpg")


@pytest.mark.parametrize(
    "mark", [Box(0, 0, 1, 1), Box(0.5, 0.5, 1.5, 1), Points([(0, 1)]), Points([(0.5, 1.5)])]
)
def test_marks_on_the_first_pixels_are_no_shares(mark):
    assert annotation_mask(mark, SIZE)[:4, :4].any()


def test_points_become_discs():
    points = [(10, 20), (100.5, 70.5), (127, 95)]
    mask = annotation_mask(Points(points), SIZE)
    rows, columns = np.nonzero(mask)
    nearest = np.min([np.hypot(columns - x, rows - y) for x, y in points], axis=0)
    assert nearest.max() <= 128 / 64 + 1
    for x, y in points:
        assert mask[int(y), int(x)]
    # a disc as wide as 1/32 of the picture survives a grid of 32 cells
    assert mask[::3, ::4].any()


def test_scribble_joins_its_corners():
    mask = annotation_mask(Scribble([(10, 10), (60, 10), (60, 80)]), SIZE)
    assert mask[10, 10:61].all()
    assert mask[10:81, 60].all()
    assert not mask[40:, :50].any()
    assert annotation_mask(Scribble([(5, 5)]), SIZE).any()


@pytest.mark.parametrize("kind", [Points, Scribble])
def test_points_outside_or_missing_are_refused(kind):
    with pytest.raises(FcpError, match=r"cat\.jpg: the point \(128, 5\) lies outside"):
        annotation_mask(kind([(4, 4), (128, 5)]), SIZE, "cat.jpg")
    with pytest.raises(FcpError, match=r"cat\.jpg: no points"):
        annotation_mask(kind([]), SIZE, "cat.jpg")


@pytest.mark.parametrize("kind", [Points, Scribble])
def test_any_pairs_of_numbers_are_points(kind):
    plain = kind([(4, 5), (60, 50)])
    rows = np.array([[4, 5], [60, 50]])
    for same in (rows, rows.astype(np.float32), torch.tensor(rows), [*rows], iter(rows)):
        assert kind(same) == plain
    assert hash(plain) == hash(kind(rows))
    assert Box(*rows.ravel()) == Box(4, 5, 60, 50)


NO_POINTS = [(4, 5), 7, None, [(1, 2, 3)], [(None, 5)], [("1", "2")], [(10**400, 5)], "abc"]


@pytest.mark.parametrize("points", NO_POINTS)
def test_what_is_no_point_is_refused_in_one_line(points):
    for kind in (Points, Scribble):
        with pytest.raises(FcpError, match=f"^{kind.__name__}: expected x and y in px") as told:
            kind(points)
        assert "\n" not in str(told.value)
        assert len(str(told.value)) < 200


@pytest.mark.parametrize("corners", [("1", 0, 5, 5), (None, 0, 5, 5), ([1], 0, 5, 5)])
def test_a_box_of_no_numbers_is_refused(corners):
    with pytest.raises(FcpError, match=r"^Box: expected x and y in px of each point, as numbers"):
        Box(*corners)


def test_a_mask_among_marks_is_refused_in_one_line():
    with pytest.raises(FcpError, match=r"an item is of <class 'numpy\.ndarray'>$"):
        annotation_mask([np.ones(SIZE, bool), Points([(3, 3)])], SIZE)


def test_support_is_read_and_checked(tmp_path):
    image, mask = tmp_path / "cat.jpg", tmp_path / "cat_mask.png"
    Image.new("RGB", (128, 96)).save(image)
    Image.fromarray(annotation_mask(Box(1, 2, 30, 40), SIZE)).save(mask)
    pixels, read = read_support(image, mask)
    assert pixels.shape == (96, 128, 3)
    assert read.sum() == 29 * 38
    Image.new("L", (128, 96)).save(mask)
    with pytest.raises(FcpError, match=r"cat_mask\.png: the mask of .*cat\.jpg is empty"):
        read_support(image, mask)
    Image.new("L", (96, 128)).save(mask)
    with pytest.raises(FcpError, match=r"cat_mask\.png: the mask is 96×128 px but .*cat\.jpg is"):
        read_support(image, mask)


@pytest.mark.parametrize("kind", [Points, Scribble])
def test_what_is_drawn_is_zero_or_one(kind):
    drawn = annotation_mask(kind([(30, 30), (60, 40)]), SIZE)
    assert set(np.unique(drawn.view(np.uint8))) == {0, 1}
