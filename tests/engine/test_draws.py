"""The two rules of drawing against the lists that they draw from."""

from collections import Counter

import numpy as np
import pytest

from fcp.data.lists import ClassLists, train_lists
from fcp.data.pascal import PascalVOC
from fcp.engine.draws import make_draw
from fcp.errors import FcpError


def draw_many(rule, lists, count, seed=0):
    draw = make_draw(rule, lists, seed)
    return [draw(index, np.random.default_rng((seed, index))) for index in range(count)]


@pytest.mark.parametrize("rule", ["class", "query"])
@pytest.mark.parametrize("fold", range(4))
def test_what_is_drawn_is_listed_and_never_novel(mini_voc, rule, fold):
    data = PascalVOC(mini_voc)
    lists = train_lists(data, fold)
    for task in draw_many(rule, lists, 200):
        assert task.class_id in data.base(fold)
        assert task.support != task.query
        assert task.support in lists.members[task.class_id]
        assert task.class_id in lists.present[task.query]


def test_each_picture_is_the_query_once_an_epoch_in_a_new_order(mini_voc):
    lists = train_lists(PascalVOC(mini_voc), 1)
    rows = len(lists.rows)
    queries = [task.query for task in draw_many("query", lists, 3 * rows)]
    epochs = [queries[start : start + rows] for start in range(0, 3 * rows, rows)]
    assert all(sorted(epoch) == sorted(lists.rows) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    other = [task.query for task in draw_many("query", lists, rows, seed=1)]
    assert other != epochs[0]


def test_an_episode_depends_on_its_index_alone(mini_voc):
    lists = train_lists(PascalVOC(mini_voc), 0)
    for rule in ("class", "query"):
        many = draw_many(rule, lists, 50)
        assert make_draw(rule, lists, 0)(37, np.random.default_rng((0, 37))) == many[37]


def test_classes_are_drawn_by_the_fourth_root_of_their_count():
    members = {1: tuple(f"a{n}" for n in range(256)), 2: tuple(f"b{n}" for n in range(16))}
    rows = (*members[1], *members[2])
    present = {row: (1,) if row in members[1] else (2,) for row in rows}
    lists = ClassLists(rows, members, present, {1: "often", 2: "rare"})
    counts = Counter(task.class_id for task in draw_many("class", lists, 6000))
    assert counts[1] / counts[2] == pytest.approx(4 / 2, rel=0.1)
    by_query = Counter(task.class_id for task in draw_many("query", lists, 272))
    assert by_query == {1: 256, 2: 16}


@pytest.mark.parametrize("rule", ["class", "query"])
def test_single_pictures_cannot_be_learnt_from(rule):
    lists = ClassLists(("a", "b"), {1: ("a",), 2: ("b",)}, {"a": (1,), "b": (2,)}, {1: "x", 2: "y"})
    with pytest.raises(FcpError, match="no two training pictures"):
        make_draw(rule, lists, 0)


def test_starting_looks_at_few_pictures_of_a_class_for_each_query():
    class Counted(tuple):
        seen = 0

        def __iter__(self):
            for one in super().__iter__():
                Counted.seen += 1
                yield one

    rows = tuple(f"p{n}" for n in range(300))
    lists = ClassLists(rows, {1: Counted(rows)}, dict.fromkeys(rows, (1,)), {1: "x"})
    assert make_draw("query", lists, 0).epoch == 300
    assert Counted.seen <= 2 * 300


def test_a_query_without_a_support_is_never_asked():
    lists = ClassLists(
        ("a", "b", "c"),
        {1: ("a", "b"), 2: ("c",)},
        {"a": (1,), "b": (1, 2), "c": (2,)},
        {1: "x", 2: "y"},
    )
    tasks = draw_many("query", lists, 40)
    assert {(task.query, task.class_id, task.support) for task in tasks} == {
        ("a", 1, "b"),
        ("b", 1, "a"),
        ("b", 2, "c"),
    }
