"""Cost of a training on stored features: encoders run once a picture, the rest at each step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from fcp.engine.dry_run import LARGE, Cost, built, measure
from fcp.engine.dry_run_method import method_dry_stage
from fcp.engine.loop import Stage
from fcp.engine.method_recipe import MethodRecipe
from fcp.engine.recipe import HeadRecipe
from fcp.engine.tracking import Report
from fcp.engine.train_head import episode_source, frozen_stage
from fcp.engine.train_method import method_source, method_stage
from fcp.features.cache import FeatureCache
from fcp.method.fcp.model import FCP
from fcp.method.trained import AnyMethod
from fcp.models.trained import LoadedTrained

_STEPS = 3
_ROOM = 8 << 30  # bytes of features, of which a few steps need little


@dataclass(frozen=True)
class StoredCost:
    """Cost of a training whose features are stored.

    Attributes:
        cost: Cost with all features in the store.
        encoding: Duration of encoding an episode's pictures, s, once for each.
    """

    cost: Cost
    encoding: float


def stored_cost(recipe: HeadRecipe | MethodRecipe, data_root: Path, report: Report) -> StoredCost:
    """Measure a few steps without features in the store, then the same steps with them.

    On a CPU, a model of more than 200 M parameters is measured with one sample a step.

    Args:
        recipe: Recipe whose features do not change.
        data_root: Folder of the data sets.
        report: Function that takes each line about how it is measured.

    Raises:
        FcpError: data are missing, or the features change at each step.
    """
    model = _built(recipe, data_root, report)
    size, batch = sum(p.numel() for p in model.parameters()), recipe.optim.batch
    share = 1 if size > LARGE and not torch.cuda.is_available() else batch
    optim = replace(recipe.optim, batch=share, accumulate=1, iterations=_STEPS, epochs=None)
    with TemporaryDirectory() as folder:
        store = FeatureCache(Path(folder), _ROOM)
        stage, samples = _stage(replace(recipe, optim=optim), model, data_root, store)
        cold = measure(stage, optim, report)
        warm = measure(stage, optim, report)
    cost = replace(
        warm,
        activation_bytes=warm.activation_bytes * batch // share // recipe.optim.accumulate,
        steps=recipe.optim.steps(samples),
        seconds=warm.seconds * batch / share,
        share=None if share == batch else share,
    )
    return StoredCost(cost, max(0.0, cold.seconds - warm.seconds) / share)


def _built(recipe: HeadRecipe | MethodRecipe, data_root: Path, report: Report) -> FCP | AnyMethod:
    if isinstance(recipe, HeadRecipe):
        return built(recipe, report)
    stage, note = method_dry_stage(recipe, data_root)
    report(note)
    return stage.model


def _stage(
    recipe: HeadRecipe | MethodRecipe, model: FCP | AnyMethod, data_root: Path, store: FeatureCache
) -> tuple[Stage, int]:
    """Return the stage, and the number of samples of an epoch."""
    stage: Stage
    if isinstance(recipe, MethodRecipe):
        assert not isinstance(model, FCP)
        start = LoadedTrained(model, recipe.method, recipe.options, recipe.image_size)
        stage = method_stage(recipe, start, method_source(recipe, data_root), store)
    else:
        assert isinstance(model, FCP)
        stage = frozen_stage(recipe, model, episode_source(recipe, data_root), store)
    return stage, stage.batches.samples_per_epoch
