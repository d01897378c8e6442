"""The training loop of every stage: one or many processes, resumable, stops at a non-finite loss.

It knows no task. All use of accelerate and all gradient accumulation is in this file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from accelerate.utils import (
    DistributedDataParallelKwargs,
    GradientAccumulationPlugin,
    set_seed,
)
from torch import Tensor, nn
from torch.nn.utils import convert_conv2d_weight_memory_format
from torch.utils.data import DataLoader, Dataset

from fcp.engine.average import MovingAverage
from fcp.engine.checkpoints import load_checkpoint, save_checkpoint
from fcp.engine.holdout import Holdout, judge
from fcp.engine.optim import OptimConfig, rate_factor
from fcp.engine.optimizer import make_optimizer
from fcp.engine.precision import warn_of_slow_bf16
from fcp.engine.processes import loader_workers, processes, to_device
from fcp.engine.share import Share
from fcp.engine.tracking import Log, Report
from fcp.errors import FcpError
from fcp.system.files import make_folder
from fcp.system.memory import keep_freed_memory

Batch = Any
DRAWN_ANEW = "another number of processes made the checkpoint; dropout is drawn anew"


class Batches(Protocol):
    """Source of a stage's batches.

    Indexed by a ``Share`` it returns that part of a step's batch, the same each time. The loop may
    read from a copy in another process.
    """

    @property
    def samples_per_epoch(self) -> int:
        """Return how many samples make an epoch."""

    def __getitem__(self, share: Share) -> Batch:
        """Return a part of a step's batch; samples are drawn from (seed, step, position) alone."""


