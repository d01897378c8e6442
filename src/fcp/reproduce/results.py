"""Evaluations of the experiments: missing ones are made; different settings are not mixed.

During the work each evaluation lies in a file of its own, so that several runs can divide the folds
among them. All evaluations of a table go into one file beside it. This file is published, and is
enough to make the table again without weights. An evaluation holds the settings that it was made
by; those of other settings are refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from fcp.engine.method_recipe import BaseLearnerRecipe, FreeRecipe, MethodRecipe
from fcp.engine.recipe import HeadRecipe
from fcp.engine.tracking import Report
from fcp.errors import FcpError
from fcp.evaluation.episode_counts import MASK, ORIGINAL, EpisodeCounts
from fcp.evaluation.report import to_json
from fcp.evaluation.run import evaluate_folds
from fcp.features.cache import fingerprint
from fcp.models.checkpoint import load_model
from fcp.models.files import RECIPE_FILE
from fcp.models.free import load_free
from fcp.models.free_on_own import encoders_of_method
from fcp.models.trained import load_trained
from fcp.reproduce.evaluations import Evaluation, load_evaluations, save_evaluations
from fcp.reproduce.plan import Experiment, Target
from fcp.reproduce.recipes import (
    Workplace,
    learner_of,
    learner_recipe,
    recipe_of,
    store_of,
    trains_backbone,
)
from fcp.reproduce.run import (
    chosen_of,
    first_stages,
    learner_folder,
    model_of,
    open_test,
    refuse_other_run,
    refuse_other_settings,
    settings_of,
    training_minutes,
)
from fcp.reproduce.settings import RowRecipe
from fcp.system.files import make_folder
from fcp.system.locks import hold_folder
from fcp.system.words import counted


@dataclass(frozen=True)
class Result:
    """An evaluation of an experiment.

    Attributes:
        experiment: Training that was evaluated.
        shots: Number of supports K.
        found: Evaluation with its report and counts.
        file: File that the evaluation was read from.
    """

    experiment: Experiment
    shots: int
    found: Evaluation
    file: Path

    @property
    def name(self) -> str:
        """Name of the result in a file of evaluations."""
        return _name(self.experiment, self.shots)

    @property
    def place(self) -> str:
        """File and name of the result, for messages."""
        return f"{self.file}, {self.name}"


def collect(experiments: Iterable[Experiment], place: Workplace, *, report: Report) -> list[Result]:
    """Return the results of experiments; missing ones are run.

    Args:
        experiments: Experiments whose results are wanted.
        place: Folders and settings of the reproduction.
        report: Function that takes each line of output.

    Raises:
        FcpError: data or weights are missing, or a result was made by other settings, on other
            encoders or other episodes than its neighbours.
    """
    known = _known(place)
    results = []
    for experiment in experiments:
        for shots in experiment.shots:
            file = _file_of(experiment, shots, place)
            found = _find(experiment, shots, known, place)
            if found is None:
                _make(experiment, shots, file, place, report=report)
                found = _read(file)[file.stem]
            results.append(Result(experiment, shots, *found))
            _refuse_other_result(results[-1], place)
    _refuse_unlike(results)
    return results


def missing_shots(
    experiments: Iterable[Experiment], place: Workplace
) -> dict[Experiment, tuple[int, ...]]:
    """Return the numbers of shots of each experiment that are not evaluated yet.

    Raises:
        FcpError: one that is was made by other settings or on another number of episodes.
    """
    known = _known(place)
    missing: dict[Experiment, tuple[int, ...]] = {}
    for experiment in experiments:
        found = {shots: _find(experiment, shots, known, place) for shots in experiment.shots}
        for shots, evaluation in found.items():
            if evaluation is not None:
                _refuse_other_result(Result(experiment, shots, *evaluation), place)
        missing[experiment] = tuple(shots for shots, there in found.items() if there is None)
    return missing


def keep(results: Iterable[Result], file: Path) -> None:
    """Write a table's evaluations to its file; others that the file holds stay.

    Raises:
        FcpError: the file is damaged or cannot be written.
    """
    with hold_folder(file.parent, waits=True):  # another process may do the same
        before = load_evaluations(file) if file.exists() else {}
        save_evaluations(file, {**before, **{result.name: result.found for result in results}})


def _find(
    experiment: Experiment,
    shots: int,
    known: Mapping[str, tuple[Evaluation, Path]],
    place: Workplace,
) -> tuple[Evaluation, Path] | None:
    """Return an evaluation and its file; None if it is still to be made.

    Args:
        experiment: Experiment to find one of.
        shots: Number of supports K.
        known: Evaluations of the tables' files; one in a file of its own is newer.
        place: Folders and settings of the reproduction.
    """
    file = _file_of(experiment, shots, place)
    found = _read(file).get(file.stem) or known.get(file.stem)
    if found is None or found[0].missing is None:
        return found
    try:
        open_test(experiment, place).draw(shots, place.episodes)
    except FcpError:
        return found
    return None  # pictures were added since


def _known(place: Workplace) -> dict[str, tuple[Evaluation, Path]]:
    """Return name → evaluation and its file, of those that the tables' files hold."""
    tables = (place.out / f"{target}.npz" for target in get_args(Target))
    return {name: found for file in tables for name, found in _read(file).items()}


def _read(file: Path) -> dict[str, tuple[Evaluation, Path]]:
    """Return name → evaluation and its file; nothing where there is no file."""
    found = load_evaluations(file) if file.exists() else {}
    return {name: (evaluation, file) for name, evaluation in found.items()}


