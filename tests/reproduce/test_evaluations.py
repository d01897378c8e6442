"""Files of evaluations: what goes in comes out, by plain numpy too; other files are refused."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fcp.errors import FcpError
from fcp.evaluation.episode_counts import EpisodeCounts, EpisodeDraw, EpisodeId
from fcp.reproduce.evaluations import Evaluation, load_evaluations, save_evaluations

NUMBER = st.integers(0, 2**40)
NAME = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)


def evaluation(seed=0, kinds=("mask", "attention"), episodes=20):
    """Return an evaluation of a random model; all are asked the same and have the same truth."""
    ids = tuple(EpisodeId(EpisodeDraw(1, 0), f"{i:012x}", f"q {i}", "cat") for i in range(episodes))
    true = np.random.default_rng(0).integers(100, 200, (len(kinds), episodes))
    tp, fp = np.random.default_rng(seed).integers(0, 100, (2, len(kinds), episodes))
    table = np.stack([tp, fp, true - tp, 900 - fp], -1)
    counts = EpisodeCounts(ids, dict(zip(kinds, table, strict=True)))
    return Evaluation({"seed": seed}, {"miou": 0.1 + 0.2, "ü": None}, counts, None, 2.5, ("a", "b"))


def assert_equal(found, given):
    for name in ("settings", "report", "missing", "minutes", "encoders", "stages"):
        assert getattr(found, name) == getattr(given, name)
    assert found.counts.ids == given.counts.ids
    assert list(found.counts.counts) == list(given.counts.counts)
    for kind, counts in given.counts.counts.items():
        assert found.counts.counts[kind].dtype == np.int64
        np.testing.assert_array_equal(found.counts.counts[kind], counts)


def test_file_and_back(tmp_path):
    given = {
        "b": replace(evaluation(1), stages={"promptable.": {"optim": {"batch": 2}}}),
        "a": evaluation(2, ("mask",)),
        "none": Evaluation({}, missing="no 'cow'"),
    }
    save_evaluations(tmp_path / "t.npz", given)
    found = load_evaluations(tmp_path / "t.npz")
    assert list(found) == ["a", "b", "none"]
    assert found["none"] == given["none"]
    for name in ("a", "b"):
        assert_equal(found[name], given[name])


def test_published_files_of_earlier_versions_are_read():
    file = Path(__file__).parents[2] / "docs/results/lite2/table1.npz"
    assert {one.stages == {} for one in load_evaluations(file).values()} == {True}


@settings(max_examples=15)
@given(
    st.lists(st.tuples(NUMBER, NUMBER, NUMBER, NUMBER), min_size=1, max_size=3),
    st.tuples(st.none() | NUMBER, st.none() | NUMBER),
    NAME,
)
def test_any_counts_and_names_survive(tmp_path_factory, rows, run, name):
    ids = tuple(EpisodeId(EpisodeDraw(*run), str(i), name, name) for i in range(len(rows)))
    given = Evaluation({}, {}, EpisodeCounts(ids, {name: np.array(rows)}))
    file = tmp_path_factory.getbasetemp() / "any.npz"
    save_evaluations(file, {name: given})
    assert_equal(load_evaluations(file)[name], given)


def test_numpy_alone_reads_it(tmp_path):
    given = evaluation()
    save_evaluations(tmp_path / "t.npz", {"a": given})
    with np.load(tmp_path / "t.npz") as file:  # refuses pickles
        content = json.loads(file["evaluations"].tobytes())["a"]
        truth, found = file[content["truth"]], file[content["found"]]
        episodes = file[content["episodes"]]
    place = content["kinds"].index("attention")
    tp, fp, fn, tn = given.counts.counts["attention"].T
    np.testing.assert_array_equal(found[place], [tp, fp])
    np.testing.assert_array_equal(truth[place], [tp + fn, fp + tn])
    assert episodes[3].tolist() == ["1", "0", f"{3:012x}", "q 3", "cat"]


def test_what_models_share_is_there_once_and_the_same_give_the_same_bytes(tmp_path):
    given = {str(seed): evaluation(seed) for seed in range(4)}
    save_evaluations(tmp_path / "t.npz", given)
    with np.load(tmp_path / "t.npz") as file:
        arrays = sorted(file.files)
    assert arrays == ["episodes0", "evaluations", "found0", "found1", "found2", "found3", "truth0"]
    again = dict(reversed(load_evaluations(tmp_path / "t.npz").items()))
    save_evaluations(tmp_path / "again.npz", again)
    assert (tmp_path / "again.npz").read_bytes() == (tmp_path / "t.npz").read_bytes()


def cut(file):
    file.write_bytes(file.read_bytes()[:-100])


def spoil(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 255
    file.write_bytes(content)


def shorten(file):
    with np.load(file) as arrays:
        kept = dict(arrays)
    np.savez(file, **{**kept, "truth0": kept["truth0"][..., :1]})


def drop_index(file):
    np.savez(file, found0=np.zeros(3))


def other_array(file):
    with file.open("wb") as stream:
        np.save(stream, np.zeros(3))


def pickled(file):
    np.savez(file, evaluations=np.array([{}], object))


def empty(file):
    file.write_bytes(b"")


@pytest.mark.parametrize(
    "damage",
    [cut, spoil, shorten, drop_index, other_array, pickled, empty],
    ids=lambda f: f.__name__,
)
def test_other_and_damaged_files_are_refused(tmp_path, damage):
    file = tmp_path / "t.npz"
    save_evaluations(file, {"a": evaluation()})
    damage(file)
    with pytest.raises(FcpError, match=r"t\.npz: damaged, or no file of evaluations; delete it"):
        load_evaluations(file)


def test_missing_files(tmp_path):
    with pytest.raises(FcpError, match=r"gone\.npz: cannot be read"):
        load_evaluations(tmp_path / "gone.npz")
