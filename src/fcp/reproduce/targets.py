"""One function a table or figure: its experiments are run, then it is written."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from fcp.data.episodes import EpisodeSpec
from fcp.engine.recipe import trains_nothing
from fcp.engine.tracking import Report
from fcp.errors import FcpError
from fcp.evaluation.predictor import FCPPredictor
from fcp.evaluation.report import NO_LISTS
from fcp.evaluation.tested import load_predictor
from fcp.reproduce import figure1, figure2, figure4, figure5
from fcp.reproduce.bootstrap import Interval
from fcp.reproduce.output import write_csv
from fcp.reproduce.plan import FIG5_ROWS, SCALES, Experiment, Scale, Target, choose, experiments
from fcp.reproduce.recipes import Workplace, recipe_of
from fcp.reproduce.results import Result, collect, keep, missing_shots
from fcp.reproduce.run import FoldTest, chosen_of, model_of, open_test, training_minutes
from fcp.reproduce.settings import is_place, refuse_unfit
from fcp.reproduce.table1 import table1
from fcp.reproduce.tables import Table, steps_table, table2, table3, table4
from fcp.system.files import make_folder, write_atomically

_LOOKS = 200  # episodes a fold that Figures 1 and 4 run
_SHOWN = 5  # rows a fold of Figure 4
_FACTS = (
    *("data_set", "pool", "split", "list_rule", "sampler", "seed", "resolution"),
    *("ignore_rule", "fusion_rule", "metric", "interval", "code_version", "checkpoint_sha256"),
)
_PICTURES_NOTE = "The interval draws query pictures anew, each with all its episodes."

_TABLES: Mapping[str, Callable[[Sequence[Result]], Table]] = {
    "table1": table1,
    "table2": table2,
    "table3": table3,
    "table4": table4,
}


def reproduce(
    target: Target,
    scale: Scale,
    place: Workplace,
    *,
    report: Report,
    folds: tuple[int, ...] | None = None,
    seeds: int | None = None,
    only: str | None = None,
) -> list[Path]:
    """Run the experiments of a table or figure and write it to ``place.out``.

    Args:
        target: Table or figure.
        scale: Size of the reproduction.
        place: Folders and settings of the reproduction.
        report: Function that takes each line of output.
        folds: Folds to restrict it to; None for all folds of the target.
        seeds: Number of training seeds; None for as many as the scale has.
        only: Cell to restrict a table to, such as ``pascal5i-tiny/PFENet``; None for all cells.

    Returns:
        The files written.

    Raises:
        FcpError: a fold or cell outside the target, settings or weights that do not fit a cell,
            missing data or weights, or a result of other settings.
    """
    if target in ("fig1", "fig2", "fig4") and seeds not in (None, 1):
        raise FcpError(f"--seeds: {target} shows one training a fold; leave it out")
    every, wanted = plan(target, scale, place, folds=folds, seeds=seeds, only=only)
    make_folder(place.out)
    if target not in _TABLES:
        draw = {"fig1": _figure1, "fig2": _figure2, "fig4": _figure4, "fig5": _figure5}[target]
        return draw(wanted, place, report)
    results = collect(wanted, place, report=report)
    keep(results, place.out / f"{target}.npz")
    _refuse_nothing(target, results)
    if only is not None and target != "table1":
        report(f"{target} compares all its rows: run it without --only to write it")
        return [place.out / f"{target}.npz"]
    left = {} if only is None else missing_shots(every, place)
    done = [one for one in every if not left.get(one)]
    results = collect(done, place, report=report)
    table = _TABLES[target](results)
    commands = commands_note(target, scale, done, place, folds=folds, seeds=seeds)
    notes = (commands, protocol_note(_cards(results)))
    replace(table, notes=(*table.notes, *notes)).write(place.out, target)
    return [place.out / f"{target}.{suffix}" for suffix in ("md", "csv", "npz")]


def plan(
    target: Target,
    scale: Scale,
    place: Workplace,
    *,
    folds: tuple[int, ...] | None = None,
    seeds: int | None = None,
    only: str | None = None,
) -> tuple[list[Experiment], list[Experiment]]:
    """List all experiments of a target and those of the wanted cell, and check all settings.

    Arguments and errors are those of ``reproduce``.
    """
    listed = experiments(target, scale, folds, seeds)
    if only is not None and target not in _TABLES:
        raise FcpError(f"--only: {target} is drawn of all its rows; leave it out")
    refuse_unfit(listed, place.recipes, place.settings)
    every = without_repeats(listed, place)
    return every, every if only is None else choose(every, only)


def without_repeats(wanted: Sequence[Experiment], place: Workplace) -> list[Experiment]:
    """Leave out all seeds but the first of the rows that train nothing: they would be equal.

    Raises:
        FcpError: a bad setting.
    """
    later = {one.cell: one for one in wanted if one.seed > 0}
    still = {cell for cell, one in later.items() if trains_nothing(recipe_of(one, place))}
    return [one for one in wanted if one.seed == 0 or one.cell not in still]


def commands_note(
    target: Target,
    scale: Scale,
    done: Sequence[Experiment],
    place: Workplace,
    *,
    folds: tuple[int, ...] | None = None,
    seeds: int | None = None,
) -> str:
    """Say how each cell of a table is made again, without the places of this machine."""
    size = next(name for name, known in SCALES.items() if known == scale)
    settings = shlex.join(s for s in place.settings if not is_place(s))
    command = f"fcp reproduce {target} --scale {size} --data-root DATA --out OUT"
    if folds is not None:
        command += f" --fold {','.join(map(str, folds))}"
    if seeds is not None:
        command += f" --seeds {seeds}"
    if place.episodes != Workplace.episodes:
        command += f" --episodes {place.episodes}"
    cells = dict.fromkeys(experiment.cell for experiment in done)
    lines = [f"    {command} --only {shlex.quote(cell)} {settings}".rstrip() for cell in cells]
    return "\n".join(["## Commands of the cells", "", *lines])


def protocol_note(cards: Sequence[Mapping[str, Any]]) -> str:
    """Describe what the protocol cards have in common, and the episodes of each fold."""
    lines = ["## Protocol", "", *(line for name in _FACTS for line in _facts(name, cards))]
    training: dict[tuple[int, int, str], set[str]] = {}
    tested: dict[tuple[int, int, str], set[str]] = {}
    for card in cards:
        key = (card["fold"], card["shots"], card["episode_sha256"])
        named = () if card["training_lists"] == NO_LISTS else (card["training_lists"],)
        training.setdefault(key, set()).update(named)
        # Results of earlier versions lack the hash of the list.
        hashes = (f", list sha256 {card['list_sha256'][:16]}…",) if "list_sha256" in card else ()
        tested.setdefault(key, set()).update(hashes)
    lines += sorted(
        f"- fold {fold}, {shots}-shot: training {', '.join(sorted(known)) or NO_LISTS}; "
        f"episodes sha256 {digest[:16]}…{''.join(sorted(tested[fold, shots, digest]))}"
        for (fold, shots, digest), known in training.items()
    )
    return "\n".join(lines)


def _facts(name: str, cards: Sequence[Mapping[str, Any]]) -> list[str]:
    values = dict.fromkeys(str(card[name]) for card in cards if card.get(name) is not None)
    return [f"- {name.replace('_', ' ')}: {value}" for value in values]


def _cards(results: Sequence[Result]) -> list[Mapping[str, Any]]:
    reports = (result.found.report for result in results)
    return [report["protocol"] for report in reports if report is not None]


def _refuse_nothing(target: Target, results: Sequence[Result]) -> None:
    """Check that at least one of the results has a report.

    Raises:
        FcpError: none has; the message gives the reason.
    """
    if not any(result.found.report for result in results):
        raise FcpError(f"{target}: {results[0].found.missing}")


@dataclass(frozen=True)
class _Subject:
    """A run whose model a figure measures, and the episodes that it is measured on."""

    experiment: Experiment
    test: FoldTest
    episodes: tuple[EpisodeSpec, ...]
    run: Path
    place: Workplace

    @property
    def model(self) -> Path:
        return chosen_of(self.run)

    @property
    def predictor(self) -> FCPPredictor:
        return load_predictor(self.model, device=self.place.device, store=self.place.store)

    @property
    def card(self) -> dict[str, Any]:
        episodes, device = len(self.episodes), self.place.device
        asked: dict[str, Any] = {"shots": 1, "episodes": episodes, "device": device}
        plan = self.test.plan(self.model, **asked, stored=True)
        (card,) = plan.cards.values()
        return asdict(card)

    @property
    def minutes(self) -> str:
        minutes = training_minutes(self.run)
        return "–" if minutes is None else f"{minutes:.0f}"


def _subjects(wanted: Sequence[Experiment], place: Workplace, report: Report) -> Iterator[_Subject]:
    for experiment in wanted:
        test = open_test(experiment, place)
        episodes = test.draw(1, min(_LOOKS, place.episodes))
        run = model_of(experiment, place, report=report)
        report(f"{experiment.name}: measuring")
        yield _Subject(experiment, test, episodes, run, place)


def _figure1(wanted: Sequence[Experiment], place: Workplace, report: Report) -> list[Path]:
    looks: dict[str, list[figure1.EpisodeLook]] = {}
    cards, lines = [], []
    for subject in _subjects(wanted, place, report):
        row = subject.experiment.row
        found = figure1.look(subject.predictor, subject.test.data, subject.episodes)
        looks.setdefault(row, []).extend(found)
        cards.append(subject.card)
        mass = _percent(figure1.mean_mass(found))
        even = 100 * fmean(one.foreground for one in found)
        fold = str(subject.experiment.fold)
        lines.append((fold, row, *mass, f"{even:.1f}", subject.minutes))
    gap = _percent(figure1.mass_difference(looks["FCP"], looks["VRP-SAM"]), sign="+")
    table = Table(
        "Figure 1: share of attention on the query's foreground, %",
        ("fold", "model", "mass", "95 %", "even attention", "training minutes"),
        (*lines, ("all", "FCP − VRP-SAM", *gap, "–", "–")),
        (_PICTURES_NOTE, protocol_note(cards)),
    )
    files = [place.out / name for name in ("fig1a.png", "fig1b.png")]
    figure1.plot_mass(looks, files[0])
    figure1.plot_iou(looks["FCP"], files[1])
    for row, of_row in looks.items():
        files.append(place.out / f"fig1-{row.lower()}.csv")
        write_csv(files[-1], of_row)
    return [*files, _write_text(place.out / "fig1.md", table)]


def _figure2(wanted: Sequence[Experiment], place: Workplace, report: Report) -> list[Path]:
    folds, cards, lines = {}, [], []
    for subject in _subjects(wanted, place, report):
        name = f"fold {subject.experiment.fold}"
        model, test = subject.predictor.model, subject.test
        folds[name] = figure2.feature_statistics(model, test.data, test.lists)
        cards.append(subject.card)
        for one in folds[name]:
            both = [
                f"{v.value:.3f} ({v.low:.3f} … {v.high:.3f})" for v in (one.within, one.between)
            ]
            lines.append((name, one.feature, str(one.objects), *both))
    header = ("fold", "feature", "objects", "2a: within a picture", "2b: across pictures")
    notes = ("All listed pictures, no episodes; 95 % intervals in brackets.", protocol_note(cards))
    table = Table("Figure 2: differences of mean cosine similarity", header, tuple(lines), notes)
    files = [place.out / "fig2.png", place.out / "fig2.csv"]
    figure2.plot_features(folds, files[0])
    figure2.write_statistics(folds, files[1])
    return [*files, _write_text(place.out / "fig2.md", table)]


def _figure4(wanted: Sequence[Experiment], place: Workplace, report: Report) -> list[Path]:
    files, cards, lines = [], [], []
    for subject in _subjects(wanted, place, report):
        fold, data = subject.experiment.fold, subject.test.data
        count = min(_SHOWN, len(subject.episodes))
        rows = figure4.show_spread(subject.predictor, data, subject.episodes, rows=count)
        files.append(place.out / f"fig4-fold{fold}.png")
        figure4.plot_rows(rows, files[-1])
        cards.append(subject.card)
        for row in rows:
            shown = [f"{tile.title} {tile.caption}" for tile in row.tiles if tile.caption]
            lines.append((str(fold), row.title.replace("\n", ", "), "; ".join(shown)))
    notes = ("Rows stand at evenly spaced ranks of the prediction's IoU.", protocol_note(cards))
    table = Table("Figure 4: what is shown", ("fold", "row", "IoU, %"), tuple(lines), notes)
    return [*files, _write_text(place.out / "fig4.md", table)]


def _figure5(wanted: Sequence[Experiment], place: Workplace, report: Report) -> list[Path]:
    steps = {row: T for T, row in FIG5_ROWS.items()}
    results = collect(wanted, place, report=report)
    _refuse_nothing("fig5", results)
    reports = ((steps[r.experiment.row], r.found.report) for r in results)
    points = figure5.sweep([(step, report) for step, report in reports if report is not None])
    table = steps_table(results)
    table = replace(table, notes=(*table.notes, protocol_note(_cards(results))))
    files = [place.out / f"fig5.{suffix}" for suffix in ("png", "csv", "npz")]
    figure5.plot_sweep({"FCP": points}, files[0])
    write_csv(files[1], points)
    keep(results, files[2])
    return [*files, _write_text(place.out / "fig5.md", table)]


def _percent(interval: Interval, sign: str = "") -> tuple[str, str]:
    value, low, high = (100 * bound for bound in vars(interval).values())
    return f"{value:{sign}.1f}", f"{low:{sign}.1f} … {high:{sign}.1f}"


def _write_text(path: Path, table: Table) -> Path:
    write_atomically(path, table.markdown().encode())
    return path
