"""Episodes of VOC and objects: shares, evenness, and queries that surely lack the object."""

from collections import Counter

import numpy as np
import pytest

from fcp.data.mixed import (
    Mixture,
    kinds_holdout,
    left_out_kinds,
    look_alikes,
    object_sources,
    training_sources,
)
from fcp.data.objects import Objects
from fcp.data.pascal import PascalVOC
from fcp.errors import FcpError

SHARES = {"voc": 0.4, "scenes": 0.3, "garments": 0.2, "single": 0.1}
DRAWS = 1500


@pytest.fixture(scope="module")
def sources(mini_root):
    return training_sources(mini_root, None, hold_out=False)


def draws(mixture, number=DRAWS):
    return [mixture(np.random.default_rng((0, index))) for index in range(number)]


def named(task):
    return task.source.data.classes[task.class_id]


def test_sets_come_by_share_and_classes_nearly_evenly(sources):
    tasks = draws(Mixture(sources, SHARES), 4000)
    found = Counter(task.source.name for task in tasks)
    for name, share in SHARES.items():
        assert found[name] / 4000 == pytest.approx(share, abs=0.04)
    kinds = Counter(named(task) for task in tasks if task.source.name == "scenes")
    counts = {"cow": 6, "horse": 5, "face": 3, "body": 2, "grass": 7}  # without the books' photos
    weights = {f"scenes/{kind}": count**0.25 for kind, count in counts.items()}
    for kind, weight in weights.items():
        assert kinds[kind] / kinds.total() == pytest.approx(
            weight / sum(weights.values()), abs=0.04
        )


def test_each_episode_shows_what_it_says(sources):
    for task in draws(Mixture(sources, SHARES, shots=2, absent_share=0.3), 120):
        data = task.source.data
        assert len({*task.supports, task.query}) == 3
        assert all(data.class_mask(photo, task.class_id).any() for photo in task.supports)
        assert data.class_mask(task.query, task.class_id).any() == task.present
        assert {*task.supports, task.query} <= set(task.source.lists.rows)


def test_the_stated_share_lacks_the_object_and_the_sets_keep_theirs(sources):
    tasks = draws(Mixture(sources, SHARES, absent_share=0.25))
    assert sum(not task.present for task in tasks) / DRAWS == pytest.approx(0.25, abs=0.03)
    found = Counter(task.source.name for task in tasks)
    assert found["garments"] / DRAWS == pytest.approx(0.2, abs=0.03)


def test_no_absent_query_may_show_the_object_without_a_mask(sources):
    shares = {"scenes": 1, "garments": 0.2, "single": 1}
    absent = [
        task for task in draws(Mixture(sources, shares, absent_share=0.5)) if not task.present
    ]
    asked = {named(task) for task in absent}
    assert "scenes/grass" not in asked  # stuff
    assert not [name for name in asked if name.startswith(("garments", "films"))]
    assert {"scenes/face", "scenes/cow", "single/emu", "single/crab"} <= asked
    queries = {named(task): set() for task in absent}
    for task in absent:
        queries[named(task)].add(task.query.rstrip("_0123456789"))
    assert queries["scenes/face"] == {"scenes/meadow", "scenes/paddock", "scenes/stable"}
    assert queries["scenes/cow"] == {"scenes/paddock", "scenes/portrait", "scenes/walker"}
    assert queries["single/emu"] == {
        f"single/{k}" for k in ("dolphin", "flamingo", "barrel", "crab")
    }


def test_look_alikes_are_preferred(sources):
    single = next(source for source in sources if source.name == "single")
    numbers = {name: number for number, name in single.lists.names.items()}
    means = {number: np.eye(8)[place] for place, number in enumerate(numbers.values())}
    asked, nearest = numbers["single/emu"], numbers["single/flamingo"]
    means[asked] = means[nearest] + 0.1 * means[numbers["single/crab"]]
    mixture = Mixture([single], {"single": 1}, absent_share=0.9, features={"single": means})
    shown = Counter(
        task.query.split("/")[1].split("_")[0]
        for task in draws(mixture)
        if task.class_id == asked and not task.present
    )
    # Three of the four other kinds share three quarters of the queries; all four the rest.
    assert shown["flamingo"] / shown.total() == pytest.approx(0.75 / 3 + 0.25 / 4, abs=0.08)
    assert min(shown.values()) / shown.total() == pytest.approx(0.25 / 4, abs=0.05)