def _make(
    experiment: Experiment, shots: int, file: Path, place: Workplace, *, report: Report
) -> None:
    """Train and evaluate, and write the evaluation."""
    test = open_test(experiment, place)
    make_folder(file.parent)
    recipe = recipe_of(experiment, place)
    settings = settings_of(asdict(recipe))
    try:
        episodes = test.draw(shots, place.episodes)
    except FcpError as error:
        # The rest of the message is a remedy for other commands.
        missing = str(error).partition(";")[0]
        save_evaluations(file, {file.stem: Evaluation(settings, missing=missing)})
        return
    folder = model_of(experiment, place, report=report)
    chosen = chosen_of(folder)
    report(f"{experiment.name}: {shots}-shot, {counted(len(episodes), 'episode')}")
    learner = learner_of(experiment, recipe, place)
    store = store_of(recipe, place, learner)
    asked: dict[str, Any] = {"shots": shots, "episodes": place.episodes, "device": place.device}
    asked["stored"] = store is not None
    plan = test.plan(chosen, **asked)
    result = evaluate_folds(plan, store=store)
    last = None
    if chosen != folder:
        last = evaluate_folds(test.plan(folder, **asked), store=store).square.miou
    found = Evaluation(
        settings,
        report=to_json(result, plan.cards),
        counts=result.counts,
        minutes=training_minutes(folder),
        encoders=_frozen_encoders(recipe, learner, chosen),
        last_miou=last,
        stages=_known_stages(experiment, recipe, place),
    )
    save_evaluations(file, {file.stem: found})
    report(f"{experiment.name}: {shots}-shot mIoU {100 * result.square.miou:.1f}")


def _known_stages(
    experiment: Experiment, recipe: RowRecipe, place: Workplace
) -> dict[str, dict[str, Any]]:
    """Return the settings of the stages before a row, as far as their folders still have them."""
    stages = first_stages(experiment, recipe, place)
    return {
        name: settings_of(asdict(stage))
        for name, (folder, stage) in stages.items()
        if (folder / RECIPE_FILE).exists()
    }


def _frozen_encoders(
    recipe: RowRecipe, learner: BaseLearnerRecipe | None, folder: Path
) -> tuple[str, ...]:
    """Return the hashes of a model's encoders that its training left as they were.

    They are those of the backbone and of the promptable segmenter; empty for one that is not read.
    """
    if isinstance(recipe, FreeRecipe):
        parts = encoders_of_method(load_free(folder).method)
        return tuple("" if part is None else fingerprint(part, []) for part in parts)
    if isinstance(recipe, HeadRecipe):
        model = load_model(folder)
        return tuple(fingerprint(part, []) for part in (model.backbone, model.segmenter))
    if trains_backbone(recipe, learner):
        return ()
    return (fingerprint(load_trained(folder).model.backbone, []),)


def _refuse_other_result(result: Result, place: Workplace) -> None:
    """Check that a result was made with the wanted settings and number of episodes.

    Raises:
        FcpError: it was not; the message names the file.
    """
    now = recipe_of(result.experiment, place)
    refuse_other_settings(result.place, result.found.settings, now)
    if isinstance(now, MethodRecipe) and now.base_learner_recipe is not None:
        learner = learner_recipe(result.experiment, now, place)
        refuse_other_run(learner_folder(result.experiment, now, place), learner)
    for name, (_, stage) in first_stages(result.experiment, now, place).items():
        if name in result.found.stages:
            refuse_other_settings(result.place, result.found.stages[name], stage, name)
    report = result.found.report
    if report is not None and report["episodes"] != place.episodes:
        raise FcpError(
            f"{result.place}: has {report['episodes']} episodes, not {place.episodes}; choose "
            "another --out, or delete the file to make it anew"
        )


def _refuse_unlike(results: Sequence[Result]) -> None:
    """Check that all rows of a fold have the same frozen encoders, episodes and true masks.

    Methods that have no segmenter, or that train their backbone, are compared in what is left.

    Raises:
        FcpError: they do not; the message names both files.
    """
    first: dict[tuple[object, ...], tuple[str, Result]] = {}
    for result in results:
        if result.found.report is None:
            continue
        cell = (result.experiment.setting, result.experiment.fold, result.shots)
        parts = [("episodes", _episodes_of(result)), ("true masks", _true_masks_of(result))]
        parts += [("frozen encoders", part) for part in result.found.encoders]
        for number, (what, mine) in enumerate(parts):
            if not mine:  # an encoder that the method does not read
                continue
            theirs, other = first.setdefault((*cell, number), (mine, result))
            if mine != theirs:
                raise FcpError(
                    f"{result.place}: has other {what} than {other.place}, so they do not "
                    "compare; delete one with its run to make it anew"
                )


def _episodes_of(result: Result) -> str:
    return str((result.found.report or {})["protocol"]["episode_sha256"])


def _true_masks_of(result: Result) -> str:
    """Hash the numbers of pixels in and out of each episode's true mask."""
    counts = result.found.counts or EpisodeCounts((), {})
    truth = [counts.truth(kind) for kind in (MASK, ORIGINAL) if kind in counts.counts]
    return hashlib.sha256(b"".join(one.astype("<i8").tobytes() for one in truth)).hexdigest()


def _file_of(experiment: Experiment, shots: int, place: Workplace) -> Path:
    return place.out / "results" / f"{_name(experiment, shots)}.npz"


def _name(experiment: Experiment, shots: int) -> str:
    return f"{experiment.name}-{shots}shot"
