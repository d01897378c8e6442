"""Tables of hand-made results against numbers that are added up here, plainly."""

import csv
import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fcp.evaluation.episode_counts import EpisodeCounts, EpisodeDraw, EpisodeId
from fcp.reproduce.evaluations import Evaluation
from fcp.reproduce.plan import FIG5_ROWS, SCALES, TABLE2_ROWS, TABLE4_ROWS, Experiment
from fcp.reproduce.results import Result
from fcp.reproduce.table1 import table1
from fcp.reproduce.tables import steps_table, table2, table3, table4

TINY = SCALES["tiny"].settings[0]
PAPER = SCALES["paper"].settings[0]
NAMES = ("cat", "dog")
KINDS = ("mask", "original", "conventional", "conventional_minmax", "attention")


def result(row="FCP", fold=1, seed=0, *, shots=1, hit=60, setting=TINY, minutes=2.0):
    """Eight episodes of 100 true pixels: about ``hit`` found, and half as many false."""
    generator = np.random.default_rng([fold, seed, hit])
    ids = tuple(
        EpisodeId(EpisodeDraw(fold, 0), f"{fold}{i}", f"q{i}", NAMES[i % 2]) for i in range(8)
    )
    counts = {}
    for place, kind in enumerate(KINDS):
        tp = hit - 5 * place + generator.integers(0, 8, 8)
        counts[kind] = np.stack([tp, tp // 2, 100 - tp, 900 - tp // 2], axis=1)
    experiment = Experiment(setting, row, fold, seed, (1, 5))
    found = Evaluation({}, {}, EpisodeCounts(ids, counts), minutes=minutes)
    return Result(experiment, shots, found, Path("t.npz"))


def missing(row, fold, *, setting=TINY):
    experiment = Experiment(setting, row, fold, 0, (1, 5))
    found = Evaluation({}, missing="class 'cow' has 3 pictures")
    return Result(experiment, 5, found, Path("t.npz"))


def naive_miou(results, kind="mask"):
    """Percent: pool by class, mean over classes, then over results."""
    mious = []
    for one in results:
        ious = []
        for name in NAMES:
            rows = [
                c
                for i, c in zip(one.found.counts.ids, one.found.counts.counts[kind], strict=True)
                if i.class_name == name
            ]
            tp, fp, fn, _ = (sum(int(row[k]) for row in rows) for k in range(4))
            ious.append(tp / (tp + fp + fn))
        mious.append(sum(ious) / len(ious))
    return 100 * sum(mious) / len(mious)


def cells(table, *start):
    """Return the row that starts like this, by the header's names."""
    (row,) = [row for row in table.rows if row[: len(start)] == start]
    assert len(row) == len(table.header)
    return dict(zip(table.header, row, strict=True))


def bounds(text):
    return [float(number) for number in re.findall(r"[-+]?\d+\.\d", text)]


def test_table1_has_folds_mean_interval_minutes_and_the_paper_beside():
    ours = [result(fold=fold, setting=PAPER) for fold in range(4)]
    table = table1(ours)
    row = cells(table, "pascal5i-resnet50", "FCP", "1")
    for fold, one in enumerate(ours):
        assert row[f"fold {fold}"] == f"{naive_miou([one]):.1f}"
    mean = naive_miou(ours)
    assert row["mean"] == f"{mean:.1f}"
    low, high = bounds(row["95 %"])
    assert low < mean < high
    assert row["training minutes"] == "8"
    assert row["paper, same folds"] == "73.2"
    assert row["ours − paper"] == f"{mean - 73.2:+.1f}"


def test_several_seeds_stand_in_brackets():
    ours = [result(fold=1, seed=seed, hit=hit) for seed, hit in ((0, 50), (1, 70))]
    each = [naive_miou([one]) for one in ours]
    row = cells(table1(ours), "pascal5i-tiny", "FCP", "1")
    assert row["fold 1"] == f"{sum(each) / 2:.1f} ({each[0]:.1f}, {each[1]:.1f})"
    assert row["mean"] == f"{sum(each) / 2:.1f}"
    assert row["training minutes"] == "4"


@pytest.mark.parametrize(("ours", "sign"), [(80, "+"), (40, "-")])
def test_a_difference_is_paired_and_has_its_sign(ours, sign):
    fcp = [result("FCP", fold, hit=ours) for fold in (1, 3)]
    vrp = [result("VRP-SAM", fold, hit=60) for fold in (1, 3)]
    row = cells(table1([*vrp, *fcp]), "pascal5i-tiny", "FCP − VRP-SAM", "1")
    assert row["mean"] == f"{naive_miou(fcp) - naive_miou(vrp):+.1f}"
    assert all(f"{bound:+.1f}"[0] == sign for bound in bounds(row["95 %"]))
    theirs = (77.4 + 68.8) / 2 - (77.3 + 65.8) / 2
    assert row["paper, same folds"] == f"{theirs:+.1f}"
    assert row["ours − paper"] == f"{naive_miou(fcp) - naive_miou(vrp) - theirs:+.1f}"


def test_a_model_does_not_differ_from_itself():
    same = [result("VRP-SAM"), result("FCP")]
    row = cells(table1(same), "pascal5i-tiny", "FCP − VRP-SAM", "1")
    assert (row["mean"], row["95 %"]) == ("+0.0", "+0.0 … +0.0")


def test_other_training_seeds_move_a_difference_as_a_linear_model_says():
    fcp = [result("FCP", fold, seed, hit=60 + seed) for fold in (1, 3) for seed in range(3)]
    vrp = [result("VRP-SAM", fold, seed, hit=58) for fold in (1, 3) for seed in range(3)]
    gaps = np.array([naive_miou([o]) - naive_miou([t]) for o, t in zip(fcp, vrp, strict=True)])
    # The same by least squares: one indicator a fold, the mean as a contrast of both.
    design = np.kron(np.eye(2), np.ones((3, 1)))
    fit, residual, *_ = np.linalg.lstsq(design, gaps)
    contrast = np.full(2, 0.5)
    error = np.sqrt(residual[0] / 4 * contrast @ np.linalg.inv(design.T @ design) @ contrast)
    expected = contrast @ fit + 2.776445 * error * np.array([-1, 1])  # t(0.975), 4 degrees
    (note,) = [note for note in table1([*vrp, *fcp]).notes if "other seeds" in note]
    assert note.startswith("pascal5i-tiny, FCP − VRP-SAM, 1-shot: ")
    assert bounds(note.split(":")[1])[:2] == pytest.approx(expected, abs=0.051)


def test_other_seeds_are_told_of_the_seeds_that_both_rows_have():
    """A third seed of one row moves the table's difference, which the interval is not of."""
    fcp = [result("FCP", 1, seed, hit=hit) for seed, hit in enumerate((60, 61, 75))]
    vrp = [result("VRP-SAM", 1, seed, hit=58) for seed in range(2)]
    table = table1([*vrp, *fcp])
    shown = cells(table, "pascal5i-tiny", "FCP − VRP-SAM", "1")["mean"]
    assert shown == f"{naive_miou(fcp) - naive_miou(vrp):+.1f}"
    (note,) = [note for note in table.notes if "other seeds" in note]
    both = naive_miou(fcp[:2]) - naive_miou(vrp)
    assert f": {both:+.1f} on the seeds of both, " in note
    low, high = bounds(note.split(":")[1])[1:3]
    assert (low + high) / 2 == pytest.approx(both, abs=0.1)


def test_one_training_seed_says_nothing_of_others():
    notes = table1([result("VRP-SAM"), result("FCP")]).notes
    assert not any("other seeds" in note for note in notes)


def test_a_missing_fold_is_left_out_of_means_and_told():
    fcp = [result("FCP", 1, shots=5), missing("FCP", 0)]
    vrp = [result("VRP-SAM", 1, shots=5, hit=50), missing("VRP-SAM", 0)]
    table = table1([*vrp, *fcp])
    row = cells(table, "pascal5i-tiny", "FCP", "5")
    assert (row["fold 0"], row["fold 1"]) == ("–", f"{naive_miou(fcp[:1]):.1f}")
    assert (row["mean"], row["paper, same folds"]) == (row["fold 1"], "78.8")
    gap = cells(table, "pascal5i-tiny", "FCP − VRP-SAM", "5")
    assert gap["fold 0"] == "–"
    assert gap["mean"] == f"{naive_miou(fcp[:1]) - naive_miou(vrp[:1]):+.1f}"
    assert gap["paper, same folds"] == "–"  # of VRP-SAM the paper has no 5-shot folds
    notes = [note for note in table.notes if "'cow'" in note]
    assert notes == ["pascal5i-tiny, fold 0, 5-shot: class 'cow' has 3 pictures."]


def test_an_unfinished_row_counts_the_seeds_that_have_all_its_folds():
    both = [result(row, fold, 0) for row in ("FCP", "VRP-SAM") for fold in (0, 1)]
    more = [result(row, 0, 1, hit=20) for row in ("FCP", "VRP-SAM")]
    table, alone = table1([*both, *more]), table1(both)
    assert cells(table, "pascal5i-tiny", "FCP", "1") == cells(alone, "pascal5i-tiny", "FCP", "1")
    low, high = bounds(cells(table, "pascal5i-tiny", "FCP", "1")["95 %"])
    assert low <= naive_miou(both[:2]) <= high
    none = [result("FCP", 0, 0), result("FCP", 1, 1)]
    assert (
        cells(table1(none), "pascal5i-tiny", "FCP", "1")["fold 0"] == f"{naive_miou(none[:1]):.1f}"
    )


def test_a_difference_takes_the_folds_that_both_have():
    fcp = [result("FCP", fold, shots=5, hit=80) for fold in (0, 1)]
    vrp = [missing("VRP-SAM", 0), result("VRP-SAM", 1, shots=5)]
    row = cells(table1([*vrp, *fcp]), "pascal5i-tiny", "FCP − VRP-SAM", "5")
    assert row["mean"] == row["fold 1"] == f"{naive_miou(fcp[1:]) - naive_miou(vrp[1:]):+.1f}"


def test_rows_stand_in_one_order_whichever_result_comes_first():
    names = ("FCP", "VRP-SAM", "BAM", "PFENet")
    found = [result(name, shots=shots) for shots in (5, 1) for name in names]
    expected = [(name, k) for name in ("PFENet", "BAM", "VRP-SAM") for k in ("1", "5")]
    differences = [f"FCP − {name}" for name in ("PFENet", "BAM", "VRP-SAM")]
    for k in ("1", "5"):
        expected += [(name, k) for name in ("FCP", *differences)]
    for order in (found, found[::-1]):
        assert [row[1:3] for row in table1(order).rows] == expected


def test_a_training_that_was_not_timed_leaves_minutes_open():
    ours = [result(fold=1), result(fold=3, minutes=None)]
    assert cells(table1(ours), "pascal5i-tiny", "FCP", "1")["training minutes"] == "–"


@pytest.mark.parametrize(
    ("make", "rows", "paper"),
    [
        (table2, TABLE2_ROWS, {"b:": ("66.2", "-7.0"), "f:": ("73.2", "+0.0")}),
        (table4, TABLE4_ROWS, {"prompt + guide + ortho": ("73.2", "+0.0")}),
        (steps_table, tuple(FIG5_ROWS.values()), {}),
    ],
)
def test_ablations_stand_against_fcp(make, rows, paper):
    results = [result(row, fold, hit=40 + 5 * i) for i, row in enumerate(rows) for fold in (1, 3)]
    table = make(results)
    assert len(table.rows) == len(rows)
    whole = naive_miou([one for one in results if one.experiment.row == "FCP"])
    for row, line in zip(rows, table.rows, strict=True):
        mean = naive_miou([one for one in results if one.experiment.row == row])
        named = dict(zip(table.header, line, strict=True))
        assert (named["mean"], named["training minutes"]) == (f"{mean:.1f}", "4")
        if row == "FCP":
            assert named["against FCP (95 %)"] == "–"
        else:
            value, low, high = bounds(named["against FCP (95 %)"])
            assert value == pytest.approx(mean - whole, abs=0.051)
            assert low <= value <= high
    for start, (value, gap) in paper.items():
        (line,) = [line for line in table.rows if line[0].startswith(start)]
        named = dict(zip(table.header, line, strict=True))
        assert (named["paper, all folds"], named["paper, against FCP"]) == (value, gap)
        beside = float(named["ours − paper"])
        assert beside == pytest.approx(float(named["mean"]) - float(value), abs=0.101)


def test_table3_has_all_masks_and_what_attention_gains():
    ours = [result(fold=fold) for fold in (0, 1)]
    table = table3(ours)
    for kind, label, published in (
        ("conventional", "conventional", 32.4),
        ("conventional_minmax", "conventional, stretched", 32.4),
        ("attention", "attention-based", 60.9),
    ):
        row = cells(table, label)
        mean = naive_miou(ours, kind)
        assert row["mIoU"] == f"{mean:.1f}"
        assert row["mIoU − paper"] == f"{mean - published:+.1f}"
        low, high = bounds(row["mIoU 95 %"])
        assert low < mean < high
        if kind != "attention":
            gain = naive_miou(ours, "attention") - mean
            (note,) = [n for n in table.notes if n.startswith(f"attention-based − {label}: ")]
            assert f": {gain:+.1f} mIoU (" in note
            assert "paper +28.5" in note
    assert "Training minutes: 4." in table.notes
    found = [
        one.found.counts.counts["attention"][of_class::2, 0] for one in ours for of_class in (0, 1)
    ]
    recall = sum(int(tp.sum()) / 4 for tp in found) / 4  # each class: 4 episodes of 100 px
    assert cells(table, "attention-based")["recall"] == f"{recall:.1f}"


def test_markdown_and_csv_hold_the_same_cells(tmp_path):
    table = table1([result("VRP-SAM"), result("FCP")])
    table = replace(table, notes=("a note",))
    table.write(tmp_path, "t")
    read = list(csv.reader(io.StringIO((tmp_path / "t.csv").read_text("utf-8"))))
    assert read == [list(row) for row in (table.header, *table.rows)]
    markdown = (tmp_path / "t.md").read_text("utf-8")
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    assert [line.strip("| ").split(" | ") for line in (lines[0], *lines[2:])] == read
    assert markdown.startswith("# Table 1")
    assert markdown.endswith("a note\n")
