"""Shapes in percent, against the pixels on which they were drawn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as rle_tools

from fcp.data.prompts import annotation_mask
from fcp.errors import FcpError
from fcp.formats.label_studio_shapes import percent_of, read_shape

SIZE = (77, 113)


@given(
    st.integers(0, 100), st.integers(0, 60), st.integers(1, 113), st.integers(1, 77), st.booleans()
)
def test_a_box_on_pixel_edges_covers_these_pixels(x, y, width, height, has_digits):
    box = (x, y, min(x + width, SIZE[1]), min(y + height, SIZE[0]))
    corners = np.array(box).reshape(2, 2) / percent_of(SIZE)
    left, top, across, down = [*corners[0], *(corners[1] - corners[0])]
    value = {"x": left, "y": top, "width": across, "height": down}
    if has_digits:
        value = {name: round(number, 10) for name, number in value.items()}
    drawn = read_shape("rectanglelabels", value, SIZE, "region")
    expected = np.zeros(SIZE, bool)
    expected[box[1] : box[3], box[0] : box[2]] = True
    assert np.array_equal(annotation_mask(drawn, SIZE), expected)


@pytest.mark.parametrize("rotation", [0, 30, -100])
def test_an_ellipse_holds_the_centres_that_its_equation_holds(rotation):
    value = {"x": 50, "y": 50, "radiusX": 20, "radiusY": 10, "rotation": rotation}
    mask = rle_tools.decode(read_shape("ellipselabels", value, SIZE, "region"))
    (height, width), turn = SIZE, np.exp(-1j * np.deg2rad(rotation))
    for y in range(height):
        for x in range(width):
            own = ((x + 0.5 - width / 2) + 1j * (y + 0.5 - height / 2)) * turn
            inside = (own.real / (0.2 * width)) ** 2 + (own.imag / (0.1 * height)) ** 2 <= 1
            assert mask[y, x] == inside


def test_a_turned_rectangle_is_turned_around_its_first_corner_in_px():
    value = {"x": 50, "y": 50, "width": 20, "height": 10, "rotation": 90}
    mask = rle_tools.decode(read_shape("rectanglelabels", value, (100, 200), "region"))
    expected = np.zeros((100, 200))
    expected[50:90, 90:100] = 1
    assert np.array_equal(mask, expected)


def test_a_polygon_in_a_corner_of_a_small_picture_is_one():
    value = {"points": [[0, 0], [1, 0], [1, 1], [0, 1]]}
    mask = rle_tools.decode(read_shape("polygonlabels", value, (100, 100), "region"))
    assert mask.sum() == mask[0, 0] == 1


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        ("polygonlabels", {}, "expected a list of x and y in percent"),
        ("polygonlabels", {"points": [[1, 1], [2, 2]]}, "a polygon needs 3 points, got 2"),
        ("rectanglelabels", {"x": 1, "y": 1, "width": 1}, "expected a number for height"),
        ("keypointlabels", {"x": "inf", "y": 2}, "expected a number for x, got inf"),
        ("keypointlabels", {"x": 1, "y": 900}, "lies far outside the picture"),
        (
            "ellipselabels",
            {"x": 1, "y": 1, "radiusX": 1, "radiusY": 1, "rotation": "a"},
            "expected a number for rotation",
        ),
        ("ellipselabels", {"x": 1, "y": 1, "radiusX": 0, "radiusY": 1}, "without width, height"),
    ],
)
def test_bad_numbers_are_named(kind, value, message):
    with pytest.raises(FcpError, match=f"^region 3: .*{message}"):
        read_shape(kind, value, SIZE, "region 3")
