"""Settings of a reproduction: which of the given ones reach which cell.

``KEY=VALUE`` reaches every recipe that knows the key; ``CELL.KEY=VALUE`` those of a cell alone,
such as ``pascal5i-resnet50.backbone_weights=FILE``. ``backbone_weights`` is the place of the
backbone's weights in every recipe, wherever a recipe keeps it; ``model.backbone.…``,
``model.segmenter.…`` and ``model.image_size`` are the encoders of all rows alike.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

from fcp.config import BackboneConfig
from fcp.encoders import build_backbone
from fcp.engine.method_recipe import FreeRecipe, MethodRecipe
from fcp.engine.recipe import HeadRecipe, load_recipe
from fcp.errors import FcpError
from fcp.method.trained import build_trained
from fcp.reproduce.plan import ROWS, Experiment, choose
from fcp.system.documents import load_yaml

OF_PROMPTABLE = "promptable."
OF_BASE_LEARNER = "base_learner."
_WEIGHTS = "backbone_weights"
# Settings that name places of weights, on which no result depends.
PLACES = (_WEIGHTS, "segmenter_folder", "base_learner")
# No key of a recipe has a hyphen or a slash in its first part; every cell has one.
_SCOPED = re.compile(r"(?P<cell>[^=.]*[-/][^=.]*)\.(?P<setting>.*)", re.DOTALL)

TrainedRecipe = HeadRecipe | MethodRecipe
RowRecipe = TrainedRecipe | FreeRecipe
_STAGES: dict[str, type[RowRecipe]] = {
    "head": HeadRecipe,
    "method": MethodRecipe,
    "free": FreeRecipe,
}
# Where recipes without a ``model`` keep its encoders; a method has no promptable segmenter.
_ENCODERS = {
    "method": {"model.backbone": "options.backbone", "model.image_size": "image_size"},
    "free": {
        "model.backbone": "encoders.backbone",
        "model.segmenter": "encoders.segmenter",
        "model.image_size": "encoders.image_size",
    },
}


# Settings that each row gets from the target, so that given ones would do nothing → what to do.
_DECIDED = {
    "fold": "each row has its own; restrict them with --fold",
    "seed": "each row has its own; say how many with --seeds",
    "segmenter_folder": "each fold has its own stage; name the folder of all with --promptable",
    "base_learner": "each fold has its own, which is trained where it is missing",
    f"{OF_PROMPTABLE}exclude_folds": "the folds that a stage serves are left out",
    f"{OF_BASE_LEARNER}fold": "that of the row",
    f"{OF_BASE_LEARNER}benchmark": "that of the row",
}


def overrides_of(experiment: Experiment, file: Path, given: Sequence[str]) -> tuple[str, ...]:
    """Return the settings that replace those of an experiment's recipe.

    Args:
        experiment: Experiment with its row, fold and seed.
        file: Recipe of the experiment.
        given: Settings of the reproduction.

    Raises:
        FcpError: the recipe cannot be read.
    """
    recipe = load_yaml(file)
    reached = [setting for setting in given if _reaches(setting, experiment, recipe)]
    row = (*ROWS[experiment.row].settings, f"fold={experiment.fold}", f"seed={experiment.seed}")
    return (*(_placed(_bare(setting), recipe) for setting in reached), *row)


def settings_of_stage(given: Sequence[str], experiment: Experiment, stage: str) -> tuple[str, ...]:
    """Return the settings of a stage that is trained before, by their prefix.

    Args:
        given: Settings of the reproduction.
        experiment: Experiment that the stage serves.
        stage: ``OF_PROMPTABLE`` or ``OF_BASE_LEARNER``.
    """
    mine = [_bare(s) for s in given if _cell(s) is None or experiment.belongs_to(_cell(s) or "")]
    return tuple(s.removeprefix(stage) for s in mine if s.startswith(stage))


def refuse_unfit(wanted: Sequence[Experiment], recipes: Path, given: Sequence[str]) -> None:
    """Check all settings before any training begins.

    Args:
        wanted: All experiments of the target.
        recipes: Folder of the recipes.
        given: Settings of the reproduction.

    Raises:
        FcpError: a cell or key that nothing knows, a bad value, or weights of a backbone that do
            not fit a cell; the message names the cells.
    """
    for setting in given:
        cell = _cell(setting)
        if cell is not None:
            choose(wanted, cell)
        key = _bare(setting).partition("=")[0]
        if key in _DECIDED:
            raise FcpError(f"{key}: {_DECIDED[key]}")
    one_of_each = list({experiment.cell: experiment for experiment in reversed(wanted)}.values())
    found = {}
    for experiment in reversed(one_of_each):
        file = recipes / f"{experiment.recipe}.yaml"
        found[experiment.cell] = load_recipe(file, overrides_of(experiment, file, given))
    written = [load_yaml(recipes / f"{e.recipe}.yaml") for e in one_of_each]
    for setting in given:
        key = _bare(setting)
        if key.startswith((OF_PROMPTABLE, OF_BASE_LEARNER)):
            continue
        if not any(map(partial(_reaches, setting), one_of_each, written)):
            name = key.partition("=")[0]
            raise FcpError(f"{name}: no recipe of these cells knows this setting; check its name")
    if any(_bare(setting).startswith((f"{_WEIGHTS}=", "model.backbone.")) for setting in given):
        _refuse_weights({k: r for k, r in found.items() if isinstance(r, TrainedRecipe)})


def is_place(setting: str) -> bool:
    """Whether a setting says where weights lie, on which no result depends."""
    name = _bare(setting).partition("=")[0].rpartition(".")[2]
    return name in (*PLACES, "weights")


def _refuse_weights(recipes: dict[str, TrainedRecipe]) -> None:
    """Check that the files of weights on this machine fit the backbones that they are given to.

    Raises:
        FcpError: some do not; the message names the cells and the first reason.
    """
    known: dict[str, FcpError | None] = {}
    unfit: dict[str, tuple[str, FcpError]] = {}
    for cell, recipe in recipes.items():
        backbone, weights = _backbone_of(recipe)
        if weights is None or not Path(weights).expanduser().exists():
            continue  # a hub id, which is asked when it is needed
        if backbone not in known:
            known[backbone] = _trial(recipe, weights)
        error = known[backbone]
        if error is not None:
            unfit[cell] = (weights, error)
    if unfit:
        weights, error = next(iter(unfit.values()))
        raise FcpError(
            f"{weights}: does not fit {', '.join(unfit)} ({error}); name the cell that it is for, "
            f"as in {_fitting(list(recipes), list(unfit))}.{_WEIGHTS}=FILE"
        )


def _fitting(cells: Sequence[str], unfit: Sequence[str]) -> str:
    """Return an example of a cell for weights: the largest that they fit, if there is any."""
    whole = {cell.partition("/")[0] for cell in unfit}
    fit = [cell for cell in cells if cell not in unfit]
    settings = [cell.partition("/")[0] for cell in fit]
    return next((name for name in settings if name not in whole), (fit or [*unfit])[0])


def _backbone_of(recipe: TrainedRecipe) -> tuple[str, str | None]:
    """Return what decides the backbone of a recipe, as text, and the place of its weights."""
    if isinstance(recipe, MethodRecipe):
        kind = [recipe.method, recipe.options, recipe.backbone_weights]
        return repr(kind), recipe.backbone_weights
    part = recipe.model.backbone
    weights = part.weights or recipe.backbone_weights
    return repr([part.name, part.options, weights]), weights


def _trial(recipe: TrainedRecipe, weights: str) -> FcpError | None:
    """Build a recipe's backbone with weights; return the error if they do not fit."""
    try:
        if isinstance(recipe, MethodRecipe):
            build_trained(recipe.method, weights, **recipe.options)
        else:
            part = recipe.model.backbone
            build_backbone(BackboneConfig(part.name, weights, part.options))
    except FcpError as error:
        return error
    return None