class Stage(Protocol):
    """Parts of a task that the loop needs.

    Frozen parameters of ``model`` have ``requires_grad`` False.

    Attributes:
        skips_parameters: Whether a step may leave a trainable parameter without gradient. Several
            processes then search for such parameters at each step, which costs a little.
    """

    @property
    def skips_parameters(self) -> bool:
        """Return whether a step may leave a trainable parameter without gradient."""

    @property
    def model(self) -> nn.Module:
        """Return the module that holds every parameter."""

    @property
    def batches(self) -> Batches:
        """Return the source of batches."""

    def fresh_and_pretrained(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """Return the trainable parameters, split by how they were initialised."""

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        """Return the named loss terms of a batch, each the mean over its samples.

        ``"total"`` is minimised.
        """


class Trainer:
    """A stage that is ready to run steps on this process's device.

    Args:
        stage: Stage to train.
        optim: Schedule and settings of the optimiser.

    Raises:
        FcpError: the batch cannot be split evenly over the processes.
    """

    def __init__(self, stage: Stage, optim: OptimConfig) -> None:
        self.stage, self.optim = stage, optim
        self.parts = processes().num_processes * optim.accumulate
        if optim.batch % self.parts:
            raise FcpError(
                f"optim.batch: {optim.batch} pictures a step cannot be split evenly over "
                f"{processes().num_processes} processes × optim.accumulate={optim.accumulate}; "
                f"choose a multiple of {self.parts}"
            )
        self.steps = optim.steps(stage.batches.samples_per_epoch)
        # Given as objects, so that the environment set by `accelerate launch` does not win.
        self.accelerator = Accelerator(
            mixed_precision="no",
            gradient_accumulation_plugin=GradientAccumulationPlugin(
                num_steps=optim.accumulate, sync_with_dataloader=False
            ),
            kwargs_handlers=[
                DistributedDataParallelKwargs(
                    broadcast_buffers=False, find_unused_parameters=stage.skips_parameters
                )
            ],
        )
        if self.accelerator.device.type == "cpu":
            keep_freed_memory()
        # Convolutions in half precision run twice as fast on this layout.
        convert_conv2d_weight_memory_format(stage.model, torch.channels_last)
        bf16 = optim.precision == "bf16"
        self.module = self.accelerator.prepare(_Losses(stage, self.accelerator.device, bf16=bf16))
        self.optimizer = make_optimizer(stage.model, stage.fresh_and_pretrained(), optim)
        self.parameters = [p for p in stage.model.parameters() if p.requires_grad]
        self.average = MovingAverage(self.parameters, optim.average)

    def load(self, first: int) -> Iterator[list[Batch]]:
        """Yield this process's parts of each step's batch, from a step on."""
        accumulate = self.optim.accumulate
        start = processes().process_index * accumulate
        shares = [
            Share(step, start + micro, self.parts)
            for step in range(first, self.steps)
            for micro in range(accumulate)
        ]
        loaded = iter(_loader(self.stage.batches, shares, self.accelerator.device))
        for _ in range(first, self.steps):
            yield [_raised(next(loaded)) for _ in range(accumulate)]

    def step(self, number: int, batches: Iterable[Batch]) -> dict[str, float]:
        """Do one optimiser step.

        Args:
            number: Number of the step.
            batches: This process's parts of the step's batch.

        Returns:
            Each term's mean over the whole batch.

        Raises:
            FcpError: a term is not finite on at least one process; all of them raise.
        """
        sums: dict[str, Tensor] = {}
        for batch in batches:
            with self.accelerator.accumulate(self.module):
                losses = self.module(to_device(batch))
                self.accelerator.backward(losses["total"])
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + value.detach().float() / self.optim.accumulate
        means = self.accelerator.reduce(torch.stack(list(sums.values())), reduction="mean")
        found = dict(zip(sums, means.tolist(), strict=True))
        _check_finite(found, number)
        if self.optim.clip is not None:
            self.accelerator.clip_grad_norm_(self.parameters, self.optim.clip)
        for group in self.optimizer.param_groups:
            factor = rate_factor(group["schedule"], number, self.optim.warmup, self.steps)
            group["lr"] = group["peak"] * factor
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.average.update(number)
        return found

    @property
    def rate(self) -> float:
        """Return the last step's learning rate of the first group of parameters."""
        return float(self.optimizer.param_groups[0]["lr"])


def fit(
    stage: Stage,
    optim: OptimConfig,
    *,
    seed: int,
    out: Path,
    resume: bool,
    report: Report,
    holdout: Holdout | None = None,
) -> None:
    """Train a stage to its last step; all processes call this with the same arguments.

    The main process writes ``log.csv``, ``tensorboard/`` and ``checkpoint.pt`` under ``out``. A
    resumed run draws the same batches and dropout masks as an uninterrupted one. Afterwards the
    model has the averaged weights, if the recipe averages them.

    Raises:
        FcpError: a loss that is not finite, a batch that cannot be split, nothing to resume from,
            more steps done than the recipe has, or a file that cannot be written.
    """
    _seed(seed)
    trainer = Trainer(stage, optim)
    done: dict[str, Any] = {"step": 0, "best": None, "log": {}}
    if resume:
        done = _load_progress(trainer, out, seed, report)
    log = None
    if processes().is_main_process:
        warn_of_slow_bf16(optim.precision, trainer.accelerator.device, report)
        make_folder(out)
        log = Log(out, first=done["step"], total=trainer.steps, report=report, state=done["log"])
    best: float | None = done["best"]
    for number, batches in enumerate(trainer.load(done["step"]), done["step"]):
        losses, step = trainer.step(number, batches), number + 1
        if log is not None:
            log.add(losses)
            best = _record(log, step, trainer, holdout, best)
        if holdout is not None and holdout.due(step, trainer.steps):
            processes().wait_for_everyone()
        if step % optim.checkpoint_every == 0 or step == trainer.steps:
            state = log.state() if log is not None else {}
            progress = {"step": step, "best": best, "log": state, **trainer.average.state()}
            save_checkpoint(out, stage.model, trainer.optimizer, progress)
    if log is not None:
        log.close()
    trainer.average.swap()


def _load_progress(trainer: Trainer, out: Path, seed: int, report: Report) -> dict[str, Any]:
    """Load the checkpoint into the trainer, and return what it says beside the weights."""
    done, exact = load_checkpoint(out, trainer.stage.model, trainer.optimizer)
    if done["step"] > trainer.steps:
        raise FcpError(
            f"{out}: already at step {done['step']}, and the recipe has {trainer.steps}; set "
            f"optim.iterations to at least {done['step']}"
        )
    trainer.average.load(done)
    if not exact:
        _seed(seed + done["step"])
        report(DRAWN_ANEW)
    return done


def _seed(seed: int) -> None:
    """Seed dropout, differently on each process."""
    set_seed(seed + processes().process_index)


def _record(
    log: Log, step: int, trainer: Trainer, holdout: Holdout | None, best: float | None
) -> float | None:
    """Score the model and write a log row when due; return the best score so far."""
    score = None
    if holdout is not None and holdout.due(step, trainer.steps):
        with trainer.average.shown():
            score, best = judge(holdout, trainer.stage.model, best)
    if score is not None or step % trainer.optim.log_every == 0 or step == trainer.steps:
        log.write(step, trainer.rate, score)
    return best


class _Losses(nn.Module):
    """The stage's computation as a module, so that its forward is what DDP runs."""

    def __init__(self, stage: Stage, device: torch.device, *, bf16: bool) -> None:
        super().__init__()
        self.model = stage.model
        self._compute: Callable[[Batch], Mapping[str, Tensor]] = stage.losses
        self._device, self._bf16 = device.type, bf16

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return the loss terms of a batch."""
        with torch.autocast(self._device, torch.bfloat16, enabled=self._bf16):
            return dict(self._compute(batch))


class _Readable(Dataset[Batch | FcpError]):
    """The batches, or the error instead: raised in a worker it would arrive as its traceback."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches

    def __getitem__(self, share: Share) -> Batch | FcpError:
        try:
            return self._batches[share]
        except FcpError as error:
            return error


def _raised(read: Batch | FcpError) -> Batch:
    if isinstance(read, FcpError):
        raise read
    return read


def _loader(
    batches: Batches, shares: list[Share], device: torch.device
) -> Iterable[Batch | FcpError]:
    # Workers prepare the next batches while this process computes. Each batch depends on its share
    # alone, so that their number does not change the episodes.
    return DataLoader(
        _Readable(batches),
        batch_size=None,
        sampler=shares,
        num_workers=loader_workers(),
        prefetch_factor=4,
        pin_memory=device.type == "cuda",
        generator=torch.Generator(),
    )


def _check_finite(losses: Mapping[str, float], step: int) -> None:
    bad = [name for name, value in losses.items() if not math.isfinite(value)]
    if bad:
        raise FcpError(
            f"step {step}: loss term {', '.join(bad)} is not finite; lower optim.learning_rate or "
            "set optim.precision=no, then go on with --resume"
        )
