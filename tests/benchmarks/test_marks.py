"""Marks in place of a mask: where they lie, and what is compared."""

import numpy as np
from marks import examples_of, marks_on

from fcp import FewShotSegmenter
from fcp.data.prompts import Box, Points, annotation_mask


def test_marks_lie_on_the_mask():
    mask = np.zeros((60, 80), bool)
    mask[10:40, 10:50], mask[45:55, 60:75], mask[0, 79] = True, True, True
    marks = marks_on(mask, np.random.default_rng(0))
    assert marks["box"] == Box(10, 0, 80, 55)
    assert len(marks["a point on each"].points) == 2
    for name in ("scribble", "3 points", "1 point"):
        assert all(10 <= x < 50 and 10 <= y < 40 for x, y in marks[name].points)
    assert all(mask[int(y), int(x)] for x, y in marks["a point on each"].points)
    line = np.array(marks["scribble"].points)
    steps = np.diff((line - line.mean(0)) @ np.linalg.svd(line - line.mean(0))[2][0])
    assert (steps >= 0).all() or (steps <= 0).all()


def test_a_box_is_compared_once_and_points_twice():
    segmenter = FewShotSegmenter.from_pretrained("tiny", device="cpu")
    picture = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)
    assert list(examples_of(segmenter, picture, Box(10, 10, 40, 40))) == ["drawn"]
    points = Points([(20, 20), (40, 30)])
    made = examples_of(segmenter, picture, points)
    assert (made["drawn"] == annotation_mask(points, (60, 80))).all()
    assert (made["outlined"] >= made["drawn"]).all()
