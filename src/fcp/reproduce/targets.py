"""One function a table or figure: what it needs is run, then it is written."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from fcp.checkpoint import load_model
from fcp.data.benchmarks import open_benchmark
from fcp.data.lists import val_lists
from fcp.engine.tracking import Report
from fcp.errors import FcpError
from fcp.evaluation.predictor import FCPPredictor
from fcp.files import write_atomically
from fcp.reproduce import figure1, figure2, figure4, figure5
from fcp.reproduce.output import write_csv
from fcp.reproduce.plan import FIG5_ROWS, Experiment, Scale, Target, experiments
from fcp.reproduce.run import Result, Workplace, collect, draw_test_episodes, model_of
from fcp.reproduce.tables import Table, table1, table2, table3, table4

_LOOKS = 200  # episodes a fold that Figures 1 and 4 run
_SHOWN = 5  # rows a fold of Figure 4

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
    folds: tuple[int, ...],
    report: Report,
) -> list[Path]:
    """Run what a table or figure needs and write it to ``place.out``.

    Args:
        target: which.
        scale: its size.
        place: where.
        folds: to restrict it to.
        report: called with each line worth showing.

    Returns:
        The files written.

    Raises:
        FcpError: no such fold in it, missing data or weights, or a result of other settings.
    """
    wanted = experiments(target, scale, folds)
    place.out.mkdir(parents=True, exist_ok=True)
    if target in _TABLES:
        results = collect(wanted, place, report=report)
        if not any(result.report for result in results):
            raise FcpError(f"{target}: {results[0].missing}")
        table = _TABLES[target](results)
        table = replace(table, notes=(*table.notes, *protocol_notes(results)))
        table.write(place.out, target)
        return [place.out / f"{target}.md", place.out / f"{target}.csv"]
    draw = {"fig1": _figure1, "fig2": _figure2, "fig4": _figure4, "fig5": _figure5}[target]
    return draw(wanted, place, report)


def protocol_notes(results: Sequence[Result]) -> tuple[str, ...]:
    """Say what all reports have in common, and which episodes each fold was asked."""
    cards = [result.report["protocol"] for result in results if result.report is not None]
    lines = ["## Protocol", ""]
    for name in ("data_set", "pool", "split", "list_rule", "sampler", "resolution"):
        lines += _facts(name, cards)
    for name in ("ignore_rule", "fusion_rule", "metric", "interval", "code_version"):
        lines += _facts(name, cards)
    hashes = {
        (card["data_set"], card["fold"], card["shots"]): card["episode_sha256"] for card in cards
    }
    lines += [
        f"- episodes of fold {fold}, {shots}-shot: sha256 {digest[:16]}…"
        for (_, fold, shots), digest in sorted(hashes.items(), key=str)
    ]
    return ("\n".join(lines),)


def _facts(name: str, cards: Sequence[Mapping[str, object]]) -> list[str]:
    values = dict.fromkeys(str(card[name]) for card in cards if card.get(name) is not None)
    return [f"- {name.replace('_', ' ')}: {value}" for value in values]


def _predictor(experiment: Experiment, place: Workplace, report: Report) -> FCPPredictor:
    folder = model_of(experiment, place, report=report)
    return FCPPredictor(load_model(folder, device=place.device), store=place.store)


def _figure1(wanted: Sequence[Experiment], place: Workplace, report: Report) -> list[Path]:
    looks: dict[str, list[figure1.EpisodeLook]] = {}
    for experiment in wanted:
        data = open_benchmark(experiment.setting.benchmark, place.data_root)
        episodes = draw_test_episodes(data, experiment.fold, 1, place)[:_LOOKS]
        predictor = _predictor(experiment, place, report)
        report(f"{experiment.name}: looking at {len(episodes)} episodes")
        looks.setdefault(experiment.row, []).extend(figure1.look(predictor, data, episodes))
    files = [place.out / name for name in ("fig1a.png", "fig1b.png", "fig1.csv")]
    figure1.plot_mass(looks, files[0])
    figure1.plot_iou(looks["FCP"], files[1])
    write_csv(files[2], looks["FCP"])
    masses = {row: vars(figure1.mean_mass(of_row)) for row, of_row in looks.items()}
    difference = vars(figure1.mass_difference(looks["FCP"], looks["VRP-SAM"]))
    summary = {"mass": masses, "FCP - VRP-SAM": difference}
    return [*files, _write_json(place.out / "fig1.json", summary)]


def _figure2(wanted: Sequence[Experiment], place: Workplace, report: Report) -> list[Path]:
    folds = {}
    for experiment in wanted:
        data = open_benchmark(experiment.setting.benchmark, place.data_root)
        model = load_model(model_of(experiment, place, report=report), device=place.device)
        report(f"fold {experiment.fold}: features of all listed pictures")
        lists = val_lists(data, experiment.fold)
        folds[f"fold {experiment.fold}"] = figure2.feature_statistics(model, data, lists)
    files = [place.out / "fig2.png", place.out / "fig2.csv"]
    figure2.plot_features(folds, files[0])
    figure2.write_statistics(folds, files[1])
    return files


def _figure4(wanted: Sequence[Experiment], place: Workplace, report: Report) -> list[Path]:
    files = []
    for experiment in wanted:
        data = open_benchmark(experiment.setting.benchmark, place.data_root)
        episodes = draw_test_episodes(data, experiment.fold, 1, place)[:_LOOKS]
        predictor = _predictor(experiment, place, report)
        report(f"fold {experiment.fold}: {len(episodes)} episodes")
        rows = figure4.show_spread(predictor, data, episodes, rows=_SHOWN)
        files.append(place.out / f"fig4-fold{experiment.fold}.png")
        figure4.plot_rows(rows, files[-1])
    return files


def _figure5(wanted: Sequence[Experiment], place: Workplace, report: Report) -> list[Path]:
    steps = {row: T for T, row in FIG5_ROWS.items()}
    results = collect(wanted, place, report=report)
    reports = [(steps[r.experiment.row], r.report) for r in results if r.report is not None]
    points = figure5.sweep(reports)
    files = [place.out / "fig5.png", place.out / "fig5.csv"]
    figure5.plot_sweep({"FCP": points}, files[0])
    write_csv(files[1], points)
    return files


def _write_json(path: Path, values: object) -> Path:
    write_atomically(path, json.dumps(values, indent=1).encode() + b"\n")
    return path
