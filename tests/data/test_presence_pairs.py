"""Pairs that ask whether a class is there: half are, and the truth of each is counted again."""

import pytest

from fcp.data.pascal import PascalVOC
from fcp.data.presence_pairs import SETS_OF_EXAMPLES, draw_pairs
from fcp.errors import FcpError


@pytest.fixture(scope="module")
def data(mini_voc):
    return PascalVOC(mini_voc)


def pairs_of(data, classes=(1, 6, 11, 16), **changes):
    return draw_pairs(data, classes, **{"per_class": 40, "shots": (1, 3), "seed": 0} | changes)


def test_the_truth_is_what_the_masks_say(data):
    pairs = pairs_of(data)
    for pair in pairs:
        area = data.pixels(pair.query).get(pair.class_id, 0)
        assert area >= data.min_pixels if pair.present else area == 0
        assert pair.query not in pair.examples
        assert all(data.pixels(name)[pair.class_id] >= data.min_pixels for name in pair.examples)
    assert sum(pair.present for pair in pairs) * 2 == len(pairs) == 160


def test_a_picture_with_a_few_pixels_of_a_class_is_not_asked_about(data):
    asked = {pair.query for pair in pairs_of(data, (1,), per_class=400)}
    assert "val_mixed" not in asked
    assert "val_speck" in asked


def test_pictures_with_banned_classes_are_not_used_at_all(data):
    pairs = pairs_of(data, without=(6, 2))
    used = {name for pair in pairs for name in (pair.query, *pair.examples)}
    assert used
    assert not any({2, 6} & set(data.pixels(name)) for name in used)
    assert {pair.class_id for pair in pairs} == {1, 11, 16}


def test_shots_take_turns_and_example_sets_are_shared(data):
    pairs = pairs_of(data, (1,), per_class=200)
    sets = {pair.examples for pair in pairs}
    assert {len(examples) for examples in sets} == {1, 3}
    assert len(sets) <= SETS_OF_EXAMPLES


def test_more_shots_than_pictures_take_all_but_one(data):
    assert {len(pair.examples) for pair in pairs_of(data, (16,), shots=(50,))} == {3}


def test_the_seed_decides(data):
    assert pairs_of(data) == pairs_of(data)
    assert pairs_of(data) != pairs_of(data, seed=1)


def test_pairs_are_sorted_by_query(data):
    queries = [pair.query for pair in pairs_of(data)]
    assert queries == sorted(queries)


def test_no_class_at_all_is_told(data):
    with pytest.raises(FcpError, match="no class has two val pictures"):
        pairs_of(data, (19,))
