"""Episodes depend on (seed, index) alone, obey the protocol and survive their file."""

import hashlib
import json
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcp.data.episodes import (
    EpisodeSpec,
    describe_sampler,
    draw_episode,
    episodes_hash,
    load_episodes,
    sample_episodes,
    save_episodes,
)
from fcp.data.lists import ClassLists, drop_small_classes, val_lists
from fcp.data.pascal import PascalVOC
from fcp.errors import FcpError

LISTS = ClassLists(
    rows=("a", "b", "c", "d", "e"),
    members={1: ("a", "b", "c", "d"), 2: ("b", "d", "e")},
    present={"a": (1, 2), "b": (1, 2), "c": (1,), "d": (1, 2), "e": (2,)},
    names={1: "aeroplane", 2: "bicycle"},
)


@given(seed=st.integers(0, 2**40), index=st.integers(0, 10**6), shots=st.integers(1, 2))
def test_every_episode_obeys_the_protocol(seed, index, shots):
    spec = draw_episode(LISTS, index, shots=shots, seed=seed)
    assert spec.query == LISTS.rows[index % 5]
    assert spec.class_id in LISTS.present[spec.query]
    assert len(set(spec.supports)) == shots
    assert spec.query not in spec.supports
    assert set(spec.supports) <= set(LISTS.members[spec.class_id])


def test_an_episode_depends_on_seed_and_index_alone():
    many = sample_episodes(LISTS, shots=2, episodes=40, seed=7)
    assert many[:11] == sample_episodes(LISTS, shots=2, episodes=11, seed=7)
    assert many[23] == draw_episode(LISTS, 23, shots=2, seed=7)
    assert many != sample_episodes(LISTS, shots=2, episodes=40, seed=8)
    assert len({many[i] for i in range(0, 40, 5)}) > 1  # the same row, other draws


def test_classes_and_supports_are_drawn_evenly():
    many = sample_episodes(LISTS, shots=1, episodes=5000, seed=0)
    of_a = [spec for spec in many if spec.query == "a"]
    assert 0.4 < sum(spec.class_id == 1 for spec in of_a) / len(of_a) < 0.6
    counts = Counter(spec.supports[0] for spec in of_a if spec.class_id == 2)
    assert set(counts) == {"b", "d", "e"}  # "a" shows class 2, but is not listed under it
    assert min(counts.values()) > 0.7 * max(counts.values())


def test_file_and_hash(tmp_path):
    episodes = sample_episodes(LISTS, shots=2, episodes=9, seed=7)
    digest = save_episodes(tmp_path / "e.json", episodes)
    assert digest == episodes_hash(episodes)
    assert digest == hashlib.sha256((tmp_path / "e.json").read_bytes()).hexdigest()
    assert load_episodes(tmp_path / "e.json") == episodes
    assert json.loads((tmp_path / "e.json").read_text())["episodes"][0]["query"] == "a"
    assert [path.name for path in tmp_path.iterdir()] == ["e.json"]


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[" * 100_000,
        "[]",
        "{}",
        '{"format": "other", "episodes": []}',
        '{"format": "fcp-episodes-1", "episodes": [{"query": "a"}]}',
        '{"format": "fcp-episodes-1", '
        '"episodes": [{"query": "a", "supports": "b", "class_id": 1}]}',
    ],
)
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "e.json").write_text(content)
    with pytest.raises(FcpError, match=r"e\.json"):
        load_episodes(tmp_path / "e.json")


def test_too_few_pictures_for_the_shots(mini_voc):
    lists = val_lists(PascalVOC(mini_voc), 1)
    assert len(sample_episodes(lists, shots=3, episodes=20, seed=0)) == 20
    with pytest.raises(FcpError, match=r"class 'car': 4 supports are asked but only 3 .* fewer"):
        sample_episodes(lists, shots=4, episodes=1, seed=0)
    # class 2 is present in a row, but so few pictures are listed under it
    with pytest.raises(FcpError, match="class 'bicycle': 5 supports are asked but only 4"):
        sample_episodes(
            ClassLists(("q",), {2: ("a", "b", "c", "d")}, {"q": (2,)}, {2: "bicycle"}),
            shots=5,
            episodes=1,
            seed=0,
        )


def test_odd_requests_are_refused():
    for shots, episodes, seed, name in [
        (0, 1, 0, "shots"),
        (1, 0, 0, "episodes"),
        (1, 1, -1, "seed"),
    ]:
        with pytest.raises(FcpError, match=f"{name}: expected at least"):
            sample_episodes(LISTS, shots=shots, episodes=episodes, seed=seed)
    with pytest.raises(FcpError, match="no picture is listed"):
        sample_episodes(ClassLists((), {1: ()}, {}, {1: "aeroplane"}), shots=1, episodes=1, seed=0)


def test_frozen_draws():
    """A change of these draws is a change of the protocol; NumPy's own would show here too."""
    episodes = sample_episodes(LISTS, shots=2, episodes=1000, seed=0)
    assert episodes_hash(episodes)[:16] == "0e73a5d9b2421d93"


def by_class(lists):
    return replace(lists, classic_rule="class")


@given(seed=st.integers(0, 2**40), index=st.integers(0, 10**6), shots=st.integers(1, 2))
def test_class_first_draws_the_query_from_the_class_list(seed, index, shots):
    spec = draw_episode(by_class(LISTS), index, shots=shots, seed=seed)
    members = LISTS.members[spec.class_id]
    assert spec.query in members
    assert set(spec.supports) <= set(members) - {spec.query}
    assert len(set(spec.supports)) == shots


