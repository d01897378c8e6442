"""`fcp train` for base learners, and where BAM and HDMNet find theirs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import zip_longest
from pathlib import Path

import torch

from fcp.data.benchmarks import open_benchmark
from fcp.data.dataset import FewShotDataset
from fcp.data.lists import write_lists
from fcp.encoders.hub import require_weights
from fcp.engine.checkpoints import CHECKPOINT_FILE
from fcp.engine.episode_batches import EpisodeSource, open_source
from fcp.engine.loop import fit
from fcp.engine.method_batches import LabelBatches
from fcp.engine.method_recipe import BaseLearnerRecipe, MethodRecipe, learner_backbone
from fcp.engine.method_stage import BaseLearnerStage
from fcp.engine.optim import OptimConfig
from fcp.engine.processes import hold_run, is_main, processes
from fcp.engine.recipe import find_recipe, load_recipe, refuse_other_recipe
from fcp.engine.tracking import Report, record_recipe
from fcp.engine.train_head import standardise
from fcp.errors import FcpError
from fcp.features.cache import FeatureCache
from fcp.features.frozen import Encoders, FeatureIndex, FrozenEncoders
from fcp.method.bam.base_learner import PSPNet
from fcp.method.stages import backbone_config, backbone_settings
from fcp.models.files import CONFIG_FILE, RECIPE_FILE
from fcp.models.trained import (
    LoadedLearner,
    build_learner,
    load_base_learner,
    save_base_learner,
)
from fcp.system.documents import load_json

LEARNERS = "base-learners"  # folder of the base learners, beside the runs that share them


def train_base_learner(
    recipe: BaseLearnerRecipe,
    *,
    data_root: Path,
    out: Path,
    resume: bool,
    report: Report,
    store: FeatureCache | None = None,
) -> None:
    """Train a base learner and make ``out`` its folder.

    Args:
        recipe: Recipe of the base learner.
        data_root: Folder of the data sets.
        out: Folder of checkpoint, log and learner.
        resume: Whether to go on from the checkpoint in ``out``.
        report: Function that takes each line of output.
        store: Store of frozen features; None for no store.

    Raises:
        FcpError: data or starting weights are missing, a store is given though the features
            change, or the loss is not finite.
    """
    source = learner_source(recipe, data_root)
    model = starting_learner(recipe, len(source.data.base(recipe.fold)))
    standardise(model.backbone, recipe.image_size, data_root)
    stage = learner_stage(recipe, model, source, store)
    record_recipe(out, recipe)
    fit(stage, recipe.optim, seed=recipe.seed, out=out, resume=resume, report=report)
    if is_main():
        dtype, names = getattr(torch, recipe.weights_dtype), base_names(source.data, recipe.fold)
        save_base_learner(model, recipe.backbone, out, dtype, names)
    processes().wait_for_everyone()
    report(f"base learner written to {out}")


def learner_source(recipe: BaseLearnerRecipe, data_root: Path) -> EpisodeSource:
    """List the data of a recipe.

    Raises:
        FcpError: data are missing.
    """
    return open_source(recipe, data_root, image_size=recipe.image_size, draw="query")


def base_names(data: FewShotDataset, fold: int | None) -> list[str]:
    """Return the names of a fold's base classes in the order of a base learner's labels."""
    return [data.classes[class_id] for class_id in data.base(fold)]


def starting_learner(recipe: BaseLearnerRecipe, classes: int) -> PSPNet:
    """Build the base learner of a recipe, fresh but for its backbone.

    Raises:
        FcpError: an unknown backbone, or weights that are missing or do not fit.
    """
    require_weights(recipe.backbone_weights, setting="backbone_weights")
    torch.manual_seed(recipe.seed)
    return build_learner(recipe.backbone, recipe.backbone_weights, classes, recipe.width)


def learner_stage(
    recipe: BaseLearnerRecipe, model: PSPNet, source: EpisodeSource, store: FeatureCache | None
) -> BaseLearnerStage:
    """Make a base learner ready to train, on stored features if a store is given.

    Raises:
        FcpError: a store is given though the features change at each step, or a part of a step is
            a single picture.
    """
    require_pairs(recipe.optim)
    base, views, trained = source.data.base(recipe.fold), recipe.views, recipe.train_backbone
    if store is None:
        batches = LabelBatches(source, views=views, base_classes=base)
        return BaseLearnerStage(model, batches, train_backbone=trained)
    may_store(views, features_change=trained)
    model.eval()
    encoders = Encoders(model.backbone, backbone_settings(model.backbone, recipe.backbone))
    index = FeatureIndex(encoders, store, recipe.optim.precision)
    batches = LabelBatches(source, views=views, base_classes=base, index=index)
    frozen = FrozenEncoders(encoders, index)
    return BaseLearnerStage(model, batches, train_backbone=False, encoders=frozen)


def require_pairs(optim: OptimConfig) -> None:
    """Refuse a batch of which a part is a single picture, which a batch norm cannot take.

    Raises:
        FcpError: the batch is too small for the processes and the accumulated parts.
    """
    parts = processes().num_processes * optim.accumulate
    if optim.batch < 2 * parts:
        raise FcpError(
            "optim.batch: the batch norms of a base learner need at least 2 pictures in each "
            f"part of a step, got {optim.batch} in {parts}"
        )


def may_store(views: str, *, features_change: bool) -> None:
    """Refuse a store of features that change at each step.

    Raises:
        FcpError: the views are not whole pictures, or training changes the features.
    """
    if views != "whole":
        raise FcpError(
            f"feature cache: of no use with views={views}, which changes the features at each "
            "step; leave the cache out"
        )
    if features_change:
        raise FcpError(
            "feature cache: of no use here, since training changes the backbone; leave it out"
        )


def find_base_learner(
    recipe: MethodRecipe,
    data_root: Path,
    out: Path,
    *,
    report: Report,
    store: FeatureCache | None = None,
) -> LoadedLearner | None:
    """Load the base learner that a recipe's method starts from; train it where it is missing.

    Args:
        recipe: Recipe of the method.
        data_root: Folder of the data sets.
        out: Folder of the method's run; learners that no recipe names a folder for are beside it.
        report: Function that takes each line of output.
        store: Store of frozen features, which a learner with a frozen backbone uses.

    Returns:
        The learner; None where the recipe names neither a folder nor a recipe.

    Raises:
        FcpError: no learner is there and no recipe says how to train one, one of another recipe was
            begun there, or it was trained on other classes or has another backbone.
    """
    if recipe.base_learner is None and recipe.base_learner_recipe is None:
        return None
    own = None if recipe.base_learner_recipe is None else learner_recipe(recipe)
    folder = _folder_of(recipe, own, data_root, out)
    if not (folder / CONFIG_FILE).exists():
        if own is None:
            raise FcpError(
                f"{folder}: no base learner; train one by a recipe of stage base_learner, or name "
                "such a recipe as base_learner_recipe"
            )
        report(f"base learner is missing: training {recipe.base_learner_recipe} into {folder}")
        with hold_run(folder):
            resume = (folder / CHECKPOINT_FILE).exists()
            if resume and (folder / RECIPE_FILE).exists():
                refuse_other_recipe(folder / RECIPE_FILE, own)
            train_base_learner(
                own,
                data_root=data_root,
                out=folder,
                resume=resume,
                report=report,
                store=None if own.train_backbone or own.views != "whole" else store,
            )
    names = base_names(open_benchmark(recipe.benchmark, data_root), recipe.fold)
    return open_base_learner(recipe, folder, names)


def open_base_learner(recipe: MethodRecipe, folder: Path, names: Sequence[str]) -> LoadedLearner:
    """Load the base learner of a folder for a recipe's method.

    Args:
        recipe: Recipe of the method.
        folder: Folder of the learner.
        names: Names of the base classes that it should know, in the order of its labels; empty
            where no data say them.

    Raises:
        FcpError: it cannot be read, or it was trained on other classes or has another backbone.
    """
    _refuse_other_classes(recipe, folder)
    learner = load_base_learner(folder)
    _refuse_other_backbone(recipe, learner, folder)
    if names and learner.class_names:
        _refuse_other_names(learner.class_names, names, folder)
    return learner


def learner_recipe(recipe: MethodRecipe) -> BaseLearnerRecipe:
    """Return the recipe of a method's base learner, on the method's benchmark, fold and backbone.

    Raises:
        FcpError: no such recipe, or one of another stage.
    """
    name = str(recipe.base_learner_recipe)
    found = load_recipe(find_recipe(name))
    if not isinstance(found, BaseLearnerRecipe):
        raise FcpError(f"base_learner_recipe: {name} is of stage {found.stage}, not base_learner")
    shared = learner_backbone(recipe)
    return replace(found, benchmark=recipe.benchmark, fold=recipe.fold, **shared)


def _folder_of(
    recipe: MethodRecipe, own: BaseLearnerRecipe | None, data_root: Path, out: Path
) -> Path:
    """Return where a method's base learner is kept, by recipe and data if no folder is named."""
    if recipe.base_learner is not None or own is None:
        return Path(str(recipe.base_learner))
    source = learner_source(own, data_root)
    names = base_names(source.data, own.fold)
    settings = json.dumps({**asdict(own), "class_names": names}, sort_keys=True)
    shown = settings.encode() + write_lists(source.lists)
    digest = hashlib.sha256(shown).hexdigest()[:8]
    name = Path(str(recipe.base_learner_recipe)).stem
    fold = "all" if recipe.fold is None else f"fold{recipe.fold}"
    return out.parent / LEARNERS / f"{name}-{recipe.benchmark}-{fold}-{digest}"


