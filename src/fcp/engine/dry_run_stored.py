"""Cost of a training on stored features: encoders run once a picture, the rest at each step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import nn

from fcp.engine.dry_run import LARGE, Cost, built, measure
from fcp.engine.dry_run_method import learner_dry_stage, method_dry_stage
from fcp.engine.loop import Stage
from fcp.engine.method_recipe import BaseLearnerRecipe, MethodRecipe
from fcp.engine.optim import OptimConfig
from fcp.engine.recipe import HeadRecipe
from fcp.engine.tracking import Report
from fcp.engine.train_base_learner import learner_source, learner_stage
from fcp.engine.train_head import episode_source, frozen_stage
from fcp.engine.train_method import method_source, method_stage
from fcp.features.cache import FeatureCache
from fcp.models.trained import LoadedTrained

_STEPS = 3
_ROOM = 8 << 30  # bytes of features, of which a few steps need little

Frozen = HeadRecipe | MethodRecipe | BaseLearnerRecipe


@dataclass(frozen=True)
class StoredCost:
    """Cost of a training whose features are stored.

    Attributes:
        cost: Cost with all features in the store.
        encoding: Duration of encoding an episode's pictures, s, once for each.
    """

    cost: Cost
    encoding: float


def stored_cost(recipe: Frozen, data_root: Path, report: Report) -> StoredCost:
    """Measure a few steps without features in the store, then the same steps with them.

    On a CPU, a model of more than 200 M parameters is measured with one sample a step.

    Args:
        recipe: Recipe whose features do not change.
        data_root: Folder of the data sets.
        report: Function that takes each line about how it is measured.

    Raises:
        FcpError: data are missing, or the features change at each step.
    """
    model, stage_on = _parts(recipe, data_root, report)
    size, batch = sum(p.numel() for p in model.parameters()), recipe.optim.batch
    share = 1 if size > LARGE and not torch.cuda.is_available() else batch
    optim = replace(recipe.optim, batch=share, accumulate=1, iterations=_STEPS, epochs=None)
    with TemporaryDirectory() as folder:
        stage = stage_on(optim, FeatureCache(Path(folder), _ROOM))
        cold = measure(stage, optim, report)
        warm = measure(stage, optim, report)
    cost = replace(
        warm,
        activation_bytes=warm.activation_bytes * batch // share // recipe.optim.accumulate,
        steps=recipe.optim.steps(stage.batches.samples_per_epoch),
        seconds=warm.seconds * batch / share,
        share=None if share == batch else share,
    )
    return StoredCost(cost, max(0.0, cold.seconds - warm.seconds) / share)


def _parts(
    recipe: Frozen, data_root: Path, report: Report
) -> tuple[nn.Module, Callable[[OptimConfig, FeatureCache], Stage]]:
    """Return the model, and what makes its stage of a schedule and a store."""
    if isinstance(recipe, HeadRecipe):
        model = built(recipe, report)

        def of_head(optim: OptimConfig, store: FeatureCache) -> Stage:
            own = replace(recipe, optim=optim)
            return frozen_stage(own, model, episode_source(own, data_root), store)

        return model, of_head
    if isinstance(recipe, BaseLearnerRecipe):
        return _learner_parts(recipe, data_root, report)
    dry, note = method_dry_stage(recipe, data_root)
    report(note)
    start = LoadedTrained(dry.model, recipe.method, recipe.options, recipe.image_size)

    def of_method(optim: OptimConfig, store: FeatureCache) -> Stage:
        own = replace(recipe, optim=optim)
        return method_stage(own, start, method_source(own, data_root), store)

    return start.model, of_method


def _learner_parts(
    recipe: BaseLearnerRecipe, data_root: Path, report: Report
) -> tuple[nn.Module, Callable[[OptimConfig, FeatureCache], Stage]]:
    dry, note = learner_dry_stage(recipe, data_root)
    report(note)

    def of_learner(optim: OptimConfig, store: FeatureCache) -> Stage:
        own = replace(recipe, optim=optim)
        return learner_stage(own, dry.model, learner_source(own, data_root), store)

    return dry.model, of_learner
