"""Table 1: FCP, VRP-SAM and the compared methods, by fold and number of shots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from fcp.evaluation.episode_counts import MASK
from fcp.reproduce import paper
from fcp.reproduce.plan import Setting
from fcp.reproduce.results import Result
from fcp.reproduce.tables import (
    NONE,
    SEEDS_NOTE,
    Group,
    Table,
    beside,
    difference,
    difference_over_seeds,
    fold_cell,
    folds_of,
    groups,
    mean_cells,
    minutes_cell,
    missing_notes,
)


def table1(results: Sequence[Result]) -> Table:
    """Return Table 1: FCP and the compared methods by fold, 1-shot and 5-shot, in one order."""
    found = _in_order(groups(results))
    folds = folds_of(results)
    rows, chances = [], []
    for (setting, row, shots), group in found.items():
        cells = [fold_cell(group.of_fold(fold)) for fold in folds]
        known = paper.table1_mean(setting.paper, row, shots, group.folds)
        against = (NONE, NONE) if known is None else beside(group.miou(), known)
        rows.append(
            (
                setting.name,
                row,
                str(shots),
                *cells,
                *mean_cells(group),
                minutes_cell(group),
                *against,
            )
        )
        if row != "FCP":
            continue
        for (other, name, count), theirs in found.items():
            compared = name != "FCP" and (other, count) == (setting, shots)
            if compared and set(theirs.folds) & set(group.folds):
                rows.append(_difference_row(setting, name, shots, group, theirs, folds))
                chances += _chance_of_training(setting, name, shots, group, theirs)
    header = ("setting", "model", "shots", *(f"fold {fold}" for fold in folds))
    settings = dict.fromkeys(setting for setting, _, _ in found)
    others = [
        f"Beside {setting.name} stands the paper's {setting.paper}: larger encoders, other numbers."
        for setting in settings
        if setting.name != setting.paper
    ]
    return Table(
        "Table 1: FCP and the compared methods, mIoU",
        (*header, "mean", "95 %", "training minutes", "paper, same folds", "ours − paper"),
        tuple(rows),
        (*missing_notes(results), *others, *chances, *_choices(found), SEEDS_NOTE),
    )


def _in_order(
    found: Mapping[tuple[Setting, str, int], Group],
) -> dict[tuple[Setting, str, int], Group]:
    """Sort by setting (as they appear), row and shots, whichever results came first."""
    settings = list(dict.fromkeys(setting for setting, _, _ in found))

    def place(key: tuple[Setting, str, int]) -> tuple[int, int, int]:
        setting, row, shots = key
        return settings.index(setting), setting.rows.index(row), shots

    return {key: found[key] for key in sorted(found, key=place)}


def _difference_row(
    setting: Setting, other: str, shots: int, ours: Group, theirs: Group, folds: Sequence[int]
) -> tuple[str, ...]:
    gap, low, high = difference(ours, theirs)
    both = [fold for fold in folds if fold in ours.folds and fold in theirs.folds]
    cells = [
        f"{ours.of_fold(fold).miou() - theirs.of_fold(fold).miou():+.1f}" if fold in both else NONE
        for fold in folds
    ]
    published = [paper.table1_mean(setting.paper, row, shots, both) for row in ("FCP", other)]
    against = (NONE, NONE)
    if published[0] is not None and published[1] is not None:
        known = published[0] - published[1]
        against = (f"{known:+.1f}", f"{gap - known:+.1f}")
    return (
        *(setting.name, f"FCP − {other}", str(shots), *cells, f"{gap:+.1f}"),
        *(f"{low:+.1f} … {high:+.1f}", NONE, *against),
    )


def _chance_of_training(
    setting: Setting, other: str, shots: int, ours: Group, theirs: Group
) -> list[str]:
    found = difference_over_seeds(ours, theirs)
    if found is None:
        return []
    gap, low, high = found
    # Where one row has more seeds, the table's difference is another one.
    alone = set(ours.seeds) ^ set(theirs.seeds)
    of = f"{gap:+.1f} on the seeds of both, " if alone else ""
    return [
        f"{setting.name}, FCP − {other}, {shots}-shot: {of}{low:+.1f} … {high:+.1f} "
        "with other seeds of training (95 %, Student's t on the seeds' paired differences within "
        "each fold)."
    ]


def _choices(found: Mapping[tuple[Setting, str, int], Group]) -> list[str]:
    """Say of each row whose step was chosen on base classes what choosing on test classes gives."""
    lines = []
    for (setting, row, shots), group in found.items():
        both = [
            (100 * r.found.counts.scores(MASK).miou, 100 * r.found.last_miou)
            for r in group.results
            if r.found.counts is not None and r.found.last_miou is not None
        ]
        if both:
            chosen, last = (fmean(values) for values in zip(*both, strict=True))
            better = fmean(max(pair) for pair in both)
            lines.append(
                f"{setting.name}, {row}, {shots}-shot: {chosen:.1f} at the step that base classes "
                f"chose, {last:.1f} at the last; the better of the two on the test classes, run by "
                f"run, {better:.1f} ({better - chosen:+.1f}), is no result."
            )
    return lines
