"""Points and scribbles become outlines: the likely box, one object or several, what is kept."""

import time
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import distance_matrix

from fcp import FewShotSegmenter
from fcp.data.images import read_image, read_mask
from fcp.data.prompts import Box, Points, Scribble, annotation_mask
from fcp.inference.examples import read_given, with_outlines
from fcp.inference.networks.base import Cells
from fcp.inference.outlines import MOST_OBJECTS, likely_box, outline, thinned
from fcp.structures import Decoded, Embedding

SIZE = (60, 80)
CELLS = (30, 40)


class Painter:
    """A segmenter that knows the objects of its picture and draws those that a box meets.

    From points alone it draws nothing, unless ``knows_points``, when it draws the object of the
    first point.
    """

    knows_points = False

    def __init__(self, *objects: tuple[int, int, int, int]) -> None:
        self.objects = objects
        self.asked: list[dict[str, torch.Tensor]] = []

    def encode(self, images):
        return Embedding(images[:, :1])

    def embed_prompts(self, **given):
        self.asked.append(given)
        first = given["points"][:, 0].repeat(1, 2) if self.knows_points else torch.zeros(1, 4)
        return given.get("boxes", first), None

    def decode(self, embedding, boxes, painted):
        height, width = SIZE
        x0, y0, x1, y1 = (boxes[0] * torch.tensor([width, height, width, height])).tolist()
        met = [o for o in self.objects if x0 < o[2] and o[0] < x1 and y0 < o[3] and o[1] < y1]
        mask = np.zeros(SIZE, bool)
        for a, b, c, d in met:
            mask[b:d, a:c] = True
        logits = torch.where(torch.from_numpy(mask[::2, ::2].copy()), 3.0, -3.0)
        return Decoded(logits[None], torch.ones(1))


class Network:
    """A network whose features are the colours of the picture."""

    square, device = 64, torch.device("cpu")

    def __init__(self, promptable):
        self.promptable = promptable

    def query(self, images):
        return images

    def cells(self, query):
        return Cells(query.flatten(2), (64, 64))


def picture_of(*objects):
    """Draw objects in one colour on another."""
    picture = np.full((*SIZE, 3), (20, 90, 160), np.uint8)
    for x0, y0, x1, y1 in objects:
        picture[y0:y1, x0:x1] = (200, 60, 30)
    return picture


def outlined(segmenter, *marks):
    return outline(Network(segmenter), picture_of(*segmenter.objects), marks)


def outlined_boxes(painter, *marks):
    outlined(painter, *marks)
    return [given for given in painter.asked if "boxes" in given]


def rectangle(x0, y0, x1, y1):
    return annotation_mask(Box(x0, y0, x1, y1), SIZE)


@pytest.mark.parametrize("count", [2, 3, 8])
def test_the_likely_extent_is_unbiased(count):
    generator = np.random.default_rng(0)
    estimates = []
    for _ in range(3000):
        box = likely_box(generator.uniform([300, 400], [500, 700], (count, 2)).tolist(), (999, 999))
        estimates.append((box.x1 - box.x0, box.y1 - box.y0, (box.x0 + box.x1) / 2))
    width, height, middle = np.mean(estimates, axis=0)
    assert width == pytest.approx(200, rel=0.05)
    assert height == pytest.approx(300, rel=0.05)
    assert middle == pytest.approx(400, abs=5)


def test_the_likely_box_stays_in_the_picture_and_has_a_least_side():
    assert likely_box([(1, 1)], SIZE) == Box(0, 0, 11, 11)
    assert likely_box([(10, 30), (70, 30)], SIZE) == Box(0, 27.5, 80, 32.5)
    assert likely_box([(30, 30), (32, 34), (40, 30)], SIZE, wider=2) == Box(15, 24, 55, 40)
    others = [(40, 30), (70, 30)]  # of which the nearer is 10 px away
    assert likely_box([(30, 30)], SIZE, others) == Box(26.5, 26.5, 33.5, 33.5)
    assert likely_box([(30, 30)], SIZE, [(30, 30)]) == Box(29.5, 29.5, 30.5, 30.5)


def test_points_on_one_object_are_one_prompt():
    painter = Painter((10, 10, 50, 40))
    found = outlined(painter, Points([(12, 12), (40, 20), (30, 38)]))
    assert (found == rectangle(10, 10, 50, 40)).all()
    assert painter.asked[-1]["points"].shape == (1, 3, 2)


def test_points_on_several_objects_are_asked_one_by_one():
    painter = Painter((4, 4, 16, 14), (30, 20, 40, 30), (60, 40, 76, 56))
    expected = rectangle(4, 4, 16, 14) | rectangle(60, 40, 76, 56)
    assert (outlined(painter, Points([(8, 8)]), Points([(68, 50)])) == expected).all()
    assert (outlined(painter, Points([(8, 8), (68, 50)])) == expected).all()
    line = Scribble([(62, 42), (74, 54)])
    assert (outlined(painter, Points([(8, 8)]), line) == expected).all()
    assert outlined(painter, Points([(8, 8), (8, 8)]))[8, 8]


@pytest.mark.parametrize("again", [(12, 12), (12.2, 12.1)])
def test_a_point_that_is_given_twice_counts_once(again):
    painter = Painter((10, 10, 50, 40))
    for points in ([(12, 12)], [(40, 20), (12, 12)]):
        boxes = []
        for clicks in (points, [*points, again]):
            outlined(painter, Points(clicks))
            boxes.append([one["boxes"] for one in painter.asked if "boxes" in one])
            painter.asked.clear()
        assert all(torch.equal(*pair) for pair in zip(*boxes, strict=True))
        assert len(boxes[0]) == 2


