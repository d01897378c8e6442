"""Planted objects that touch, against the truth; single objects that must stay whole."""

import numpy as np
import pytest
from scipy import ndimage
from shapely import MultiPoint
from skimage.morphology import local_maxima

from fcp.data.pieces import connected_pieces
from fcp.inference import touching
from fcp.inference.touching import Relief, Rule, climb, solidity, touching_objects

SIZE = (120, 160)


def disc(y, x, radius, size=SIZE):
    rows, columns = np.mgrid[: size[0], : size[1]]
    return (rows - y) ** 2 + (columns - x) ** 2 < radius**2


def stick(start, end, width, size=SIZE):
    """Return a thick line between two points (y, x)."""
    places = np.linspace(start, end, 200)
    return np.logical_or.reduce([disc(y, x, width / 2, size) for y, x in places])


def animal():
    """Return a body with four legs, a long neck and a head."""
    body = np.logical_or.reduce([disc(60, x, 16) for x in range(60, 100)])
    legs = [stick((60, x), (110, x), 7) for x in (52, 62, 96, 106)]
    neck = stick((55, 105), (12, 130), 9)
    return np.logical_or.reduce([body, *legs, neck, disc(12, 133, 8)])


def labels_of(mask):
    """Return the objects of all pieces as one label map."""
    labels, count = np.zeros(mask.shape, int), 0
    for piece in connected_pieces(mask):
        for one in touching_objects(piece):
            count += 1
            x0, y0, x1, y1 = one.box
            assert (labels[y0:y1, x0:x1][one.mask] == 0).all()
            labels[y0:y1, x0:x1][one.mask] = count
    return labels


def matched(labels, truth):
    """Count true objects that an object matches with an IoU above 0.5."""
    pairs = [(labels == label, one) for label in range(1, labels.max() + 1) for one in truth]
    return sum((a & b).sum() > 0.5 * (a | b).sum() for a, b in pairs)


@pytest.mark.parametrize("apart", [1.5, 1.7, 1.9])
@pytest.mark.parametrize("angle", [0, 0.4, 1.2])
def test_discs_that_touch_are_parted(apart, angle):
    step = apart * 14 * np.array([np.sin(angle), np.cos(angle)])
    truth = [disc(45 + i * step[0], 40 + i * step[1], 14) for i in range(3)]
    labels = labels_of(np.logical_or.reduce(truth))
    assert labels.max() == 3
    assert matched(labels, truth) == 3


def test_a_clump_of_rough_cells_is_parted():
    generator = np.random.default_rng(1)
    places = [(y, x) for y in range(20, 110, 19) for x in range(20, 150, 19)]
    truth = [disc(y + generator.normal(), x + generator.normal(), 11) for y, x in places]
    soft = ndimage.gaussian_filter(np.logical_or.reduce(truth) * 1.0, 1)
    soft += 0.4 * ndimage.gaussian_filter(generator.normal(size=SIZE), 1.5)
    mask = ndimage.binary_opening(soft > 0.5)
    assert sum(1 for _ in connected_pieces(mask)) < 10
    assert matched(labels_of(mask), truth) >= 0.8 * len(truth)


SINGLE = {
    "disc": disc(60, 80, 30),
    "ellipse": ndimage.zoom(disc(30, 80, 25, (60, 160)), (2, 1), order=0),
    "line": stick((10, 10), (100, 140), 3),
    "bar": stick((30, 20), (90, 140), 16),
    "ring": disc(60, 80, 40) & ~disc(60, 80, 28),
    "animal": animal(),
    "crescent": disc(60, 80, 40) & ~disc(60, 100, 38),
    "one pixel": disc(60, 80, 1),
}


@pytest.mark.parametrize("name", SINGLE)
def test_a_single_object_stays_whole(name):
    assert labels_of(SINGLE[name]).max() == 1


def test_turned_and_enlarged_it_is_the_same():
    mask = disc(50, 40, 20) | disc(60, 78, 22) | animal()
    labels = labels_of(mask)
    for turned in (labels_of(mask[::-1])[::-1], labels_of(mask[:, ::-1])[:, ::-1]):
        assert matched(turned, [labels == label for label in range(1, labels.max() + 1)])
        assert turned.max() == labels.max()
    large = labels_of(mask.repeat(3, 0).repeat(3, 1))
    assert large.max() == labels.max()


@pytest.mark.parametrize("seed", range(5))
def test_each_pixel_is_of_one_object(seed, monkeypatch):
    monkeypatch.setattr(touching, "MOST", 1500)  # so that the pieces are reduced
    generator = np.random.default_rng(seed)
    mask = ndimage.gaussian_filter(generator.normal(size=(90, 70)), 3) > -0.02
    np.testing.assert_array_equal(labels_of(mask) > 0, mask)


def test_small_parts_stay_with_their_neighbours():
    mask = disc(60, 60, 20) | disc(60, 92, 14)
    (piece,) = connected_pieces(mask)
    assert len(list(touching_objects(piece))) == 2
    assert len(list(touching_objects(piece, least=800))) == 1


@pytest.mark.parametrize("seed", range(5))
def test_basins_have_one_summit_and_are_connected(seed):
    generator = np.random.default_rng(seed)
    inside = np.pad(generator.random((20, 30)) < 0.8, 1)
    height = generator.random(inside.shape) * inside
    basins, summits = climb(height, inside)
    peaks = local_maxima(height, connectivity=2) & inside
    np.testing.assert_array_equal(np.sort(summits), np.flatnonzero(peaks))
    for number, summit in enumerate(summits):
        own = inside & (basins == number)
        assert ndimage.label(own, np.ones((3, 3)))[1] == 1
        assert height.ravel()[summit] == height[own].max()


def test_a_pass_is_the_highest_way_between_two_summits():
    height = np.array([[0, 0, 0, 0, 0], [0, 9, 4, 8, 0], [0, 3, 5, 6, 0], [0, 0, 0, 0, 0]], float)
    basins, summits = climb(height, height > 0)
    relief = Relief.of(basins, height, summits)
    assert relief.peaks.tolist() == [9, 8]
    assert relief.areas.sum() == 6
    assert relief.passes.tolist() == [5]
    assert len(set(relief.joined(Rule(0.6, 0, 0), 0))) == 1  # 5 > 0.6 × 8
    assert len(set(relief.joined(Rule(0.7, 0, 0), 0))) == 2
    assert len(set(relief.joined(Rule(0.7, 0.9, 0), 0))) == 1  # 8 < 0.9 × 9
    assert len(set(relief.joined(Rule(0.7, 0, 0), 4))) == 1


@pytest.mark.parametrize("name", SINGLE)
def test_solidity_is_that_of_the_hull_of_all_pixels(name):
    mask = SINGLE[name]
    corners = [(y + i, x + j) for y, x in np.argwhere(mask) for i in (0, 1) for j in (0, 1)]
    assert solidity(mask) == pytest.approx(mask.sum() / MultiPoint(corners).convex_hull.area)
