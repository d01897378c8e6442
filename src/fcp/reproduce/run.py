"""Runs what a table or figure needs and is not there yet: trainings, then their evaluations.

Everything lies in files named by experiment, so that an interrupted run goes on, several runs may
share the work by folds, and results without their weights (as they are published) are enough for
the tables. A result says by which settings it was made; other settings are refused, not mixed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from fcp.checkpoint import RECIPE_FILE, WEIGHTS_FILE, load_model
from fcp.config import load_json
from fcp.data.benchmarks import open_benchmark
from fcp.data.dataset import FewShotDataset
from fcp.data.episodes import EpisodeSpec, describe_sampler, episodes_hash, sample_episodes
from fcp.data.lists import val_lists
from fcp.encoders.cache import FeatureCache
from fcp.engine.recipe import HeadRecipe, SegmenterRecipe, load_recipe
from fcp.engine.tracking import Report
from fcp.engine.train_head import train_head
from fcp.engine.train_segmenter import WEIGHTS, train_segmenter
from fcp.errors import FcpError
from fcp.evaluation.episode_counts import EpisodeCounts, Run, load_counts, save_counts
from fcp.evaluation.evaluate import evaluate_runs
from fcp.evaluation.predictor import FCPPredictor
from fcp.evaluation.report import make_card, to_json
from fcp.files import write_atomically
from fcp.reproduce.plan import ROWS, Experiment

EPISODE_SEED = 0
# Where weights come from is no part of what an experiment is.
_PLACES = ("backbone_weights", "segmenter_folder")


@dataclass(frozen=True)
class Workplace:
    """Where a reproduction reads and writes.

    Attributes:
        data_root: of the data sets.
        out: ``results/`` and ``runs/`` go there.
        recipes: folder of the recipes.
        promptable: folder of promptable stages (``tiny-promptable-02``, ``-13``) that are there
            already; None to train those that are missing, in ``out``.
        settings: ``key=value`` for every recipe, such as where weights lie.
        episodes: of each evaluation.
        cache_bytes: that stored features may take.
        device: where evaluations run.
    """

    data_root: Path
    out: Path
    recipes: Path
    promptable: Path | None = None
    settings: tuple[str, ...] = ()
    episodes: int = 1000
    cache_bytes: int = 30 << 30
    device: str = "cpu"

    @property
    def store(self) -> FeatureCache:
        """The features that all experiments share."""
        return FeatureCache(self.out / "features", self.cache_bytes)


@dataclass(frozen=True)
class Result:
    """What one evaluation of an experiment found.

    Attributes:
        experiment: which.
        shots: K.
        report: of ``fcp.evaluation.report``; None where the data cannot give so many shots.
        counts: of each episode; None likewise.
        missing: why there is no report.
        minutes: of the training; None where it was not timed as a whole.
    """

    experiment: Experiment
    shots: int
    report: dict[str, Any] | None
    counts: EpisodeCounts | None
    missing: str | None
    minutes: float | None


def collect(experiments: Iterable[Experiment], place: Workplace, *, report: Report) -> list[Result]:
    """Return the results of experiments, running what is missing.

    Args:
        experiments: what is asked for.
        place: where.
        report: called with each line worth showing.

    Raises:
        FcpError: data or weights are missing, or a result was made by other settings.
    """
    results = []
    for experiment in experiments:
        for shots in experiment.shots:
            if not _result_file(experiment, shots, place).exists():
                _make(experiment, shots, place, report)
            results.append(_read(experiment, shots, place))
    return results


def recipe_of(experiment: Experiment, place: Workplace) -> HeadRecipe:
    """Return the recipe of an experiment with its row's settings.

    Raises:
        FcpError: a bad setting.
    """
    settings = (
        *place.settings,
        *ROWS[experiment.row],
        f"fold={experiment.fold}",
        f"seed={experiment.seed}",
    )
    file = place.recipes / f"{experiment.setting.recipe}.yaml"
    recipe = load_recipe(file, settings)
    if not isinstance(recipe, HeadRecipe):
        raise FcpError(f"{file}: expected the recipe of a head")
    return recipe


def model_of(experiment: Experiment, place: Workplace, *, report: Report) -> Path:
    """Return the model folder of an experiment, trained now if it is not there.

    Raises:
        FcpError: data or weights are missing.
    """
    out = place.out / "runs" / experiment.name
    recipe = recipe_of(experiment, place)
    if (out / WEIGHTS_FILE).exists():
        return out
    if recipe.segmenter_folder is not None:
        folder = promptable_stage(experiment.fold, place, report=report)
        recipe = replace(recipe, segmenter_folder=str(folder))
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / RECIPE_FILE, json.dumps(asdict(recipe), indent=2).encode() + b"\n")
    report(f"{experiment.name}: training")
    started = time.monotonic()
    resume = (out / "checkpoint.pt").exists()
    train_head(
        recipe,
        data_root=place.data_root,
        out=out,
        resume=resume,
        report=lambda line: report(f"  {line}"),
        store=place.store,
    )
    minutes = None if resume else (time.monotonic() - started) / 60
    write_atomically(out / "minutes.json", json.dumps({"minutes": minutes}).encode())
    return out


def promptable_stage(fold: int, place: Workplace, *, report: Report) -> Path:
    """Return the folder of a promptable stage that never saw the fold's novel classes.

    Folds 0 and 2 share one, and so do 1 and 3; one that is nowhere is trained (an hour on two
    cores).

    Raises:
        FcpError: data or starting weights are missing.
    """
    excluded = (fold % 2, fold % 2 + 2)
    name = f"tiny-promptable-{excluded[0]}{excluded[1]}"
    for parent in (place.promptable, place.out):
        if parent is not None and (parent / name / WEIGHTS).exists():
            return parent / name
    settings = tuple(s for s in place.settings if s.startswith("backbone_weights="))
    recipe = load_recipe(
        place.recipes / "tiny-segmenter.yaml", (*settings, f"exclude_folds={list(excluded)}")
    )
    if not isinstance(recipe, SegmenterRecipe):
        raise FcpError(f"{place.recipes / 'tiny-segmenter.yaml'}: expected a segmenter's recipe")
    report(f"{name}: training")
    out = place.out / name
    resume = (out / "checkpoint.pt").exists()
    train_segmenter(recipe, data_root=place.data_root, out=out, resume=resume, report=report)
    return out


def draw_test_episodes(
    data: FewShotDataset, fold: int, shots: int, place: Workplace
) -> tuple[EpisodeSpec, ...]:
    """Draw the episodes that all rows of a fold are asked.

    Raises:
        FcpError: a class with too few pictures for so many shots.
    """
    lists = val_lists(data, fold)
    return sample_episodes(lists, shots=shots, episodes=place.episodes, seed=EPISODE_SEED)


def _make(experiment: Experiment, shots: int, place: Workplace, report: Report) -> None:
    """Train and evaluate, and write the result."""
    data = open_benchmark(experiment.setting.benchmark, place.data_root)
    file = _result_file(experiment, shots, place)
    file.parent.mkdir(parents=True, exist_ok=True)
    content: dict[str, Any] = {"settings": _settings(recipe_of(experiment, place))}
    try:
        episodes = draw_test_episodes(data, experiment.fold, shots, place)
    except FcpError as error:
        content["missing"] = str(error)
        _write(file, content)
        return
    folder = model_of(experiment, place, report=report)
    run = Run(experiment.fold, EPISODE_SEED)
    card = make_card(
        data,
        run,
        shots=shots,
        episode_sha256=episodes_hash(episodes),
        model_folder=folder,
        sampler=describe_sampler(val_lists(data, experiment.fold), "classic"),
    )
    report(f"{experiment.name}: {shots}-shot, {len(episodes)} episodes")
    model = load_model(folder, device=place.device)
    found = evaluate_runs(
        FCPPredictor(model, store=place.store),
        data,
        {run: episodes},
        image_size=model.config.image_size,
    )
    minutes = folder / "minutes.json"
    content["minutes"] = load_json(minutes)["minutes"] if minutes.exists() else None
    content["report"] = to_json(found, {run: card})
    save_counts(file.with_suffix(".csv"), found.counts)
    _write(file, content)
    report(f"{experiment.name}: {shots}-shot mIoU {100 * found.square.miou:.1f}")


def _read(experiment: Experiment, shots: int, place: Workplace) -> Result:
    file = _result_file(experiment, shots, place)
    content = load_json(file)
    now = _settings(recipe_of(experiment, place))
    differing = _differing(content.get("settings"), now)
    if differing:
        raise FcpError(
            f"{file}: was made with another {differing[0]}; choose another --out, or delete it to "
            "make it anew"
        )
    report = content.get("report")
    if report is not None and report["episodes"] != place.episodes:
        raise FcpError(
            f"{file}: has {report['episodes']} episodes, not {place.episodes}; choose another "
            "--out, or delete it to make it anew"
        )
    return Result(
        experiment,
        shots,
        report,
        load_counts(file.with_suffix(".csv")) if report is not None else None,
        content.get("missing"),
        content.get("minutes"),
    )


def _settings(recipe: HeadRecipe) -> dict[str, Any]:
    """Return a recipe as plain values without the places that weights come from."""
    values = asdict(recipe)
    for name in _PLACES:
        values.pop(name)
    for part in ("backbone", "segmenter"):
        values["model"][part].pop("weights")
    return json.loads(json.dumps(values))


def _differing(before: Any, now: Any, name: str = "recipe") -> list[str]:  # noqa: ANN401
    """Return the dotted names of what differs between nested plain values."""
    if not isinstance(before, dict) or not isinstance(now, dict):
        return [] if before == now else [name]
    keys: Sequence[str] = sorted(before.keys() | now.keys())
    return [
        found
        for key in keys
        for found in _differing(before.get(key), now.get(key), f"{name}.{key}")
    ]


def _result_file(experiment: Experiment, shots: int, place: Workplace) -> Path:
    return place.out / "results" / f"{experiment.name}-{shots}shot.json"


def _write(file: Path, content: dict[str, Any]) -> None:
    write_atomically(file, json.dumps(content, indent=1).encode() + b"\n")