def test_scribbles_on_several_objects_are_asked_one_by_one():
    painter = Painter((4, 4, 36, 24), (40, 30, 76, 56))
    lines = [Scribble([(6, 8), (32, 20)]), Scribble([(44, 34), (70, 50)])]
    expected = rectangle(4, 4, 36, 24) | rectangle(40, 30, 76, 56)
    assert (outlined(painter, *lines) == expected).all()
    assert {asked["points"].shape[1] for asked in painter.asked} == {8}
    one = Painter((4, 4, 76, 56))
    assert (outlined(one, *lines) == rectangle(4, 4, 76, 56)).all()
    assert {asked["points"].shape[1] for asked in one.asked} == {16}


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=40))
def test_thinned_points_are_apart_and_cover_all(points):
    chosen = thinned(points, 5)
    apart = distance_matrix(chosen, chosen) + 99 * np.eye(len(chosen))
    assert apart.min() >= 5
    assert distance_matrix(points, chosen).min(1).max() < 5
    assert chosen == thinned([*reversed(points), points[0]], 5)
    assert thinned(points, 5, 3) == chosen[:3]


def test_thousands_of_marks_take_no_longer():
    painter = Painter((0, 0, 80, 60))
    clicks = np.random.default_rng(0).uniform((0, 0), (80, 60), (20_000, 2))
    lines = [Scribble(line) for line in clicks[:9_000].reshape(-1, 3, 2)]
    started = time.process_time()
    assert outlined(painter, Points(clicks), *lines).all()
    assert time.process_time() - started < 10
    assert painter.asked[0]["points"].shape[1] < 400


def test_a_mask_that_holds_other_marked_objects_is_too_large():
    painter = Painter((4, 4, 76, 56))
    painter.knows_points = True
    boxes = len(outlined_boxes(painter, Points([(8, 8), (70, 50)])))
    assert boxes == 0  # all of it is one colour
    picture = picture_of((4, 4, 16, 14), (60, 40, 76, 56))
    painter.asked.clear()
    outline(Network(painter), picture, [Points([(8, 8), (70, 50)])])
    assert ["boxes" in asked for asked in painter.asked] == 2 * [False, True, True]


def test_points_alone_are_asked_first():
    painter = Painter((10, 10, 50, 40))
    painter.knows_points = True
    found = outlined(painter, Points([(12, 12)]))
    assert (found == rectangle(10, 10, 50, 40)).all()
    assert [list(asked) for asked in painter.asked] == [["points", "point_labels"]]


def test_very_many_objects_are_not_outlined():
    objects = [(x, y, x + 3, y + 3) for x in range(2, 78, 8) for y in range(2, 58, 8)]
    painter = Painter(*objects)
    points = Points([(x0 + 1.5, y0 + 1.5) for x0, y0, *_ in objects])
    assert len(points.points) > MOST_OBJECTS
    assert not outlined(painter, points).any()
    assert painter.asked == []


def test_pieces_without_a_point_are_left_out():
    painter = Painter((10, 10, 30, 30), (34, 10, 44, 30))
    assert (outlined(painter, Points([(28, 20)])) == rectangle(10, 10, 30, 30)).all()


def test_a_scribble_is_asked_at_even_distances():
    painter = Painter((10, 10, 70, 40))
    line = [(20, 20), (21, 20), (22, 20), (60, 20)]
    assert (outlined(painter, Scribble(line)) == rectangle(10, 10, 70, 40)).all()
    assert [("boxes" in given) for given in painter.asked] == [False, True, True]
    asked = painter.asked[0]["points"][0] * torch.tensor([SIZE[1], SIZE[0]])
    assert torch.allclose(asked[:, 0].sort().values.diff(), torch.tensor(40 / 7))
    assert outlined(painter, Scribble([(20, 20)])).any()
    assert outlined(painter, Scribble([(20, 20), (20, 20)])).any()


def test_only_points_and_scribbles_are_outlined():
    picture = picture_of((10, 10, 50, 40))
    network = Network(Painter((10, 10, 50, 40)))
    mask, box, points = rectangle(1, 1, 5, 5), Box(1, 1, 9, 9), Points([(20, 20), (40, 30)])
    read = read_given([(picture, one) for one in (mask, box, points, [box, points])])
    assert read.exact == [True, False, False, False]
    masks = [mask for _, mask in with_outlines(network, read).pairs]
    assert (masks[0] == mask).all()
    assert (masks[1] == rectangle(1, 1, 9, 9)).all()
    assert (masks[2] == rectangle(10, 10, 50, 40)).all()
    assert (masks[3] == rectangle(10, 10, 50, 40) | rectangle(1, 1, 9, 9)).all()
    drawn = with_outlines(Network(None), read)
    assert (drawn.pairs[2][1] == annotation_mask(points, SIZE)).all()


def test_three_points_on_a_real_photo_find_most_of_the_object():
    demo = Path(str(files("fcp") / "demo"))
    network = FewShotSegmenter.from_pretrained("small", device="cpu").network
    picture = read_image(demo / "photos/astronaut.jpg")
    truth = read_mask(demo / "masks/astronaut.png", picture.shape[:2])
    points = Points([(220.0, 100.0), (150.0, 400.0), (300.0, 450.0)])
    discs = annotation_mask(points, picture.shape[:2])
    found = outline(network, picture, [points]) | discs
    overlap = [(one & truth).sum() / (one | truth).sum() for one in (discs, found)]
    assert overlap[0] < 0.05
    assert overlap[1] > 0.5
