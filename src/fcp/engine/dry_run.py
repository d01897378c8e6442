"""`fcp train --dry-run`: the cost of a recipe, measured on a few of its steps."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from fcp.data.benchmarks import BENCHMARKS, open_benchmark
from fcp.data.region_store import RegionPicture
from fcp.data.regions import build_region_tree
from fcp.encoders.places import is_here
from fcp.encoders.tiny import TinySegmenter
from fcp.engine.dry_run_method import learner_dry_stage, method_dry_stage
from fcp.engine.dry_run_mixed import mixed_stage
from fcp.engine.episodic import EpisodicStage
from fcp.engine.loop import Stage, Trainer
from fcp.engine.method_recipe import BaseLearnerRecipe, FreeRecipe, MethodRecipe
from fcp.engine.optim import OptimConfig
from fcp.engine.precision import warn_of_slow_bf16
from fcp.engine.processes import is_main
from fcp.engine.promptable import PromptableStage
from fcp.engine.random_weights import large_parts, without_missing
from fcp.engine.recipe import (
    HeadRecipe,
    SegmenterRecipe,
    TrainingRecipe,
    load_recipe,
    refuse_idle_settings,
    trains_nothing,
)
from fcp.engine.share import Share
from fcp.engine.tracking import Report, say_nothing
from fcp.engine.train_head import (
    episode_batches,
    episode_source,
    head_stage,
    region_pictures,
    require_novel,
    starting_model,
)
from fcp.engine.train_segmenter import (
    region_sources,
    require_unseen_start,
    segmenter_stage,
    starting_segmenter,
)
from fcp.errors import FcpError
from fcp.method.fcp.model import FCP
from fcp.system.memory import peak_memory
from fcp.system.words import counted

_MEASURED = 5  # steps, after a first one that is slower
SLOW = 10  # s of a step that is reported as it ends
PATIENCE = 120  # s of steps after which no further one is begun
LARGE = 200_000_000  # parameters
_MOMENTS = {"adamw": 2, "sgd": 1}  # for each parameter, in the precision of the parameter


@dataclass(frozen=True)
class Cost:
    """Cost of a training, measured on a few steps.

    Attributes:
        trainable: Number of trainable parameters.
        frozen: Number of frozen parameters.
        parameter_bytes: Memory of all parameters, bytes.
        gradient_bytes: Memory of the gradients, bytes.
        optimizer_bytes: Memory of the optimiser's moments, bytes.
        activation_bytes: Memory that the backward pass of one accumulated part needs, bytes.
        peak_bytes: Largest memory of one process, bytes; None where the system does not tell.
        device: Kind of the device.
        steps: Number of steps of the whole training.
        seconds: Duration of a step, s.
        share: Number of samples a step that were measured; the whole batch if None.
    """

    trainable: int
    frozen: int
    parameter_bytes: int
    gradient_bytes: int
    optimizer_bytes: int
    activation_bytes: int
    peak_bytes: int | None
    device: str
    steps: int
    seconds: float
    share: int | None = None

    @property
    def total(self) -> timedelta:
        """Duration of all steps."""
        return timedelta(seconds=round(self.seconds * self.steps))

    def lines(self) -> list[str]:
        """Return the report, line by line."""
        of = "" if self.share is None else f" with {self.share} sample a step"
        peak = "unknown" if self.peak_bytes is None else _megabytes(self.peak_bytes)
        return [
            f"{self.trainable:,} trainable and {self.frozen:,} frozen parameters, "
            f"{_megabytes(self.parameter_bytes)}",
            f"gradients {_megabytes(self.gradient_bytes)}, "
            f"optimizer {_megabytes(self.optimizer_bytes)}",
            f"activations {_megabytes(self.activation_bytes)} for the backward pass",
            f"peak memory {peak} of one process on {self.device}{of}",
            f"{self.steps} steps, {self.seconds:.2f} s each, {self.total} in all",
        ]


def dry_run(recipe: Path, *, overrides: tuple[str, ...], data_root: Path, report: Report) -> None:
    """Report parameters, memory, steps and time of a recipe; write nothing.

    The head's steps run on its own data, or on random pictures where the data are missing. Those
    of the segmenter, whose regions take long to prepare, and of a head with ``shares`` always run
    on random pictures.
    Weights that are not on this machine are replaced by random ones. On a CPU, a model of more than
    200 M parameters is measured with one sample a step, and time and activations are multiplied by
    the batch.

    Args:
        recipe: YAML file.
        overrides: Settings ``key=value`` that win over the file's.
        data_root: Folder of the data sets.
        report: Function that takes each line of output.

    Raises:
        FcpError: a bad recipe, starting weights of an unknown architecture that are missing, a
            segmenter that was shown classes that should stay novel, or ``optim.epochs`` without
            data.
    """
    loaded = load_recipe(recipe, overrides)
    refuse_idle_settings(loaded)
    tell = report if is_main() else say_nothing
    if isinstance(loaded, FreeRecipe):
        require_novel(loaded)
    if isinstance(loaded, FreeRecipe) or trains_nothing(loaded):
        tell("nothing to train: the recipe leaves all weights as they are")
        return
    for line in cost_of(loaded, data_root, tell).lines():
        tell(line)


def cost_of(recipe: TrainingRecipe, data_root: Path, report: Report) -> Cost:
    """Measure a recipe, see ``dry_run``.

    Args:
        recipe: Recipe of any stage.
        data_root: Folder of the data sets.
        report: Function that takes each line about how it is measured.

    Raises:
        FcpError: as ``dry_run``.
    """
    if isinstance(recipe, SegmenterRecipe):
        return measure(_segmenter(recipe, data_root, report), recipe.optim, report)
    if isinstance(recipe, HeadRecipe):
        return _cost_of_head(recipe, data_root, report)
    stage, note = _of_method(recipe, data_root)
    report(note)
    return measure(stage, recipe.optim, report)


def _of_method(recipe: MethodRecipe | BaseLearnerRecipe, data_root: Path) -> tuple[Stage, str]:
    if isinstance(recipe, MethodRecipe):
        return method_dry_stage(recipe, data_root)
    return learner_dry_stage(recipe, data_root)


def measure(stage: Stage, optim: OptimConfig, report: Report) -> Cost:
    """Run a few steps and return their cost; each slow step is reported.

    Args:
        stage: Stage to train.
        optim: Schedule and settings of the optimiser.
        report: Function that takes each line of output.
    """
    trainer = Trainer(stage, optim)
    device = trainer.accelerator.device
    warn_of_slow_bf16(optim.precision, device, report)
    kept: dict[int, int] = {}
    batches, seconds = trainer.load(0), list[float]()
    count = min(1 + _MEASURED, trainer.steps)
    report(f"measuring {counted(count, 'step')}")
    for number in range(count):
        started = time.monotonic()
        micro = next(batches)
        with _saved_for_backward(stage.model, kept) if number == 0 else nullcontext():
            trainer.step(number, micro)
        seconds.append(time.monotonic() - started)
        if seconds[-1] > SLOW:
            report(f"step {number + 1} of {count}: {seconds[-1]:.0f} s")
        if sum(seconds) > PATIENCE:
            break
    sizes = {True: 0, False: 0}
    for parameter in stage.model.parameters():
        sizes[parameter.requires_grad] += parameter.numel()
    groups = trainer.optimizer.param_groups
    return Cost(
        trainable=sizes[True],
        frozen=sizes[False],
        parameter_bytes=_bytes(stage.model.parameters()),
        gradient_bytes=sum(_bytes(group["params"]) for group in groups),
        optimizer_bytes=sum(_MOMENTS[group["rule"]] * _bytes(group["params"]) for group in groups),
        activation_bytes=sum(kept.values()) // optim.accumulate,
        peak_bytes=_peak(device),
        device=device.type,
        steps=trainer.steps,
        seconds=statistics.median(seconds[1:] or seconds),
    )


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


def _peak(device: torch.device) -> int | None:
    return torch.cuda.max_memory_allocated() if device.type == "cuda" else peak_memory()


def _bytes(parameters: Iterable[nn.Parameter]) -> int:
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


def _cost_of_head(recipe: HeadRecipe, data_root: Path, report: Report) -> Cost:
    model, batch = built(recipe, report), recipe.optim.batch
    if torch.cuda.is_available() or batch == 1 or _count(model) <= LARGE:
        with _stage_of(recipe, model, data_root, report) as stage:
            return measure(stage, recipe.optim, report)
    report(f"on a CPU, so large a model is measured with 1 sample a step, not {batch}")
    optim = replace(recipe.optim, batch=1, accumulate=1)
    with _stage_of(replace(recipe, optim=optim), model, data_root, report) as one:
        cost = measure(one, optim, report)
    return replace(
        cost,
        activation_bytes=cost.activation_bytes * batch // recipe.optim.accumulate,
        steps=recipe.optim.steps(one.batches.samples_per_epoch),
        seconds=cost.seconds * batch,
        share=1,
    )


def built(recipe: HeadRecipe, report: Report) -> FCP:
    """Build a recipe's model, with random weights where the recipe's are not on this machine.

    Args:
        recipe: Recipe of the head.
        report: Function that takes a line about weights that are replaced, and about parts that
            take long to build.

    Raises:
        FcpError: weights of an unknown architecture that are missing.
    """
    stand = without_missing(recipe)
    if stand.missing:
        report(f"random weights of the same sizes in place of {', '.join(stand.missing)}")
    large = large_parts(stand.recipe)
    started = time.monotonic()
    if large:
        report(f"building {' and '.join(large)}")
    model = starting_model(stand.recipe)
    if large:
        report(f"built in {time.monotonic() - started:.0f} s")
    return model


def _stage_of(
    recipe: HeadRecipe, model: FCP, data_root: Path, report: Report
) -> AbstractContextManager[EpisodicStage]:
    if recipe.shares:
        return mixed_stage(recipe, model, data_root, report)
    return nullcontext(_episodic_stage(recipe, model, data_root, report))


def _episodic_stage(
    recipe: HeadRecipe, model: FCP, data_root: Path, report: Report
) -> EpisodicStage:
    missing = _missing_data(recipe, data_root)
    if missing is None:
        source = episode_source(recipe, data_root)
        return head_stage(recipe, model, episode_batches(recipe, source, data_root))
    if recipe.optim.epochs is not None:
        raise FcpError(f"{missing}; without data, give optim.iterations for --dry-run")
    report(f"measured on random pictures ({missing})")
    return head_stage(recipe, model, _RandomEpisodes(recipe))


def _count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


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


def _segmenter(recipe: SegmenterRecipe, data_root: Path, report: Report) -> PromptableStage:
    require_unseen_start(recipe)
    report("measured on random pictures")
    if is_here(recipe.backbone_weights):
        model = starting_segmenter(recipe)
    else:
        report(f"random weights of the same sizes in place of {recipe.backbone_weights}")
        model = TinySegmenter(**recipe.options)
    stage = segmenter_stage(recipe, model, [_random_picture()])
    if recipe.optim.epochs is not None:
        sources = region_sources(data_root, recipe.exclude_folds, objects=recipe.objects)
        stage.batches.samples_per_epoch = len(sources)
    return stage


def _random_picture() -> RegionPicture:
    """Return noise with four regions."""
    labels = np.zeros((96, 128), np.uint8)
    labels[20:60, 20:60], labels[30:90, 70:120], labels[70:, :50] = 1, 2, 3
    noise = np.random.default_rng(0).integers(0, 60, (96, 128, 3))
    image = (labels[..., None] * 60 + noise).astype(np.uint8)
    tree = build_region_tree(image, np.zeros((1, 48, 64), np.float32))
    return RegionPicture(image, tree, labels[None], background=())
