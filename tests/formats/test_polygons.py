"""Masks → polygons → masks, against the mask itself, shapely and the rule of pixel centres."""

import sys

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from fcp.errors import FcpError
from fcp.formats import polygons as module
from fcp.formats.polygons import (
    fill_polygons,
    join_polygons,
    mask_polygons,
    move_inward,
    read_points,
)
from fcp.formats.run_lengths import row_runs, to_mask, to_runs

any_mask = hnp.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9)))


def smooth_mask(seed, side, blur, level=0.0):
    """Return blobs with holes and islands, some of them cut by the border."""
    noise = np.random.default_rng(seed).standard_normal((side, side)).astype(np.float32)
    heights = ndimage.gaussian_filter(noise, blur)
    return heights > level * heights.std()


def filled(polygons, size):
    return to_mask(fill_polygons(polygons, size))


def enlarge(mask):
    """Return the mask with each pixel as 12 × 12, so that parts are worth simplifying."""
    return np.kron(mask, np.ones((12, 12), bool))


def exactly(mask):
    return [module.keyhole(part) for part in module.exact_parts(mask)]


@given(any_mask.filter(np.any))
def test_exact_outlines_paint_the_mask_again(mask):
    polygons = exactly(mask)
    assert len(polygons) == ndimage.label(mask)[1]
    assert (filled(polygons, mask.shape) == mask).all()
    assert (filled([join_polygons(polygons)], mask.shape) == mask).all()


