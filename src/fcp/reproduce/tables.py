"""Results → the paper's tables with its numbers beside ours, as Markdown and CSV.

Scores are in percent. A mean over folds is taken within each training seed; values are means over
the seeds, intervals the bootstrap of the episodes (95 %), resampled within each fold and alike for
all rows, so that differences are paired.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
from scipy.stats import t as student

from fcp.evaluation.bootstrap import percentiles, resample_miou
from fcp.evaluation.episode_counts import MASK, join
from fcp.evaluation.metrics import Scores
from fcp.evaluation.predictor import ATTENTION, CONVENTIONAL, STRETCHED
from fcp.reproduce import paper
from fcp.reproduce.plan import FIG5_ROWS, Setting
from fcp.reproduce.results import Result
from fcp.system.files import write_atomically

NONE = "–"
SEEDS_NOTE = (
    "Values are means over the training seeds; where there are several, each stands in brackets. "
    "The interval holds the chance of the episodes, not that of training."
)
_TABLE3_COLUMNS = ("miou", "precision", "recall")
_TABLE3_LABELS = {
    CONVENTIONAL: "conventional",
    STRETCHED: "conventional, stretched",
    ATTENTION: "attention-based",
}
_TABLE2_LABELS = {
    "VRP-SAM": "a: VRP-SAM (F, pixel, conventional)",
    "b": "b: G, pixel, conventional",
    "c": "c: F, prototype, conventional",
    "d": "d: G, prototype, conventional",
    "e": "e: F + G, prototype, conventional",
    "FCP": "f: FCP (F + G, prototype, attention)",
    "G guided once": "f with G guided once (Eq. 6)",
}
_TABLE4_LABELS = {
    "prompt": "prompt",
    "prompt+guide": "prompt + guide",
    "prompt+ortho": "prompt + ortho",
    "FCP": "prompt + guide + ortho (FCP)",
}
_FIG5_LABELS = {row: f"T = {steps}" for steps, row in FIG5_ROWS.items()}


@dataclass(frozen=True)
class Table:
    """Cells of text under a header, with notes.

    Attributes:
        title: Title of the table.
        header: Names of the columns.
        rows: Cells of each row, as many as the header has.
        notes: Lines below the table.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    def markdown(self) -> str:
        """Return the table with its title and notes."""
        lines = [self.header, ("---",) * len(self.header), *self.rows]
        cells = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return "\n\n".join([f"# {self.title}", cells, *self.notes]) + "\n"

    def csv(self) -> str:
        """Return header and rows."""
        stream = io.StringIO()
        csv.writer(stream, lineterminator="\n").writerows([self.header, *self.rows])
        return stream.getvalue()

    def write(self, folder: Path, name: str) -> None:
        """Write NAME.md and NAME.csv.

        Raises:
            FcpError: the folder cannot be written.
        """
        write_atomically(folder / f"{name}.md", self.markdown().encode())
        write_atomically(folder / f"{name}.csv", self.csv().encode())


