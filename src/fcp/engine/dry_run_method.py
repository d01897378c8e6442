"""`fcp train --dry-run` for the compared methods and base learners."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from fcp.data.benchmarks import BENCHMARKS, open_benchmark
from fcp.engine.episode_batches import EpisodeSource
from fcp.engine.loop import Batches
from fcp.engine.method_batches import LabelBatches, MethodBatches
from fcp.engine.method_recipe import BaseLearnerRecipe, MethodRecipe
from fcp.engine.method_stage import BaseLearnerStage, MethodStage
from fcp.engine.share import Share
from fcp.engine.train_base_learner import (
    base_names,
    learner_recipe,
    learner_source,
    open_base_learner,
    require_pairs,
    starting_learner,
)
from fcp.engine.train_method import method_source, starting_method
from fcp.errors import FcpError
from fcp.method.stages import BackboneOption
from fcp.models.trained import LoadedLearner

_CLASSES = 15  # base classes where no data say how many


def method_dry_stage(recipe: MethodRecipe, data_root: Path) -> tuple[MethodStage, str]:
    """Make the stage of a method with random weights, on random pictures where data are missing.

    A base learner that is not there yet is one with random weights of the same size.

    Returns:
        The stage, and a line on what is measured.

    Raises:
        FcpError: a bad recipe, a base learner that does not fit it, or ``optim.epochs`` without
            data.
    """
    source, note = _source(recipe, data_root, lambda: method_source(recipe, data_root))
    names = [] if source is None else base_names(source.data, recipe.fold)
    learner = _learner(recipe, names)
    start = starting_method(replace(recipe, backbone_weights=None), learner)
    if source is None:
        return MethodStage(start.model, RandomMethodBatches(recipe)), note
    base = source.data.base(recipe.fold) if start.model.needs_base_learner else ()
    batches = MethodBatches(source, views=recipe.views, base_classes=base)
    return MethodStage(start.model, batches), note


def learner_dry_stage(recipe: BaseLearnerRecipe, data_root: Path) -> tuple[BaseLearnerStage, str]:
    """Make the stage of a base learner; see ``method_dry_stage``."""
    require_pairs(recipe.optim)
    source, note = _source(recipe, data_root, lambda: learner_source(recipe, data_root))
    base = range(1, _CLASSES + 1) if source is None else source.data.base(recipe.fold)
    model = starting_learner(replace(recipe, backbone_weights=None), len(base))
    batches: Batches = RandomMethodBatches(recipe)
    if source is not None:
        batches = LabelBatches(source, views=recipe.views, base_classes=base)
    return BaseLearnerStage(model, batches, train_backbone=recipe.train_backbone), note


class RandomMethodBatches:
    """Noise with the shapes of ``MethodBatches`` and ``LabelBatches`` together."""

    def __init__(self, recipe: MethodRecipe | BaseLearnerRecipe) -> None:
        self._batch, self._size = recipe.optim.batch, recipe.image_size
        self.samples_per_epoch = self._batch

    def __getitem__(self, share: Share) -> dict[str, Tensor]:
        """Draw one part of a step's batch."""
        B, S = len(share.positions(self._batch)), self._size
        random = torch.Generator().manual_seed(share.step)
        images = torch.rand(2, B, 3, S, S, generator=random)
        masks = torch.zeros(B, S, S)
        masks[:, S // 4 : S // 2, S // 4 : S // 2] = 1
        return {
            "support_images": images[0][:, None],
            "support_masks": masks[:, None],
            "query_images": images[1],
            "query_masks": masks,
            "base_labels": masks,
            "classes": torch.ones(B, dtype=torch.long),
            "images": images[1],
            "labels": masks,
        }


def _source(
    recipe: MethodRecipe | BaseLearnerRecipe,
    data_root: Path,
    make: Callable[[], EpisodeSource],
) -> tuple[EpisodeSource | None, str]:
    """Return the data of a recipe, None where they are missing, and a line on what is measured."""
    try:
        open_benchmark(recipe.benchmark, data_root)
    except FcpError as error:
        if recipe.benchmark not in BENCHMARKS:
            raise
        if recipe.optim.epochs is not None:
            raise FcpError(f"{error}; without data, give optim.iterations for --dry-run") from error
        return None, f"measured with random weights on random pictures ({error})"
    return make(), "measured with random weights"


def _learner(recipe: MethodRecipe, names: Sequence[str]) -> LoadedLearner | None:
    """Return the base learner of a recipe, or one of the same size, for base classes by name."""
    if recipe.base_learner is not None and Path(recipe.base_learner).is_dir():
        return open_base_learner(recipe, Path(recipe.base_learner), names)
    if recipe.base_learner_recipe is None:
        return None
    own = replace(learner_recipe(recipe), backbone_weights=None)
    backbone: BackboneOption = own.backbone
    return LoadedLearner(starting_learner(own, len(names) or _CLASSES).eval(), backbone)