def test_class_first_is_even_over_classes_then_over_pictures():
    lists = replace(by_class(LISTS), members={**LISTS.members, 3: ()})
    many = sample_episodes(lists, shots=1, episodes=4000, seed=0)
    counts = Counter(spec.class_id for spec in many)
    assert set(counts) == {1, 2}
    assert 0.45 < counts[1] / 4000 < 0.55
    queries = Counter(spec.query for spec in many if spec.class_id == 1)
    assert min(queries.values()) > 0.8 * max(queries.values())
    assert many[17] == draw_episode(lists, 17, shots=1, seed=0)


def test_hsnet_goes_through_rows_with_a_fixed_class():
    assert LISTS.pairs == (("a", 1), ("b", 1), ("b", 2), ("c", 1), ("d", 1), ("d", 2), ("e", 2))
    drawn = sample_episodes(LISTS, shots=2, episodes=14, seed=4, sampler="hsnet")
    assert tuple((spec.query, spec.class_id) for spec in drawn) == 2 * LISTS.pairs
    assert all(set(s.supports) <= set(LISTS.members[s.class_id]) - {s.query} for s in drawn)


def test_each_sampler_checks_what_it_may_draw():
    # Class 2 is present in q, but listed only elsewhere: with hsnet it is never asked of q.
    lists = ClassLists(
        ("q", "r"), {1: ("q", "r"), 2: ("r",)}, {"q": (1, 2), "r": (1,)}, {1: "one", 2: "two"}
    )
    assert len(sample_episodes(lists, shots=1, episodes=4, seed=0)) == 4
    assert len(sample_episodes(lists, shots=1, episodes=4, seed=0, sampler="hsnet")) == 4
    with pytest.raises(FcpError, match="class 'two': 1 supports are asked but only 0"):
        sample_episodes(by_class(lists), shots=1, episodes=4, seed=0)
    kept = drop_small_classes(by_class(lists), 1)
    assert (kept.members, kept.names) == ({1: ("q", "r")}, {1: "one"})
    assert kept.present == {"q": (1,), "r": (1,)}
    assert len(sample_episodes(kept, shots=1, episodes=4, seed=0)) == 4
    with pytest.raises(FcpError, match="no class has 3 listed pictures"):
        drop_small_classes(lists, 2)


def test_samplers_describe_themselves():
    said = {
        describe_sampler(lists, sampler)
        for lists in (LISTS, by_class(LISTS))
        for sampler in ("classic", "hsnet")
    }
    assert len(said) == 3
    assert all("without replacement" in line for line in said)


def plain(tmp_path, *entries):
    (tmp_path / "plain.json").write_text(json.dumps(entries))
    return tmp_path / "plain.json"


def test_plain_form_by_id_name_and_other_programs_file_names(mini_voc, tmp_path):
    data = PascalVOC(mini_voc)
    path = plain(
        tmp_path,
        ["val_01_0", ["val_01_1", "val_01_2"], 1],
        ["JPEGImages/val_02_0.jpg", ["val_02_1.png", "val_02_1.png"], "bicycle"],
    )
    first, second = load_episodes(path, data)
    assert first == EpisodeSpec("val_01_0", ("val_01_1", "val_01_2"), 1)
    assert second == EpisodeSpec("val_02_0", ("val_02_1", "val_02_1"), 2)
    with pytest.raises(FcpError, match="expected an episode file of the format"):
        load_episodes(path)  # nothing to look the names up in


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (["val_01_9", ["val_01_1"], 1], "has no picture 'val_01_9' here"),
        (["val_01_0", ["gone"], 1], "has no picture 'gone' here"),
        (["val_01_0", ["val_01_1"], 21], "class is none of the 20"),
        (["val_01_0", ["val_01_1"], "unicorn"], "class is none of the 20"),
        (["val_01_0", ["val_01_0.jpg"], 1], "the query is among its own supports"),
        (["val_01_0", ["val_01_1", "val_01_2"], 1], "2 supports, expected 1, as in entry 0"),
        (["val_01_0", [], 1], "0 supports, expected 1"),
        (
            ["val_01_0", ["val_02_0"], 1],
            "'val_02_0' shows no pixel of 'aeroplane' .class ids count",
        ),
        (
            ["val_02_0", ["val_01_1"], 1],
            "'val_02_0' shows no pixel of 'aeroplane' .class ids count",
        ),
        (["val_01_0", "val_01_1", 1], r"expected \[query, \[supports"),
        (["val_01_0", ["val_01_1"]], r"expected \[query, \[supports"),
    ],
)
def test_bad_entries_are_named(mini_voc, tmp_path, entry, message):
    path = plain(tmp_path, ["val_01_0", ["val_01_1"], 1], entry)
    with pytest.raises(FcpError, match=rf"plain\.json: entry 1.*{message}"):
        load_episodes(path, PascalVOC(mini_voc))


def test_our_own_file_is_checked_against_the_data_too(mini_voc, tmp_path):
    lists = val_lists(PascalVOC(mini_voc), 0)
    episodes = sample_episodes(lists, shots=1, episodes=3, seed=0)
    save_episodes(tmp_path / "e.json", episodes)
    assert load_episodes(tmp_path / "e.json", PascalVOC(mini_voc)) == episodes
    save_episodes(tmp_path / "e.json", (*episodes, EpisodeSpec("elsewhere", ("val_01_0",), 1)))
    with pytest.raises(FcpError, match=r"entry 3 .query elsewhere.: .* has no picture 'elsewhere'"):
        load_episodes(tmp_path / "e.json", PascalVOC(mini_voc))