class Group:
    """The results of one row: some folds, one or more training seeds, one number of shots.

    Args:
        results: Results with reports. Of an unfinished row only the seeds count that have all of
            the folds that any seed has, so that means over seeds and over folds agree; without
            such a seed, the folds of the seed that has most.
    """

    def __init__(self, results: Sequence[Result]) -> None:
        self.results = _complete([one for one in results if one.found.counts is not None])

    @property
    def folds(self) -> tuple[int, ...]:
        """Folds that have results, ascending."""
        return tuple(sorted({result.experiment.fold for result in self.results}))

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of the trainings, ascending."""
        return tuple(sorted({result.experiment.seed for result in self.results}))

    @property
    def minutes(self) -> float | None:
        """Minutes of all trainings, or None where one was not timed."""
        known = [r.found.minutes for r in self.results if r.found.minutes is not None]
        return sum(known) if known and len(known) == len(self.results) else None

    def of_folds(self, folds: Sequence[int]) -> Group:
        """Return the results of some folds."""
        return Group([result for result in self.results if result.experiment.fold in folds])

    def of_fold(self, fold: int) -> Group:
        """Return the results of one fold."""
        return self.of_folds([fold])

    def of_seed(self, seed: int) -> Group:
        """Return the results of one training seed."""
        return Group([result for result in self.results if result.experiment.seed == seed])

    def scores(self, kind: str = MASK) -> list[Scores]:
        """Return the scores of each result on one kind of mask."""
        return [r.found.counts.scores(kind) for r in self.results if r.found.counts is not None]

    def miou(self, kind: str = MASK) -> float:
        """Return the mean mIoU, percent; seeds have the same folds, so any order of means."""
        return 100 * fmean(scores.miou for scores in self.scores(kind))

    def resampled(self, kind: str = MASK) -> np.ndarray:
        """Return the mIoU of each resample of the episodes, percent: (R,)."""
        of_seeds = []
        for seed in self.seeds:
            tables = {r.experiment.fold: r.found.counts for r in self.of_seed(seed).results}
            joined = join([table for _, table in sorted(tables.items()) if table is not None])
            of_seeds.append(resample_miou(joined, kind))
        return 100 * np.mean(of_seeds, axis=0)


def _complete(results: Sequence[Result]) -> list[Result]:
    """Keep the seeds that have the same folds, as many as possible."""
    folds: dict[int, set[int]] = {}
    for result in results:
        folds.setdefault(result.experiment.seed, set()).add(result.experiment.fold)
    widest = max((folds[seed] for seed in sorted(folds)), key=len, default=set())
    kept = {seed for seed, has in folds.items() if has >= widest}
    return [r for r in results if r.experiment.seed in kept and r.experiment.fold in widest]


def groups(results: Sequence[Result]) -> dict[tuple[Setting, str, int], Group]:
    """Return (setting, row, shots) → its results, in order of appearance."""
    found: dict[tuple[Setting, str, int], list[Result]] = {}
    for result in results:
        key = (result.experiment.setting, result.experiment.row, result.shots)
        found.setdefault(key, []).append(result)
    return {key: Group(members) for key, members in found.items()}


def difference(ours: Group, theirs: Group) -> tuple[float, float, float]:
    """Compare two rows on the folds that both have, by the same resamples of the same episodes.

    Returns:
        Ours minus theirs in points of mIoU, and the bounds of its interval.
    """
    folds = [fold for fold in ours.folds if fold in theirs.folds]
    ours, theirs = ours.of_folds(folds), theirs.of_folds(folds)
    low, high = percentiles(ours.resampled() - theirs.resampled())
    return ours.miou() - theirs.miou(), low, high


def difference_over_seeds(ours: Group, theirs: Group) -> tuple[float, float, float] | None:
    """Return a difference and its interval over other training seeds, on the same episodes.

    Each fold's paired differences scatter around that fold's mean with one variance, pooled over
    the folds; Student's t with folds * (seeds - 1) degrees of freedom gives 95 % of their mean.

    Returns:
        Ours minus theirs in points of mIoU on the common seeds, and the bounds of its interval; or
        None where there are fewer than two such seeds.
    """
    folds = [fold for fold in ours.folds if fold in theirs.folds]
    seeds = [seed for seed in ours.seeds if seed in theirs.seeds]
    if len(seeds) < 2:
        return None
    of_pair = [
        [ours.of_fold(f).of_seed(s).miou() - theirs.of_fold(f).of_seed(s).miou() for s in seeds]
        for f in folds
    ]
    gaps = np.array(of_pair)  # (folds, seeds)
    degrees = gaps.size - len(folds)
    variance = np.square(gaps - gaps.mean(axis=1, keepdims=True)).sum() / degrees
    half = student.ppf(0.975, degrees) * np.sqrt(variance / gaps.size)
    mean = float(gaps.mean())
    return mean, mean - half, mean + half


def table2(results: Sequence[Result]) -> Table:
    """Return Table 2: ablation of features, matching and pseudo mask."""
    title = "Table 2: features, matching and pseudo mask; mIoU, 1-shot"
    return _ablation(title, results, _TABLE2_LABELS, paper.TABLE2)


def table4(results: Sequence[Result]) -> Table:
    """Return Table 4: ablation of the losses."""
    title = "Table 4: losses; mIoU, 1-shot"
    return _ablation(title, results, _TABLE4_LABELS, paper.TABLE4)


def steps_table(results: Sequence[Result]) -> Table:
    """Return Figure 5 in numbers; the paper prints none."""
    return _ablation("Figure 5: refinement steps; mIoU, 1-shot", results, _FIG5_LABELS, {})


def table3(results: Sequence[Result]) -> Table:
    """Return Table 3: scores of the pseudo masks against the query's mask."""
    group = Group(results)
    rows = []
    for kind, label in _TABLE3_LABELS.items():
        scores = group.scores(kind)
        ours = [100 * fmean(getattr(s, name) for s in scores) for name in _TABLE3_COLUMNS]
        published = paper.TABLE3[ATTENTION if kind == ATTENTION else CONVENTIONAL]
        low, high = percentiles(group.resampled(kind))
        rows.append(
            (
                *(label, *(f"{value:.1f}" for value in ours), f"{low:.1f} … {high:.1f}"),
                *(f"{value:.1f}" for value in published),
                f"{ours[0] - published[0]:+.1f}",
            )
        )
    names = ("mIoU", "precision", "recall")
    return Table(
        "Table 3: pseudo masks of FCP against the query's mask, 1-shot",
        ("pseudo mask", *names, "mIoU 95 %", *(f"paper {n}" for n in names), "mIoU − paper"),
        tuple(rows),
        (
            *(_attention_gain(group, kind) for kind in (CONVENTIONAL, STRETCHED)),
            "All masks are cut at 0.5. The cosine of some backbones hardly ever reaches that, so "
            "it is also given stretched over each picture, as the attention maps are.",
            f"Mean of folds {', '.join(map(str, group.folds))}; the paper's: of all four.",
            f"Training minutes: {minutes_cell(group)}.",
            *missing_notes(results),
            SEEDS_NOTE,
        ),
    )


