"""Regions: percent ↔ px, by each kind of tag."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fcp.data.prompts import Box, Points, annotation_mask
from fcp.errors import FcpError
from fcp.formats.run_lengths import to_mask
from fcp.label_studio.label_config import Control
from fcp.label_studio.regions import labels_of, read_region, write_regions

SIZE = (40, 80)


def region(kind, value, labels=("cat",), **more):
    return {"type": kind, "to_name": "image", "value": {**value, kind: list(labels)}, **more}


def painted(one, size=SIZE):
    drawn = read_region(one, size, "region")
    return to_mask(drawn) if isinstance(drawn, dict) else annotation_mask(drawn, size)


def test_labels():
    assert labels_of(region("brushlabels", {}, ["cat", "dog"])) == ["cat", "dog"]
    for odd in (
        {},
        {"type": "choices", "value": {"choices": ["cat"]}},
        {"type": "brushlabels"},
        {"type": "brushlabels", "value": {"brushlabels": "cat"}},
        {"type": ["brushlabels"], "value": {}},
        region("brushlabels", {}, [1, None, " "]),
    ):
        assert labels_of(odd) == []


def test_box():
    one = region("rectanglelabels", {"x": 25, "y": 50, "width": 50, "height": 25})
    assert read_region(one, SIZE, "region") == Box(20, 20, 60, 30)


def test_turned_box_is_turned_around_its_corner():
    turned = {"x": 50, "y": 25, "width": 20, "height": 25, "rotation": 90}
    mask = painted(region("rectanglelabels", turned))
    rows, columns = np.nonzero(mask)
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (30, 39, 10, 25)


def test_ellipse():
    mask = painted(region("ellipselabels", {"x": 50, "y": 50, "radiusX": 25, "radiusY": 25}))
    rows, columns = np.mgrid[:40, :80] + 0.5
    true = ((columns - 40) / 20) ** 2 + ((rows - 20) / 10) ** 2 <= 1
    assert (mask & true).sum() / (mask | true).sum() > 0.98


def test_polygon_and_point():
    corners = [[25, 25], [75, 25], [75, 75], [25, 75]]
    mask = painted(region("polygonlabels", {"points": corners}))
    assert mask.sum() == mask[10:30, 20:60].sum() == 800
    one = region("keypointlabels", {"x": 100, "y": 100, "width": 1})
    for rotation in (0, 90):  # of the view alone
        assert read_region({**one, "image_rotation": rotation}, SIZE, "") == Points([(79.5, 39.5)])


def test_a_small_polygon_in_the_corner_is_no_shares():
    """Its percentages are all below 1; it covers 25 × 25 px."""
    corners = [[0.1, 0.1], [0.6, 0.1], [0.6, 0.6], [0.1, 0.6]]
    one = region("polygonlabels", {"points": corners}, original_width=5000, original_height=5000)
    assert painted(one, (5000, 5000)).sum() == 25 * 25


@given(hnp.arrays(bool, st.tuples(st.integers(1, 24), st.integers(1, 24))))
@pytest.mark.parametrize("kind", ["brushlabels", "polygonlabels", "rectanglelabels"])
def test_what_is_written_is_read(kind, mask):
    control = Control("tag", kind, ("cat",))
    regions = list(write_regions(mask, "cat", control, "image", 0.5))
    assert bool(regions) == bool(mask.any())
    assert len({one["id"] for one in regions}) == len(regions)
    read = np.zeros_like(mask)
    for one in regions:
        assert labels_of(one) == ["cat"]
        assert (one["from_name"], one["to_name"], one["score"]) == ("tag", "image", 0.5)
        read |= painted(one, mask.shape)
    if kind == "rectanglelabels":
        assert (read | mask == read).all()
    elif mask.any():
        assert (read & mask).sum() / (read | mask).sum() >= (1 if kind == "brushlabels" else 0.98)


@pytest.mark.parametrize("kind", ["brushlabels", "polygonlabels", "rectanglelabels"])
def test_later_regions_of_a_label_replace_no_earlier_ones(kind):
    """A hint after another hint, or after a prediction: the page keeps regions by their ids."""
    control = Control("tag", kind, ("cat",))
    mask = np.eye(8, dtype=bool)
    answers = [list(write_regions(mask, "cat", control, "image", score)) for score in (1.0, 0.5)]
    ids = [one["id"] for regions in answers for one in regions]
    assert len(set(ids)) == len(ids) >= 2


@pytest.mark.parametrize(
    ("one", "message"),
    [
        (region("rectanglelabels", {"x": 1, "y": 1, "width": 5}), "a number for height"),
        (region("rectanglelabels", {"x": "a", "y": 1, "width": 5, "height": 5}), "number for x"),
        (
            region("rectanglelabels", {"x": 1, "y": 1, "width": float("nan"), "height": 5}),
            "number for width",
        ),
        (region("keypointlabels", {"x": 1e9, "y": 1}), "far outside"),
        (region("polygonlabels", {"points": [[1, 1], [2, 2]]}), "3 points"),
        (region("polygonlabels", {"points": "abc"}), "expected a list"),
        (region("brushlabels", {"format": "rle", "rle": [1, 2]}), "damaged"),
        (
            region("keypointlabels", {"x": 1, "y": 1}, original_width=40, original_height=80),
            "40×80 px, but it has 80×40 px",
        ),
    ],
)
def test_bad_regions(one, message):
    with pytest.raises(FcpError, match=message):
        read_region(one, SIZE, "region")