@given(any_mask.filter(np.any))
def test_both_rules_of_filling_agree_and_bridges_have_no_area(mask):
    for polygon in exactly(mask):
        x, y = polygon.T
        signed = (x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2  # sums winding numbers
        assert abs(signed) == to_mask(fill_polygons([polygon], mask.shape)).sum()


@given(any_mask.filter(np.any))
def test_bridges_to_holes_stay_on_the_foreground(mask):
    thing = shapely.union_all([shapely.box(c, r, c + 1, r + 1) for r, c in np.argwhere(mask)])
    for polygon in exactly(mask):
        edges = shapely.linestrings(np.stack([polygon, np.roll(polygon, -1, axis=0)], axis=1))
        assert thing.buffer(1e-9).covers(shapely.multilinestrings(edges))


@given(any_mask.filter(np.any))
def test_few_corners_cost_at_most_a_hundredth(mask):
    mask = enlarge(mask)
    polygons = mask_polygons(mask)
    for painted in (filled(polygons, mask.shape), filled([join_polygons(polygons)], mask.shape)):
        assert (painted & mask).sum() >= 0.99 * (painted | mask).sum()
    area = shapely.area([shapely.Polygon(p) for p in polygons]).sum()
    assert area == pytest.approx(mask.sum(), rel=0.01)


@pytest.mark.parametrize("seed", range(4))
def test_smooth_things_lose_most_corners(seed):
    mask = smooth_mask(seed, 300, 9, level=0.3)
    polygons = mask_polygons(mask)
    for painted in (filled(polygons, mask.shape), filled([join_polygons(polygons)], mask.shape)):
        assert (painted & mask).sum() >= 0.99 * (painted | mask).sum()
    exact = exactly(mask)
    assert sum(map(len, polygons)) < sum(map(len, exact)) / 2
    assert shapely.area([shapely.Polygon(p) for p in polygons]).sum() == pytest.approx(
        mask.sum(), rel=0.01
    )


def test_a_pixel_and_thin_lines_keep_their_shape():
    mask = np.zeros((40, 40), bool)
    mask[0, 0] = mask[39, 39] = mask[5, 3:30] = True
    mask[range(10, 30), range(10, 30)] = True
    assert (filled(mask_polygons(mask), mask.shape) == mask).all()
    assert mask_polygons(np.zeros((3, 4), bool)) == []


def test_a_frame_is_one_polygon_with_a_bridge():
    mask = np.ones((50, 60), bool)
    mask[10:40, 10:50] = False
    (polygon,) = mask_polygons(mask)
    assert len(polygon) == 10 + 1  # 2 × 4 corners, the hole's first again, both ends of the bridge
    assert (filled([polygon], mask.shape) == mask).all()


def test_a_large_thing_has_few_corners():
    side = np.linspace(-1, 1, 1000)
    x, y = np.meshgrid(side, side)
    mask = np.hypot(x, y) < 0.7 + 0.1 * np.cos(5 * np.arctan2(y, x))
    mask &= np.hypot(x - 0.3, y) > 0.1
    (polygon,) = mask_polygons(mask)
    assert len(polygon) < 60
    painted = filled([polygon], mask.shape)
    assert (painted & mask).sum() >= 0.99 * (painted | mask).sum()


@given(
    hnp.arrays(
        np.float64,
        st.tuples(st.integers(3, 8), st.just(2)),
        elements=st.floats(-4, 24, allow_subnormal=False),
    )
)
def test_pixel_centres_decide(polygon):
    size = (16, 20)
    painted = filled([polygon], size)
    # By the even-odd rule, counted on a ray; the COCO API rounds corners and edges to 0.2 px.
    x, y = np.meshgrid(np.arange(20) + 0.5, np.arange(16) + 0.5)
    (x0, y0), (x1, y1) = polygon.T, np.roll(polygon, -1, axis=0).T
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        met = x0 + (y[..., None] - y0) / (y1 - y0) * (x1 - x0)
    crossed = ((y0 > y[..., None]) != (y1 > y[..., None])) & (x[..., None] < met)
    inside = crossed.sum(axis=-1) % 2 == 1
    with np.errstate(divide="ignore", invalid="ignore"):
        clear = shapely.distance(shapely.linearrings(polygon), shapely.points(x, y)) > 0.3
    assert (painted == inside)[clear].all()


@pytest.mark.parametrize("x", [float("nan"), float("inf"), 1e300, -41, 81])
def test_points_that_cannot_be_meant(x):
    with pytest.raises(FcpError, match=r"a\.json: the point .* far outside the picture \(40×30"):
        read_points([[1, 1], [x, 2]], (30, 40), "a.json")


@pytest.mark.parametrize(
    "values", [None, "a", [], [1, 2, 3], [[1, 2, 3]], [[1, 2], [3]], [[1, {}]], [10**400, 1]]
)
def test_what_is_no_list_of_points(values):
    with pytest.raises(FcpError, match=r"a\.json: expected a list of x and y"):
        read_points(values, (30, 40), "a.json")


def test_points_come_as_pairs_or_flat():
    expected = [[-40, -30], [80.5, 60]]
    assert read_points([-40, -30, 80.5, 60], (30, 41), "a.json").tolist() == expected
    assert read_points(expected, (30, 41), "a.json").tolist() == expected


def test_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "shapely", None)
    with pytest.raises(FcpError, match=r"need shapely .*pip install 'shapely"):
        mask_polygons(np.ones((2, 2), bool))


@given(any_mask)
def test_runs_paint_the_mask_again(mask):
    assert (to_mask(to_runs(mask)) == mask).all()
    counts = row_runs(mask)
    values = np.arange(len(counts)) % 2 == 1
    assert (np.repeat(values, counts).reshape(mask.shape) == mask).all()
    assert (counts[1:] > 0).all()


def test_corners_move_into_the_polygon():
    ring = np.zeros((30, 40), bool)
    ring[5:20, 5:30], ring[10:15, 12:20] = True, False
    ring[24:28, 3:9] = True
    joined = join_polygons(mask_polygons(ring))
    moved = move_inward(joined, 0.01)
    assert (abs(moved - joined) <= 0.01 + 1e-9).all()
    assert (filled([moved], ring.shape) == ring).all()
    # Whole pixels, as programs have them that cut: right and lower edges name the last pixel.
    cut = moved.astype(int)
    assert [*cut.max(axis=0), *cut.min(axis=0)] == [29, 27, 3, 5]