def _attention_gain(group: Group, kind: str) -> str:
    low, high = percentiles(group.resampled(ATTENTION) - group.resampled(kind))
    theirs = paper.TABLE3[ATTENTION][0] - paper.TABLE3[CONVENTIONAL][0]
    gap = group.miou(ATTENTION) - group.miou(kind)
    return (
        f"{_TABLE3_LABELS[ATTENTION]} − {_TABLE3_LABELS[kind]}: {gap:+.1f} mIoU "
        f"({low:+.1f} … {high:+.1f}; paper {theirs:+.1f})."
    )


def _ablation(
    title: str,
    results: Sequence[Result],
    labels: Mapping[str, str],
    published: Mapping[str, float],
) -> Table:
    """Return the table that compares rows with FCP.

    Args:
        title: Title of the table.
        results: Results of all rows.
        labels: Name in the table of each row, in order.
        published: The paper's mean of all folds for each row; some or all may be missing.
    """
    by_row = {row: group for (_, row, _), group in groups(results).items()}
    folds = folds_of(results)
    rows = []
    for row, label in labels.items():
        group = by_row[row]
        cells = [fold_cell(group.of_fold(fold)) for fold in folds]
        gap, low, high = difference(group, by_row["FCP"])
        against = NONE if row == "FCP" else f"{gap:+.1f} ({low:+.1f} … {high:+.1f})"
        known = published.get(row)
        theirs = (
            (NONE, NONE, NONE)
            if known is None
            else (*beside(group.miou(), known), f"{known - published['FCP']:+.1f}")
        )
        rows.append((label, *cells, *mean_cells(group), against, minutes_cell(group), *theirs))
    header = ("row", *(f"fold {fold}" for fold in folds), "mean", "95 %", "against FCP (95 %)")
    return Table(
        title,
        (*header, "training minutes", "paper, all folds", "ours − paper", "paper, against FCP"),
        tuple(rows),
        (*missing_notes(results), SEEDS_NOTE),
    )


def folds_of(results: Sequence[Result]) -> list[int]:
    """Return all folds that were asked for, also those without a report."""
    return sorted({result.experiment.fold for result in results})


def beside(ours: float, known: float) -> tuple[str, str]:
    """Show a published number, and ours minus it."""
    return f"{known:.1f}", f"{ours - known:+.1f}"


def fold_cell(group: Group) -> str:
    """Show the mean over the seeds, and each seed where there are several."""
    if not group.folds:
        return NONE
    mious = [group.of_seed(seed).miou() for seed in group.seeds]
    each = f" ({', '.join(f'{value:.1f}' for value in mious)})" if len(mious) > 1 else ""
    return f"{fmean(mious):.1f}{each}"


def mean_cells(group: Group) -> tuple[str, str]:
    """Show the mean over folds and seeds, and its interval over the episodes."""
    if not group.folds:
        return NONE, NONE
    low, high = percentiles(group.resampled())
    return f"{group.miou():.1f}", f"{low:.1f} … {high:.1f}"


def minutes_cell(group: Group) -> str:
    """Show the minutes of all trainings."""
    return NONE if group.minutes is None else f"{group.minutes:.0f}"


def missing_notes(results: Sequence[Result]) -> tuple[str, ...]:
    """Say which results the data cannot give, and why."""
    reasons = {
        f"{r.experiment.setting.name}, fold {r.experiment.fold}, {r.shots}-shot: {r.found.missing}."
        for r in results
        if r.found.missing is not None
    }
    return tuple(sorted(reasons))
