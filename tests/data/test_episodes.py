"""Episodes depend on (seed, index) alone, obey the protocol and survive their file."""

import hashlib
import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcp.data.episodes import (
    draw_episode,
    episodes_hash,
    load_episodes,
    sample_episodes,
    save_episodes,
)
from fcp.data.lists import ClassLists, val_lists
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
