"""Intervals against a naive loop and against what they promise; pairing tightens a difference."""

import time

import numpy as np
import pytest
from scipy import stats

from fcp.errors import FcpError
from fcp.evaluation.bootstrap import compare, miou_interval, resample_miou
from fcp.evaluation.episode_counts import EpisodeCounts, EpisodeDraw, EpisodeId
from fcp.evaluation.metrics import Counts, ScoreBoard

RUNS = (EpisodeDraw(0, 0), EpisodeDraw(1, 0))


def naive_resamples(table, kind, resamples, seed):
    """Draw the same episodes, then write each one into a board as often as it was drawn."""
    values = np.zeros((len(table.runs()), resamples))
    for index, rows in enumerate(table.runs().values()):
        generator = np.random.default_rng(np.random.SeedSequence([seed, index]))
        drawn = generator.multinomial(len(rows), [1 / len(rows)] * len(rows), size=resamples)
        for resample, times in enumerate(drawn):
            board = ScoreBoard()
            for row in np.repeat(rows, times):
                board.add(table.ids[row].class_name, Counts(*table.counts[kind][row].tolist()))
            values[index, resample] = board.compute().miou
    return values.mean(axis=0)


@pytest.mark.parametrize("runs", [RUNS[:1], RUNS])
@pytest.mark.parametrize("episodes", [4, 30])  # of 4, resamples miss a class now and then
def test_resamples_agree_with_a_naive_loop(make_table, runs, episodes):
    table = make_table(runs, episodes=episodes)
    for kind in ("mask", "attention"):
        expected = naive_resamples(table, kind, 40, seed=5)
        np.testing.assert_allclose(resample_miou(table, kind, resamples=40, seed=5), expected)


def test_nothing_there_and_nothing_found_counts_as_one():
    ids = tuple(
        EpisodeId(EpisodeDraw(), str(i), "q", name) for i, name in enumerate(("cat", "dog"))
    )
    table = EpisodeCounts(ids, {"mask": np.array([[0, 0, 0, 9], [0, 0, 0, 9]])})
    assert (resample_miou(table, resamples=20) == 1).all()


def test_interval_holds_the_score_and_is_seeded(make_table):
    table = make_table(episodes=60)
    low, high = miou_interval(table)
    assert low < table.scores("mask").miou < high
    assert miou_interval(table) == (low, high)
    assert miou_interval(table, seed=1) != (low, high)


def test_interval_shrinks_with_the_root_of_the_episodes(make_table):
    widths = [np.subtract(*miou_interval(make_table(episodes=n))[::-1]) for n in (100, 1600)]
    assert 3 < widths[0] / widths[1] < 5.3


def test_interval_agrees_with_scipy_for_one_class(make_table):
    table = make_table(episodes=90)
    table = table.take(np.arange(0, 90, 3))  # one class in three
    tp, fp, fn, _ = table.counts["mask"].T

    def iou(tp, union, axis):
        return tp.sum(axis) / union.sum(axis)

    expected = stats.bootstrap(
        (tp, tp + fp + fn), iou, paired=True, method="percentile", n_resamples=5000, rng=0
    ).confidence_interval
    assert miou_interval(table, resamples=5000) == pytest.approx(tuple(expected), abs=0.01)


def test_coverage():
    """Of 200 intervals from samples of 150 episodes, about 95 % hold the true mIoU."""
    world = np.random.default_rng(0)
    size, names = 30_000, np.array(["cat", "dog"])
    of_class = world.integers(0, 2, size)
    true = world.integers(100, 1000, size)
    found = (true * world.beta(3 + of_class, 2, size)).astype(int)
    counts = np.stack([found, world.integers(0, 200, size), true - found, true], axis=1)

    def table(rows):
        ids = tuple(
            EpisodeId(EpisodeDraw(), str(row), "q", str(names[of_class[row]])) for row in rows
        )
        return EpisodeCounts(ids, {"mask": counts[rows]})

    truth = table(np.arange(size)).scores("mask").miou
    held = 0
    for _ in range(200):
        low, high = miou_interval(table(world.integers(0, size, 150)), resamples=300)
        held += low <= truth <= high
    assert 0.90 <= held / 200 <= 0.98


def test_fast_enough(make_table):
    table = make_table(episodes=1000)
    started = time.process_time()
    miou_interval(table, resamples=1000)
    assert time.process_time() - started < 1


def with_mask_of(table, change):
    """Move correct pixels: the truth of every episode stays."""
    tp, fp, fn, tn = table.counts["mask"].T
    moved = np.minimum(np.maximum(change, -tp), fn)
    counts = np.stack([tp + moved, fp, fn - moved, tn], axis=1)
    return EpisodeCounts(table.ids, {**table.counts, "mask": counts})


def test_difference_of_equals_is_nothing(make_table):
    table = make_table(RUNS)
    same = compare(table, table)
    assert (same.miou_difference, same.miou_difference_interval) == (0, (0, 0))
    assert same.episodes == 60


def test_paired_difference_is_tighter_than_two_intervals(make_table):
    ours = make_table(RUNS, episodes=200)
    theirs = with_mask_of(ours, -20)
    found = compare(ours, theirs)
    expected = ours.scores("mask").miou - theirs.scores("mask").miou
    assert found.miou_difference == pytest.approx(expected)
    low, high = found.miou_difference_interval
    assert 0 < low < expected < high
    lone_low, lone_high = miou_interval(ours)
    assert high - low < (lone_high - lone_low) / 2
    back = compare(theirs, ours)
    assert back.miou_difference_interval == pytest.approx((-high, -low))


def test_unequal_episodes_are_refused(make_table):
    table = make_table(RUNS)
    with pytest.raises(
        FcpError, match="these 60 episodes are not the other model's 30; score both"
    ):
        compare(table, make_table(RUNS[:1]))
    with pytest.raises(FcpError, match="same fold"):
        compare(table, make_table((EpisodeDraw(0, 0), EpisodeDraw(1, 7))))
    with pytest.raises(FcpError, match="kind: expected one of mask, original, got 'attention'"):
        compare(table, make_table(RUNS, kinds=("mask", "original")), "attention")
    other = {**table.counts, "mask": table.counts["mask"] + [1, 0, 0, 0]}
    with pytest.raises(FcpError, match="other masks"):
        compare(table, EpisodeCounts(table.ids, other))