def _cell(setting: str) -> str | None:
    found = _SCOPED.fullmatch(setting)
    return None if found is None else found["cell"]


def _bare(setting: str) -> str:
    found = _SCOPED.fullmatch(setting)
    return setting if found is None else found["setting"]


def _reaches(setting: str, experiment: Experiment, recipe: Mapping[str, Any]) -> bool:
    """Whether a setting is for an experiment, and of a kind that its recipe's file has."""
    cell, key = _cell(setting), _bare(setting)
    if key.startswith((OF_PROMPTABLE, OF_BASE_LEARNER)):
        return False
    if cell is not None:
        return experiment.belongs_to(cell)
    stage = _STAGES.get(str(recipe.get("stage")))
    name = _placed(key, recipe).partition("=")[0].partition(".")[0]
    return stage is None or name in {field.name for field in fields(stage)}


def _placed(setting: str, recipe: Mapping[str, Any]) -> str:
    """Return a setting of the encoders under the name that a recipe's file has for it."""
    name, _, value = setting.partition("=")
    if name == _WEIGHTS and "weights" in ((recipe.get("model") or {}).get("backbone") or {}):
        return f"model.backbone.weights={value}"
    for model, own in _ENCODERS.get(str(recipe.get("stage")), {}).items():
        if name == model or name.startswith(f"{model}."):
            return f"{own}{name.removeprefix(model)}={value}"
    return setting
