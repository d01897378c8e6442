"""Counts survive their file, and several runs score as their mean."""

import csv

import numpy as np
import pytest

from fcp.data.episodes import EpisodeSpec
from fcp.errors import FcpError
from fcp.evaluation.episode_counts import (
    EpisodeCounts,
    EpisodeDraw,
    EpisodeId,
    identify,
    join,
    load_counts,
    save_counts,
)

RUNS = (EpisodeDraw(0, 0), EpisodeDraw(0, 1), EpisodeDraw(1, 0), EpisodeDraw(1, 1))


def test_file_and_back(tmp_path, make_table):
    table = make_table(RUNS)
    save_counts(tmp_path / "c.csv", table)
    back = load_counts(tmp_path / "c.csv")
    assert back.ids == table.ids
    assert list(back.counts) == list(table.counts)
    for kind, counts in table.counts.items():
        np.testing.assert_array_equal(back.counts[kind], counts)


def test_file_can_be_read_by_anyone(tmp_path):
    spec = EpisodeSpec('odd, "name"', ("b", "c"), 3)
    table = EpisodeCounts(
        (identify(spec, "disc", EpisodeDraw()),), {"mask": np.array([[1, 2, 3, 2**40]])}
    )
    save_counts(tmp_path / "c.csv", table)
    with (tmp_path / "c.csv").open() as file:
        (line,) = csv.DictReader(file)
    assert line["query"] == 'odd, "name"'
    assert (line["fold"], line["seed"], line["class"]) == ("", "", "disc")
    assert [int(line[f"mask_{name}"]) for name in ("tp", "fp", "fn", "tn")] == [1, 2, 3, 2**40]
    assert load_counts(tmp_path / "c.csv").ids == table.ids


def test_a_thousand_episodes_are_a_small_file(tmp_path, make_table):
    save_counts(tmp_path / "c.csv", make_table(episodes=1000))
    assert (tmp_path / "c.csv").stat().st_size < 100_000


def test_digest_tells_episodes_apart():
    specs = [
        EpisodeSpec("a", ("b", "c"), 1),
        EpisodeSpec("a", ("b", "c"), 2),
        EpisodeSpec("a", ("c", "b"), 1),
        EpisodeSpec("a", ("b", "d"), 1),
        EpisodeSpec("b", ("a", "c"), 1),
    ]
    assert len({identify(spec, "cat", EpisodeDraw()).digest for spec in specs}) == len(specs)
    assert (
        identify(specs[0], "cat", EpisodeDraw(1)).digest
        == identify(specs[0], "cat", EpisodeDraw(2)).digest
    )


def test_scores_are_the_mean_over_runs(make_table):
    table = make_table(RUNS)
    alone = [table.take(rows).scores("mask") for rows in table.runs().values()]
    together = table.scores("mask")
    for name in ("miou", "fb_iou", "precision", "recall", "mean_episode_iou"):
        assert getattr(together, name) == pytest.approx(np.mean([getattr(s, name) for s in alone]))
    assert together.class_iou["cat"] == pytest.approx(np.mean([s.class_iou["cat"] for s in alone]))


def test_folds_with_other_classes():
    ids = tuple(
        EpisodeId(EpisodeDraw(i), str(i), "q", name) for i, name in enumerate(("cat", "dog"))
    )
    table = EpisodeCounts(ids, {"mask": np.array([[1, 1, 0, 8], [1, 3, 0, 6]])})
    assert table.scores("mask").class_iou == {"cat": 0.5, "dog": 0.25}
    assert table.scores("mask").miou == 0.375


def test_joined_folds(make_table):
    parts = [make_table((run,)) for run in RUNS]
    joined = join(parts)
    assert list(joined.runs()) == list(RUNS)
    assert joined.scores("mask").miou == pytest.approx(parts[0].scores("mask").miou)
    with pytest.raises(FcpError, match="one gives the masks mask, original, attention, another"):
        join([parts[0], make_table(kinds=("mask", "original"))])


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "",
        lambda text: "a,b,c\n1,2,3\n",
        lambda text: text.splitlines()[0],
        lambda text: text[:-20],
        lambda text: text.replace(",query 7,", ",query,7,"),
        lambda text: text.replace("\n0,0,", "\nx,0,"),
        lambda text: text.replace("mask_tp", "mask_pt", 1),
    ],
)
def test_other_and_damaged_files_are_refused(tmp_path, make_table, change):
    save_counts(tmp_path / "c.csv", make_table())
    (tmp_path / "c.csv").write_text(change((tmp_path / "c.csv").read_text()))
    with pytest.raises(FcpError, match=r"c\.csv: (expected|damaged)"):
        load_counts(tmp_path / "c.csv")


def test_missing_and_foreign_files(tmp_path):
    with pytest.raises(FcpError, match=r"gone\.csv: cannot be read"):
        load_counts(tmp_path / "gone.csv")
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FcpError, match=r"b\.csv: not UTF-8 text; save it as UTF-8"):
        load_counts(tmp_path / "b.csv")
