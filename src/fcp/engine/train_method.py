"""`fcp train` for the compared methods: episodes in, a model folder out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from fcp.data.dataset import FewShotDataset
from fcp.encoders.hub import require_weights
from fcp.engine.episode_batches import EpisodeSource, open_source
from fcp.engine.holdout import Holdout, base_class_holdout
from fcp.engine.loop import fit
from fcp.engine.method_batches import MethodBatches
from fcp.engine.method_recipe import MethodRecipe
from fcp.engine.method_stage import MethodStage
from fcp.engine.processes import is_main
from fcp.engine.recipe import trains_nothing
from fcp.engine.tracking import Report, record_recipe
from fcp.engine.train_base_learner import find_base_learner, may_store
from fcp.engine.train_head import standardise
from fcp.errors import FcpError
from fcp.evaluation.method_predictor import MethodPredictor, encoders_of
from fcp.evaluation.seen import UNKNOWN_TRAINING
from fcp.features.cache import FeatureCache
from fcp.features.frozen import FeatureIndex, FrozenEncoders, open_encoders
from fcp.method.trained import AnyMethod, build_trained
from fcp.models.files import BEST_FOLDER
from fcp.models.trained import LoadedLearner, LoadedTrained, save_trained


def train_method(
    recipe: MethodRecipe,
    *,
    data_root: Path,
    out: Path,
    resume: bool,
    report: Report,
    store: FeatureCache | None = None,
) -> None:
    """Train a method and make ``out`` a model's folder; one that trains nothing stays as it starts.

    Args:
        recipe: Recipe of the method.
        data_root: Folder of the data sets.
        out: Folder of checkpoint, log and model; a base learner that is trained first goes beside
            it.
        resume: Whether to go on from the checkpoint in ``out``.
        report: Function that takes each line of output.
        store: Store of frozen features, so that the backbone sees each picture once in all; None
            for no store.

    Raises:
        FcpError: data or starting weights are missing, a store is given though the features
            change, or the loss is not finite.
    """
    source = method_source(recipe, data_root)
    learner = find_base_learner(recipe, data_root, out, report=report, store=store)
    start = starting_method(recipe, learner)
    if learner is None:
        standardise(start.model.backbone, recipe.image_size, data_root)
    stage = None if trains_nothing(recipe) else method_stage(recipe, start, source, store)
    record_recipe(out, recipe, None if learner is None else learner.recipe or UNKNOWN_TRAINING)
    if stage is None:
        report(f"nothing to train: {recipe.method} has no weights beside its frozen backbone's")
    else:
        fit(
            stage,
            recipe.optim,
            seed=recipe.seed,
            out=out,
            resume=resume,
            report=report,
            holdout=method_holdout(recipe, start, source.data, out, store, report),
        )
    if is_main():
        _save(start, out, recipe)
    report(f"model written to {out}")


def method_source(recipe: MethodRecipe, data_root: Path) -> EpisodeSource:
    """List the data of a recipe.

    Raises:
        FcpError: data are missing.
    """
    return open_source(recipe, data_root, image_size=recipe.image_size, draw=recipe.draw)


def starting_method(recipe: MethodRecipe, learner: LoadedLearner | None) -> LoadedTrained:
    """Build the method of a recipe, fresh but for its backbone.

    Args:
        recipe: Recipe of the method.
        learner: Base learner whose weights and backbone the method takes over; None for none.

    Raises:
        FcpError: an unknown method or option, or weights that are missing or do not fit.
    """
    torch.manual_seed(recipe.seed)
    options: dict[str, Any] = dict(recipe.options)
    weights = recipe.backbone_weights
    if learner is not None:
        head = learner.model.learner
        options |= {"backbone": learner.backbone, "base_classes": head.classes}
        options["learner_width"], weights = head.width, None
    require_weights(weights, setting="backbone_weights")
    model = build_trained(recipe.method, weights, **options)
    if learner is None and model.needs_base_learner:
        raise FcpError(
            f"base_learner: {recipe.method} starts from one; name its folder, or name its recipe "
            "as base_learner_recipe"
        )
    if learner is not None:
        model.load_state_dict({**model.state_dict(), **learner.model.state_dict()})
    return LoadedTrained(model, recipe.method, options, recipe.image_size)


def method_stage(
    recipe: MethodRecipe, start: LoadedTrained, source: EpisodeSource, store: FeatureCache | None
) -> MethodStage:
    """Make a method ready to train, on stored features if a store is given.

    Raises:
        FcpError: a store is given though the features change at each step, or a base learner of
            another number of classes.
    """
    base = source.data.base(recipe.fold) if start.model.needs_base_learner else ()
    _refuse_other_learner(recipe, start, len(base))
    if store is None:
        batches = MethodBatches(source, views=recipe.views, base_classes=base)
        return MethodStage(start.model, batches)
    may_store(recipe.views, features_change=features_change(start.model))
    encoders = encoders_of(start)
    index = FeatureIndex(encoders, store, recipe.optim.precision)
    batches = MethodBatches(source, views=recipe.views, base_classes=base, index=index)
    return MethodStage(start.model, batches, FrozenEncoders(encoders, index))


def _refuse_other_learner(recipe: MethodRecipe, start: LoadedTrained, base: int) -> None:
    """Refuse a base learner whose labels are not those of the recipe's base classes."""
    known = start.options.get("base_classes", base)
    if base and known != base:
        raise FcpError(
            f"base_learner: it knows {known} classes, and {recipe.benchmark} has {base} base "
            f"classes with fold={recipe.fold}; name the learner of this fold"
        )


def features_change(model: AnyMethod) -> bool:
    """Return whether training changes the backbone's features; the model's mode stays."""
    before = model.training
    drifts = model.train().backbone.training
    model.train(before)
    return drifts or any(parameter.requires_grad for parameter in model.backbone.parameters())


def method_holdout(
    recipe: MethodRecipe,
    start: LoadedTrained,
    data: FewShotDataset,
    out: Path,
    store: FeatureCache | None,
    report: Report,
) -> Holdout | None:
    """Make the scoring by 1-shot mIoU on base classes; the best model goes to ``out/best``.

    Raises:
        FcpError: no two hold-out pictures show the same class.
    """
    if not recipe.holdout_every:
        return None
    size = recipe.image_size
    encoders = open_encoders(encoders_of(start), store, recipe.optim.precision)
    return base_class_holdout(
        recipe,
        data,
        image_size=size,
        predictor=lambda: MethodPredictor(start.model, image_size=size, encoders=encoders),
        save=lambda: _save(start, out / BEST_FOLDER, recipe),
        report=report,
    )


def _save(start: LoadedTrained, folder: Path, recipe: MethodRecipe) -> None:
    dtype = getattr(torch, recipe.weights_dtype)
    save_trained(start.model, start.method, start.options, start.image_size, folder, dtype)
