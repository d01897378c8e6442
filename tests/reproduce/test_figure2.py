"""Feature statistics against loops over all pairs of cells, and against features that are known."""

from itertools import pairwise, product

import numpy as np
import pytest
import torch
from torch.nn.functional import cosine_similarity

from fcp.data.dataset import Picture
from fcp.data.lists import ClassLists, val_lists
from fcp.errors import FcpError
from fcp.reproduce.bootstrap import Interval
from fcp.reproduce.figure2 import (
    FeatureStatistic,
    SeenObject,
    between,
    feature_statistics,
    features_of,
    plot_features,
    see_object,
    within,
)


class WithBlocks:
    """The same pictures, in whose left half is a bus and in whose right half a car."""

    def __init__(self, data):
        self.image = data.image

    def class_mask(self, picture, class_id):
        left = np.arange(96) < 48
        return np.tile(left if class_id == 6 else ~left, (72, 1))

    def ignored(self, picture):
        return np.zeros((72, 96), bool)


def an_object(picture, class_id, mean, inside=0.0, across=0.0):
    return SeenObject(picture, class_id, np.asarray(mean, float), inside, across)


def test_similarities_are_those_of_all_pairs_of_cells():
    maps = torch.randn(5, 3, 4, generator=torch.Generator().manual_seed(0))
    cells = maps.flatten(1).T
    foreground = torch.arange(12) % 3 == 0
    background = torch.arange(12) % 3 == 1
    mean, inside, across = see_object(maps, foreground, background)
    own, rest = cells[foreground], cells[background]
    pairs = [cosine_similarity(a, b, 0) for i, a in enumerate(own) for b in own[i + 1 :]]
    assert inside == pytest.approx(float(np.mean(pairs)), abs=1e-5)
    pairs = [cosine_similarity(a, b, 0) for a, b in product(own, rest)]
    assert across == pytest.approx(float(np.mean(pairs)), abs=1e-5)
    units = torch.stack([cell / cell.norm() for cell in own])
    torch.testing.assert_close(mean.float(), units.mean(0), atol=1e-5, rtol=0)


def test_a_feature_that_is_the_mask_separates_wholly():
    foreground = torch.tensor([1, 1, 0, 0, 0, 1]).bool()
    maps = torch.stack([foreground, ~foreground]).float().reshape(2, 2, 3)
    _, inside, across = see_object(maps, foreground, ~foreground)
    assert (inside, across) == pytest.approx((1, 0), abs=1e-5)


def test_a_feature_that_is_the_class_tells_classes_apart():
    objects = [an_object(f"p{i}", i % 3, np.eye(3)[i % 3]) for i in range(9)]
    found = between(objects)
    assert (found.value, found.low, found.high) == (1, 1, 1)
    assert between([an_object(one.picture, one.class_id, [1, 0]) for one in objects]).value == 0


def test_between_is_a_loop_over_pairs_where_each_class_counts_the_same():
    generator = np.random.default_rng(0)
    classes = [1, 1, 1, 1, 2, 2, 3]
    pictures = ["a", "b", "c", "d", "a", "e", "b"]  # a and b show two classes
    objects = [
        an_object(picture, class_id, generator.normal(size=4))
        for picture, class_id in zip(pictures, classes, strict=True)
    ]
    sums: dict[tuple[int, int], list[float]] = {}
    for one, other in product(objects, objects):
        if one.picture != other.picture:
            key = (one.class_id, other.class_id)
            sums.setdefault(key, []).append(float(one.mean @ other.mean))
    same = [np.mean(values) for (a, b), values in sums.items() if a == b]
    others = [np.mean(values) for (a, b), values in sums.items() if a != b]
    found = between(objects)
    assert found.value == pytest.approx(np.mean(same) - np.mean(others))
    assert found.low < found.value < found.high


def test_within_counts_each_class_the_same():
    objects = [an_object(f"p{i}", 1, [1], 0.9, 0.5) for i in range(9)]
    objects += [an_object("p", 2, [1], 0.8, 0.0)]
    found = within(objects)
    assert (found.value, found.low, found.high) == pytest.approx((0.6, 0.6, 0.6))


def test_every_map_of_the_encoders_is_measured(predictor, data):
    model, lists = predictor.model, val_lists(data, 1)
    steps = []
    found = feature_statistics(model, data, lists, progress=lambda *step: steps.append(step))
    maps = features_of(model, torch.rand(1, 3, 64, 64))
    assert [one.feature for one in found] == list(maps)
    assert {"G: segmenter", "F: mid level 1", "F: mid, all levels", "F: stage 4"} <= set(maps)
    levels = [maps[f"F: mid level {level}"] for level in (1, 2, 3, 4)]
    assert torch.equal(torch.cat(levels), maps["F: mid, all levels"])
    listed = {picture for members in lists.members.values() for picture in members}
    assert steps[-1] == (len(listed), len(listed))
    for one in found:
        assert 4 <= one.objects <= sum(len(members) for members in lists.members.values())
        for value in (one.within, one.between):
            assert -2 <= value.low <= value.high <= 2


def test_a_statistic_is_that_of_its_objects(predictor, data):
    model, members = predictor.model, {6: ("val_06_0", "val_06_1"), 7: ("val_07_0", "val_06_0")}
    lists = ClassLists(rows=(), members=members, present={}, names={})
    data = WithBlocks(data)
    found = feature_statistics(model, data, lists)[0]
    gained = {6: [], 7: []}
    for class_id, pictures in members.items():
        for picture in pictures:
            image = Picture(data, picture, 64).image()[None]
            maps = features_of(model, image)[found.feature].detach()
            block = torch.zeros(maps.shape[-2:], dtype=bool)
            block[:, : maps.shape[-1] // 2] = True
            block = block if class_id == 6 else ~block
            _, inside, across = see_object(maps, block.flatten(), ~block.flatten())
            gained[class_id].append(inside - across)
    assert found.objects == 4
    assert found.within.value == pytest.approx(np.mean([gained[6], gained[7]]), abs=1e-5)


def test_lists_without_anything_to_compare_are_refused(predictor, data):
    model = predictor.model
    nothing = ClassLists(rows=(), members={6: ()}, present={}, names={6: "bus"})
    with pytest.raises(FcpError, match="figure 2: the lists name no picture"):
        feature_statistics(model, data, nothing)
    members = val_lists(data, 1).members[6]
    one_class = ClassLists(rows=members, members={6: members}, present={}, names={6: "bus"})
    with pytest.raises(FcpError, match="figure 2: needs objects of two classes"):
        feature_statistics(model, data, one_class)


def test_plot_is_drawn_and_refuses_unlike_folds(tmp_path, assert_drawn):
    edges = [0.05, 0.1, 0.2, 0.3]
    statistics = [
        FeatureStatistic(name, 9, Interval((a + b) / 2, a, b), Interval(a, a - 0.1, b))
        for name, (a, b) in zip(("G: segmenter", "F: 1", "F: 2"), pairwise(edges), strict=True)
    ]
    plot_features({"fold 0": statistics}, tmp_path / "one.png")
    plot_features({"fold 0": statistics, "fold 1": statistics}, tmp_path / "two.png")
    assert_drawn(tmp_path / "one.png")
    assert_drawn(tmp_path / "two.png")
    for folds in ({}, {"a": statistics, "b": statistics[1:]}):
        with pytest.raises(FcpError, match="figure 2: expected at least one fold"):
            plot_features(folds, tmp_path / "three.png")
    assert not (tmp_path / "three.png").exists()
