"""Recipes of the experiments, with all settings that reach them.

Each of a row, of the promptable stage that its fold's models start from, and of the base learner
that its method does.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from fcp.engine.method_recipe import (
    BaseLearnerRecipe,
    FreeRecipe,
    MethodRecipe,
    learner_backbone,
)
from fcp.engine.recipe import HeadRecipe, SegmenterRecipe, load_recipe, trains_nothing
from fcp.errors import FcpError
from fcp.features.cache import FeatureCache
from fcp.method.trained import TRAINS_BACKBONE
from fcp.reproduce.plan import Experiment
from fcp.reproduce.settings import (
    OF_BASE_LEARNER,
    OF_PROMPTABLE,
    RowRecipe,
    overrides_of,
    settings_of_stage,
)

StageRecipe = TypeVar("StageRecipe", SegmenterRecipe, BaseLearnerRecipe)


@dataclass(frozen=True)
class Workplace:
    """Folders and settings of a reproduction.

    Attributes:
        data_root: Folder of the data sets.
        out: Folder that ``results/`` and ``runs/`` are written to.
        recipes: Folder of the recipes.
        promptable: Folder of trained promptable stages (``tiny-promptable-02``, ``-13``); None to
            train the missing ones, in ``out``.
        settings: Settings ``key=value`` for the recipes, such as places of weights, see
            ``reproduce.settings``; ``promptable.key=value`` and ``base_learner.key=value`` for the
            recipes of promptable stages and base learners.
        episodes: Number of episodes of each evaluation.
        cache_bytes: Space allowed for stored features, bytes.
        device: Device that evaluations run on.
    """

    data_root: Path
    out: Path
    recipes: Path
    promptable: Path | None = None
    settings: tuple[str, ...] = ()
    episodes: int = 1000
    cache_bytes: int = 20 << 30
    device: str = "cpu"

    @cached_property
    def store(self) -> FeatureCache:
        """Store of the features that all experiments share."""
        return FeatureCache(self.out / "features", self.cache_bytes)


def recipe_file(experiment: Experiment, place: Workplace) -> Path:
    """Return the file of an experiment's recipe."""
    return place.recipes / f"{experiment.recipe}.yaml"


def settings_of_row(experiment: Experiment, place: Workplace) -> tuple[str, ...]:
    """Return the settings that replace those of an experiment's recipe."""
    return overrides_of(experiment, recipe_file(experiment, place), place.settings)


def recipe_of(experiment: Experiment, place: Workplace) -> RowRecipe:
    """Return the recipe of an experiment with its row's settings.

    Raises:
        FcpError: a bad setting.
    """
    file = recipe_file(experiment, place)
    recipe = load_recipe(file, settings_of_row(experiment, place))
    if not isinstance(recipe, RowRecipe):
        raise FcpError(f"{file}: expected the recipe of a head or method")
    return recipe


def promptable_name(experiment: Experiment) -> str:
    """Return the name of the promptable stage of an experiment's fold."""
    return f"tiny-promptable-{experiment.fold % 2}{experiment.fold % 2 + 2}"


def promptable_file(experiment: Experiment, place: Workplace) -> Path:
    """Return the file of the recipe of a promptable stage: the head's, RECIPE-segmenter."""
    return place.recipes / f"{experiment.setting.recipe}-segmenter.yaml"


def promptable_settings(experiment: Experiment, place: Workplace) -> tuple[str, ...]:
    """Return the settings of a promptable stage: both folds that it serves are left out."""
    excluded = [experiment.fold % 2, experiment.fold % 2 + 2]
    own = settings_of_stage(place.settings, experiment, OF_PROMPTABLE)
    return (*own, f"exclude_folds={excluded}")


def promptable_recipe(experiment: Experiment, place: Workplace) -> SegmenterRecipe:
    """Return the recipe of the promptable stage of an experiment's fold.

    Raises:
        FcpError: no such recipe, or one of another stage.
    """
    settings = promptable_settings(experiment, place)
    return _load(promptable_file(experiment, place), settings, SegmenterRecipe, "a segmenter")


def learner_file(recipe: MethodRecipe, place: Workplace) -> Path:
    """Return the file of the recipe of a method's base learner."""
    return place.recipes / f"{recipe.base_learner_recipe}.yaml"


def learner_settings(
    experiment: Experiment, recipe: MethodRecipe, place: Workplace
) -> tuple[str, ...]:
    """Return the settings of the base learner of a method: its own, and the method's backbone."""
    return (
        *(f"{name}={json.dumps(value)}" for name, value in learner_backbone(recipe).items()),
        *settings_of_stage(place.settings, experiment, OF_BASE_LEARNER),
        f"benchmark={recipe.benchmark}",
        f"fold={experiment.fold}",
    )


def learner_of(
    experiment: Experiment, recipe: RowRecipe, place: Workplace
) -> BaseLearnerRecipe | None:
    """Return the recipe of the base learner of a row; None of a row that starts from none.

    Raises:
        FcpError: no such recipe, or one of another stage.
    """
    if not isinstance(recipe, MethodRecipe) or recipe.base_learner_recipe is None:
        return None
    return learner_recipe(experiment, recipe, place)


def learner_recipe(
    experiment: Experiment, recipe: MethodRecipe, place: Workplace
) -> BaseLearnerRecipe:
    """Return the recipe of the base learner of a method.

    Raises:
        FcpError: no such recipe, or one of another stage.
    """
    settings = learner_settings(experiment, recipe, place)
    return _load(learner_file(recipe, place), settings, BaseLearnerRecipe, "a base learner")


def _load(file: Path, settings: tuple[str, ...], kind: type[StageRecipe], name: str) -> StageRecipe:
    found = load_recipe(file, settings)
    if not isinstance(found, kind):
        raise FcpError(f"{file}: expected the recipe of {name}")
    return found


def trains_backbone(
    recipe: RowRecipe | BaseLearnerRecipe, learner: BaseLearnerRecipe | None = None
) -> bool:
    """Whether a training changes the backbone, or starts from a base learner that did.

    Args:
        recipe: Recipe of a row or of a base learner.
        learner: Recipe of the base learner that it starts from; None if it starts from none.
    """
    if isinstance(recipe, FreeRecipe) or trains_nothing(recipe):
        return False
    if isinstance(recipe, HeadRecipe | BaseLearnerRecipe):
        return bool(recipe.train_backbone)
    return recipe.method in TRAINS_BACKBONE or (learner is not None and learner.train_backbone)


def has_stored_features(
    recipe: RowRecipe | BaseLearnerRecipe, learner: BaseLearnerRecipe | None = None
) -> bool:
    """Whether a training takes features from the store, since it never changes them.

    Args:
        recipe: Recipe of a row or of a base learner.
        learner: Recipe of the base learner that it starts from; None if it starts from none.
    """
    if isinstance(recipe, FreeRecipe):
        return False
    return recipe.views == "whole" and not trains_backbone(recipe, learner)


def store_of(
    recipe: RowRecipe | BaseLearnerRecipe,
    place: Workplace,
    learner: BaseLearnerRecipe | None = None,
) -> FeatureCache | None:
    """Return the store of features; None for a recipe that changes them at each step.

    Args:
        recipe: Recipe of a row or of a base learner.
        place: Folders and settings of the reproduction.
        learner: Recipe of the base learner that it starts from; None if it starts from none.
    """
    return place.store if has_stored_features(recipe, learner) else None