def test_look_alikes_are_sorted_by_cosine():
    rng = np.random.default_rng(0)
    means = {number: rng.normal(size=6) for number in (3, 5, 7, 11, 13)}
    order = look_alikes({number: 2.5 * mean for number, mean in means.items()})
    for asked, others in order.items():
        cosines = [
            means[asked] @ means[o] / np.sqrt(sum(means[asked] ** 2) * sum(means[o] ** 2))
            for o in others
        ]
        assert cosines == sorted(cosines, reverse=True)
        assert sorted((*others, asked)) == [3, 5, 7, 11, 13]
    assert look_alikes({4: np.ones(2)}) == {4: ()}
    assert look_alikes({}) == {}


def test_an_episode_is_its_generators_alone(sources):
    mixture = Mixture(sources, SHARES, absent_share=0.2)
    first = [mixture(np.random.default_rng((7, step))) for step in range(20)]
    again = [mixture(np.random.default_rng((7, step))) for step in reversed(range(20))]
    assert first == again[::-1]


@pytest.mark.parametrize("fold", [0, 1, 2, 3, None])
@pytest.mark.parametrize("hold_out", [True, False])
def test_nothing_is_drawn_that_a_rule_leaves_out(mini_root, fold, hold_out):
    voc, objects = PascalVOC(mini_root), Objects(mini_root)
    sources = training_sources(mini_root, fold, hold_out=hold_out)
    left_out = left_out_kinds(objects.kinds, voc, fold)
    hidden = left_out | set(objects.novel(None)) if hold_out else left_out
    for task in draws(Mixture(sources, {s.name: 1 for s in sources}, absent_share=0.2), 60):
        shown = {
            c for photo in (*task.supports, task.query) for c in task.source.data.pixels(photo)
        }
        novel = set(voc.novel(fold)) if task.source.name == "voc" else hidden
        assert shown.isdisjoint(novel)


def test_the_holdout_lists_held_out_kinds_alone(mini_root):
    objects = Objects(mini_root)
    dolphin = next(c for c, name in objects.classes.items() if name == "single/dolphin")
    lists = kinds_holdout(objects, [])
    assert set(lists.names.values()) == {"single/barrel", "single/dolphin"}
    assert set(lists.rows) == set(objects.ids("val"))
    assert set(kinds_holdout(objects, [dolphin]).names.values()) == {"single/barrel"}


def test_a_set_that_a_rule_empties_gives_its_share_to_the_others(mini_root):
    sources = training_sources(mini_root, 2, hold_out=False)  # person is novel: no garments
    assert not next(s for s in sources if s.name == "garments").lists.rows
    found = Counter(task.source.name for task in draws(Mixture(sources, SHARES), 1000))
    assert found["garments"] == 0
    assert found["voc"] / 1000 == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    ("shares", "options", "message"),
    [
        ({"vok": 1}, {}, "shares: expected some of films, garments, scenes, single, got 'vok'"),
        ({"scenes": -1}, {}, "shares: scenes: expected 0 or more, got -1"),
        ({"scenes": float("nan")}, {}, "shares: scenes: expected 0 or more, got nan"),
        ({"scenes": 0}, {}, "no class of the sources has 2 photos"),
        ({}, {}, "no class of the sources has 2 photos"),
        ({"single": 1}, {"shots": 3}, "no class of the sources has 4 photos"),
        ({"garments": 1}, {"absent_share": 0.1}, r"absent_share: expected 0 … 0\.00"),
        ({"scenes": 1}, {"absent_share": -0.1}, "absent_share: expected 0 …"),
    ],
)
def test_what_cannot_be_drawn_is_refused(mini_root, shares, options, message):
    sources = object_sources(Objects(mini_root), ())
    with pytest.raises(FcpError, match=message):
        Mixture(sources, shares, **options)