def _refuse_other_classes(recipe: MethodRecipe, folder: Path) -> None:
    """Refuse a learner that may have seen classes that are novel for the method."""
    file = folder / RECIPE_FILE
    if not file.exists():
        return
    trained = load_json(file)
    for name in ("benchmark", "fold"):
        if trained.get(name) != getattr(recipe, name):
            raise FcpError(
                f"{folder}: its base learner was trained with {name}={trained.get(name)}, not "
                f"{getattr(recipe, name)}; name another base_learner"
            )


def _refuse_other_backbone(recipe: MethodRecipe, learner: LoadedLearner, folder: Path) -> None:
    """Refuse settings of the backbone that a learner, which brings its own, would override."""
    wanted = learner_backbone(recipe)
    option = wanted.get("backbone")
    own = backbone_config(learner.backbone, None)
    if option is not None and backbone_config(option, None) != own:
        raise FcpError(
            f"options.backbone: {option} is not the backbone of the base learner {folder}, which "
            f"is {learner.backbone}; set options.backbone to that, or name another base_learner"
        )
    weights = wanted.get("backbone_weights")
    started = (learner.recipe or {}).get("backbone_weights")
    if weights is not None and weights != started:
        raise FcpError(
            f"backbone_weights: {weights} would do nothing, since the base learner {folder} brings "
            "its own weights, trained from others or unknown ones; set backbone_weights=null, or "
            "name another base_learner"
        )


def _refuse_other_names(known: Sequence[str], names: Sequence[str], folder: Path) -> None:
    """Refuse a learner of other classes than the data's, such as those of another data root."""
    pairs = zip_longest(known, names, fillvalue="none")
    differing = [f"{name} was {learnt}" for learnt, name in pairs if learnt != name]
    if differing:
        raise FcpError(
            f"{folder}: its base learner was trained on other classes than those of --data-root "
            f"({differing[0]}); name another base_learner"
        )
