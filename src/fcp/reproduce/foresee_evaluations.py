"""Hours of the evaluations of ``--dry-run``: a few episodes of each kind, timed on this machine."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from fcp.encoders.places import is_here
from fcp.engine.dry_run import built
from fcp.engine.dry_run_method import method_dry_stage
from fcp.engine.method_recipe import FreeRecipe, MethodRecipe
from fcp.engine.random_weights import large_parts
from fcp.engine.recipe import HeadRecipe
from fcp.engine.tracking import Report, say_nothing
from fcp.engine.train_head import starting_encoders
from fcp.errors import FcpError
from fcp.evaluation.evaluate import evaluate
from fcp.evaluation.method_predictor import MethodPredictor, encoders_of
from fcp.evaluation.predictor import FCPPredictor
from fcp.features.frozen import LiveEncoders
from fcp.method.registry import build_on
from fcp.models.trained import LoadedTrained
from fcp.reproduce.plan import Experiment
from fcp.reproduce.recipes import Workplace, has_stored_features, learner_of, recipe_of
from fcp.reproduce.run import find_promptable, open_test
from fcp.reproduce.settings import RowRecipe

Missing = Mapping[Experiment, tuple[int, ...]]  # shots that are not evaluated yet
_EPISODES = 3  # timed of each kind


@dataclass(frozen=True)
class EpisodeCost:
    """Duration of an episode.

    Attributes:
        first: Duration where all of its pictures are encoded, s.
        again: Duration where their features are kept, s.
        pictures: Number of pictures that episodes are drawn from, over all folds.
        shots: Number of supports K.
    """

    first: float
    again: float
    pictures: int
    shots: int

    def total(self, episodes: int, *, stored: bool) -> float:
        """Return the duration of a number of episodes, s.

        Args:
            episodes: Number of episodes.
            stored: Whether each picture is encoded once in all; else at each episode.
        """
        if not stored:
            return episodes * self.first
        encoding = max(0.0, self.first - self.again) / (self.shots + 1)
        return episodes * self.again + self.pictures * encoding


def report_evaluations(missing: Missing, place: Workplace, report: Report) -> None:
    """Report the hours of the evaluations that are left, by cell.

    Where features are stored, each picture is encoded once for all evaluations of a cell; else for
    each episode, which is the most that it can take. On a CPU, evaluations of models that take long
    to build are not timed.

    Args:
        missing: Shots of each experiment that are not evaluated yet.
        place: Folders and settings of the reproduction.
        report: Function that takes each line of output.
    """
    total, unknown = 0.0, 0
    for name, members in _by_cell(missing).items():
        recipe = recipe_of(members[0], place)
        left = {k: sum(k in missing[one] for one in members) for k in members[0].shots}
        left = {k: count for k, count in left.items() if count}
        timed = {k: episode_cost(members, k, recipe, place) for k in left}
        known = {k: cost for k, cost in timed.items() if cost is not None}
        unknown += sum(count for k, count in left.items() if k not in known)
        if not known:
            continue
        runs = 1 if isinstance(recipe, FreeRecipe) or not recipe.holdout_every else 2
        stored = has_stored_features(recipe, learner_of(members[0], recipe, place))
        hours = sum(
            cost.total(left[k] * runs * place.episodes, stored=stored) for k, cost in known.items()
        )
        total += hours / 3600
        each = ", ".join(
            f"{cost.again if stored else cost.first:.2f} s with {k}" for k, cost in known.items()
        )
        report(f"{name}: {hours / 3600:.1f} h of evaluations, an episode {each} shots")
    rest = f" beside {unknown} of unknown time" if unknown else ""
    report(f"{total:.1f} h of evaluations in all{rest}, one after the other")


def episode_cost(
    members: Sequence[Experiment], shots: int, recipe: RowRecipe, place: Workplace
) -> EpisodeCost | None:
    """Time an episode of a model with the recipe's sizes; random weights where others are missing.

    Args:
        members: Experiments of one cell; the first whose data give so many shots is timed.
        shots: Number of supports K.
        recipe: Recipe of the cell.
        place: Folders and settings of the reproduction.

    Returns:
        Medians of a few episodes; None where data are missing, or where the model is too large for
        this machine.
    """
    for experiment in members:
        try:
            test = open_test(experiment, place)
            episodes = test.draw(shots, _EPISODES)
        except FcpError:
            continue
        predictor = _predictor(recipe, experiment, place)
        if predictor is None:
            return None
        ask = partial(evaluate, predictor, test.data, image_size=predictor.image_size)
        first, again = (
            statistics.median([ask([one]).seconds for one in episodes]) for _ in range(2)
        )
        folds = len({one.fold for one in members})
        return EpisodeCost(first, again, folds * len(test.lists.rows), shots)
    return None


def _by_cell(missing: Missing) -> dict[str, list[Experiment]]:
    cells: dict[str, list[Experiment]] = {}
    for experiment, shots in missing.items():
        if shots:
            cells.setdefault(experiment.cell, []).append(experiment)
    return cells


def _predictor(
    recipe: RowRecipe, experiment: Experiment, place: Workplace
) -> FCPPredictor | MethodPredictor | None:
    if isinstance(recipe, MethodRecipe):
        stage, _ = method_dry_stage(recipe, place.data_root)
        model, size = stage.model.eval().to(place.device), recipe.image_size
        seen = encoders_of(LoadedTrained(model, recipe.method, recipe.options, size))
        return MethodPredictor(model, image_size=size, encoders=LiveEncoders(seen))
    if recipe.segmenter_folder is not None:
        found = find_promptable(experiment, place)
        recipe = replace(recipe, segmenter_folder=None if found is None else str(found))
    if isinstance(recipe, HeadRecipe):
        if place.device == "cpu" and large_parts(recipe):
            return None
        return FCPPredictor(built(recipe, say_nothing).to(place.device))
    return _free_predictor(recipe, place)


def _free_predictor(recipe: FreeRecipe, place: Workplace) -> MethodPredictor:
    weights = recipe.backbone_weights
    weights = weights if weights is not None and is_here(weights) else None
    encoders = starting_encoders(recipe.encoders, weights, recipe.segmenter_folder)
    size = recipe.encoders.image_size
    method = build_on(recipe.method, *encoders, image_size=size, **recipe.options)
    method = method.to(place.device)
    return MethodPredictor(method, image_size=method.image_size, device=place.device)
