"""Regions: hierarchies against hand-made pictures and brute-force unions."""

import numpy as np
import pytest

from fcp.data.regions import (
    RegionTree,
    box_fill,
    build_region_tree,
    draw_label_regions,
    draw_tree_regions,
    map_features,
)


@pytest.fixture
def four_blocks():
    """Return a picture of four uniform blocks: two reds above, two blues below."""
    image = np.zeros((64, 64, 3), np.uint8)
    image[:32, :32], image[:32, 32:] = (200, 30, 30), (230, 60, 60)
    image[32:, :32], image[32:, 32:] = (30, 30, 200), (60, 60, 230)
    return image


def test_alike_neighbours_merge_first(four_blocks):
    tree = build_region_tree(four_blocks, np.zeros((1, 32, 32), np.float32))
    upper, lower = np.zeros((64, 64), bool), np.zeros((64, 64), bool)
    upper[:32], lower[32:] = True, True
    nodes = [members[tree.leaves] for members in tree.members()]
    agreement = [max((node == half).mean() for node in nodes) for half in (upper, lower)]
    assert min(agreement) > 0.98


def test_features_decide_where_colour_does_not():
    image = np.full((64, 64, 3), 128, np.uint8)
    image[::32], image[:, ::32] = 20, 20  # lines make four leaves or more of one colour
    features = np.zeros((1, 32, 32), np.float32)
    features[:, :, 16:] = 10.0  # left and right differ in features alone
    tree = build_region_tree(image, features)
    left = np.zeros((64, 64), bool)
    left[:, :32] = True
    best = max((m[tree.leaves] == left).mean() for m in tree.members())
    assert best > 0.9


def test_members_are_the_unions_of_the_merges():
    children = np.array([[0, 1], [2, 3], [4, 5]], np.int32)
    tree = RegionTree(np.arange(4, dtype=np.uint16).reshape(2, 2), children)
    expected: list[set[int]] = [{0}, {1}, {2}, {3}]
    for left, right in children:
        expected.append(expected[left] | expected[right])
    found = [set(np.flatnonzero(row).tolist()) for row in tree.members()]
    assert found == expected


def test_a_uniform_picture_is_one_leaf():
    tree = build_region_tree(np.full((40, 40, 3), 9, np.uint8), np.zeros((1, 20, 20), np.float32))
    assert tree.children.shape == (0, 2)
    assert draw_tree_regions(tree, tree.leaves, np.random.default_rng(0), 3) == []


def test_drawn_nodes_are_neither_specks_nor_everything(four_blocks):
    tree = build_region_tree(four_blocks, np.zeros((1, 32, 32), np.float32))
    drawn = draw_tree_regions(tree, tree.leaves, np.random.default_rng(0), 20)
    assert len(drawn) == 20
    assert all(0.004 < mask.mean() < 0.7 for mask in drawn)


def test_box_fill_counts_the_tight_box():
    frame = np.zeros((10, 10), bool)
    frame[2:8, 2:8] = True
    assert box_fill(frame) == 1.0
    frame[3:7, 3:7] = False
    assert box_fill(frame) == pytest.approx(20 / 36)


def test_background_ids_are_never_drawn():
    labels = np.zeros((20, 20), np.uint8)
    labels[5:10, 5:10], labels[:2] = 7, 255
    drawn = draw_label_regions(labels, np.random.default_rng(0), 10, background=(0, 255))
    assert len(drawn) == 10
    assert all((mask == (labels == 7)).all() for mask in drawn)
    nothing = draw_label_regions(np.zeros((9, 9)), np.random.default_rng(0), 3, background=(0,))
    assert nothing == []


def test_each_level_weighs_one_unit():
    rng = np.random.default_rng(0)
    levels = [rng.normal(3, 5, (4, 8, 8)), rng.normal(-1, 0.1, (16, 4, 4))]
    maps = map_features(lambda _: levels, np.zeros((16, 16, 3), np.uint8))
    assert maps.shape == (20, 8, 8)
    for part in (maps[:4], maps[4:]):
        assert part.var(axis=(1, 2)).sum() == pytest.approx(1, rel=1e-3)
