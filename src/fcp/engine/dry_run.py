"""`fcp train --dry-run`: the cost of a recipe, measured on a few of its steps."""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from fcp.data.benchmarks import BENCHMARKS, open_benchmark
from fcp.data.region_store import RegionPicture
from fcp.data.regions import build_region_tree
from fcp.engine.dry_run_method import learner_dry_stage, method_dry_stage
from fcp.engine.episodic import EpisodicStage
from fcp.engine.loop import Batches, Stage, Trainer
from fcp.engine.method_recipe import BaseLearnerRecipe, MethodRecipe
from fcp.engine.optim import OptimConfig
from fcp.engine.processes import is_main
from fcp.engine.promptable import PromptableStage
from fcp.engine.recipe import HeadRecipe, SegmenterRecipe, load_recipe
from fcp.engine.share import Share
from fcp.engine.tracking import Report
from fcp.engine.train_head import (
    episode_batches,
    episode_source,
    head_stage,
    region_pictures,
    starting_model,
)
from fcp.engine.train_segmenter import region_sources, segmenter_stage, starting_segmenter
from fcp.errors import FcpError

_MEASURED = 5  # steps, after a first one that is slower
_MOMENTS = {"adamw": 2, "sgd": 1}  # for each parameter, in the precision of the parameter


def dry_run(recipe: Path, *, overrides: tuple[str, ...], data_root: Path, report: Report) -> None:
    """Report parameters, memory, steps and time of a recipe; write nothing.

    The head's steps run on its own data, or on random pictures where the data are missing. The
    segmenter's steps always run on random pictures, since its regions take long to prepare.

    Args:
        recipe: YAML file.
        overrides: Settings ``key=value`` that win over the file's.
        data_root: Folder of the data sets.
        report: Function that takes each line of output.

    Raises:
        FcpError: a bad recipe, missing starting weights, or ``optim.epochs`` without data.
    """
    loaded = load_recipe(recipe, overrides)
    note: str | None
    stage: Stage
    if isinstance(loaded, SegmenterRecipe):
        stage, note = _segmenter(loaded, data_root)
    elif isinstance(loaded, MethodRecipe):
        stage, note = method_dry_stage(loaded, data_root)
    elif isinstance(loaded, BaseLearnerRecipe):
        stage, note = learner_dry_stage(loaded, data_root)
    else:
        stage, note = _head(loaded, data_root)
    lines = [*([note] if note else []), *measure(stage, loaded.optim)]
    if is_main():
        for line in lines:
            report(line)


def measure(stage: Stage, optim: OptimConfig) -> list[str]:
    """Run a few steps and return their cost, line by line."""
    trainer = Trainer(stage, optim)
    kept: dict[int, int] = {}
    batches, seconds = trainer.load(0), []
    for number in range(min(1 + _MEASURED, trainer.steps)):
        started = time.monotonic()
        micro = next(batches)
        if number == 0:
            with _saved_for_backward(stage.model, kept):
                trainer.step(number, micro)
        else:
            trainer.step(number, micro)
        seconds.append(time.monotonic() - started)
    trained = _bytes(p for p in stage.model.parameters() if p.requires_grad)
    step = statistics.median(seconds[1:] or seconds)
    total = timedelta(seconds=round(step * trainer.steps))
    device = trainer.accelerator.device
    return [
        _count(stage.model),
        f"gradients {_megabytes(trained)}, optimizer {_megabytes(_MOMENTS[optim.name] * trained)}",
        f"activations {_megabytes(sum(kept.values()) // optim.accumulate)} for the backward pass",
        f"peak memory {_megabytes(_peak(device))} of one process on {device.type}",
        f"{trainer.steps} steps, {step:.2f} s each, {total} in all",
    ]


@contextmanager
def _saved_for_backward(model: nn.Module, kept: dict[int, int]) -> Iterator[None]:
    """Count the bytes of each storage that autograd keeps, without those of parameters."""
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield


def _peak(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _count(model: nn.Module) -> str:
    sizes = {True: 0, False: 0}
    for parameter in model.parameters():
        sizes[parameter.requires_grad] += parameter.numel()
    memory = _megabytes(_bytes(model.parameters()))
    return f"{sizes[True]:,} trainable and {sizes[False]:,} frozen parameters, {memory}"


def _bytes(parameters: Iterator[nn.Parameter]) -> int:
    return sum(p.numel() * p.element_size() for p in parameters)


def _megabytes(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"


class _RandomEpisodes:
    """Noise with the shapes of ``EpisodeBatches``."""

    def __init__(self, recipe: HeadRecipe) -> None:
        self._batch, self._size = recipe.optim.batch, recipe.model.image_size

    @property
    def samples_per_epoch(self) -> int:
        return self._batch

    def __getitem__(self, share: Share) -> dict[str, Tensor]:
        B, S = len(share.positions(self._batch)), self._size
        random = torch.Generator().manual_seed(share.step)
        return {
            "support_images": torch.rand(B, 1, 3, S, S, generator=random),
            "support_masks": torch.ones(B, 1, S, S),
            "query_images": torch.rand(B, 3, S, S, generator=random),
            "query_masks": torch.ones(B, S, S),
        }


def _head(recipe: HeadRecipe, data_root: Path) -> tuple[EpisodicStage, str | None]:
    missing = _missing_data(recipe, data_root)
    batches: Batches
    if missing is None:
        source = episode_source(recipe, data_root)
        batches, note = episode_batches(recipe, source, data_root), None
    elif recipe.optim.epochs is None:
        batches, note = _RandomEpisodes(recipe), f"measured on random pictures ({missing})"
    else:
        raise FcpError(f"{missing}; without data, give optim.iterations for --dry-run")
    return head_stage(recipe, starting_model(recipe), batches), note


def _missing_data(recipe: HeadRecipe, data_root: Path) -> FcpError | None:
    """Return the error that reports missing data of the head; None where all are there.

    Raises:
        FcpError: no such benchmark.
    """
    try:
        open_benchmark(recipe.benchmark, data_root)
        if recipe.region_share:
            region_pictures(data_root)
    except FcpError as error:
        if recipe.benchmark not in BENCHMARKS:
            raise
        return error
    return None


def _segmenter(recipe: SegmenterRecipe, data_root: Path) -> tuple[PromptableStage, str | None]:
    stage = segmenter_stage(recipe, starting_segmenter(recipe), [_random_picture()])
    if recipe.optim.epochs is not None:
        sources = region_sources(data_root, recipe.exclude_folds, objects=recipe.objects)
        stage.batches.samples_per_epoch = len(sources)
    return stage, "measured on random pictures"


def _random_picture() -> RegionPicture:
    """Return noise with four regions."""
    labels = np.zeros((96, 128), np.uint8)
    labels[20:60, 20:60], labels[30:90, 70:120], labels[70:, :50] = 1, 2, 3
    noise = np.random.default_rng(0).integers(0, 60, (96, 128, 3))
    image = (labels[..., None] * 60 + noise).astype(np.uint8)
    tree = build_region_tree(image, np.zeros((1, 48, 64), np.float32))
    return RegionPicture(image, tree, labels[None], background=())
