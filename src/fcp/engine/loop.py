"""The training loop of every stage: flat, resumable, loud on a non-finite loss. Knows no task."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import Tensor, nn
from torch.nn.utils import convert_conv2d_weight_memory_format
from torch.utils.data import DataLoader, Dataset

from fcp.engine.recipe import OptimConfig
from fcp.engine.share import Share
from fcp.errors import FcpError

Report = Callable[[str], None]
Batch = Any


class Stage(Protocol):
    """What a task gives to the loop.

    Frozen parameters of ``model`` have ``requires_grad`` False; ``batches`` gives, for a
    ``Share``, that part of a step's batch, the same however often it is asked.
    """

    @property
    def model(self) -> nn.Module:
        """Return the module that holds every parameter."""

    @property
    def batches(self) -> Dataset[Batch]:
        """Return the source of batches."""

    def fresh_and_pretrained(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """Return the trainable parameters, split by how they were initialised."""

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        """Return the named loss terms of a batch; ``"total"`` is what is minimised."""


def fit(
    stage: Stage, optim: OptimConfig, *, seed: int, out: Path, resume: bool, report: Report
) -> None:
    """Train a stage to its last iteration.

    Writes ``log.jsonl`` (every term, learning rate, seconds) and ``checkpoint/`` under ``out``. A
    resumed run draws the same batches and dropout masks as an uninterrupted one.

    Raises:
        FcpError: a loss that is not finite, or nothing to resume from.
    """
    set_seed(seed)
    accelerator = Accelerator(mixed_precision=optim.precision)
    optimizer = torch.optim.AdamW(_groups(stage, optim))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _warmup_cosine(optim))
    # Convolutions in half precision run twice as fast on this layout.
    model = convert_conv2d_weight_memory_format(stage.model, torch.channels_last)
    model, optimizer, schedule = accelerator.prepare(model, optimizer, schedule)
    first = _restore(accelerator, out / "checkpoint") if resume else 0
    log = _Log(out / "log.jsonl", report, optim, first)
    parameters = [p for p in model.parameters() if p.requires_grad]
    for step, batch in zip(
        range(first, optim.iterations), _load(stage.batches, first, optim.iterations), strict=True
    ):
        with accelerator.autocast():
            losses = stage.losses(_to(batch, accelerator.device))
        _check_finite(losses, step)
        accelerator.backward(losses["total"])
        accelerator.clip_grad_norm_(parameters, optim.clip)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        log.add(step, losses, schedule.get_last_lr()[0])
        if (step + 1) % optim.checkpoint_every == 0 or step + 1 == optim.iterations:
            _save(accelerator, out / "checkpoint", step + 1)


def _groups(stage: Stage, optim: OptimConfig) -> list[dict[str, Any]]:
    fresh, pretrained = stage.fresh_and_pretrained()
    groups = []
    for parameters, scale in ((fresh, 1.0), (pretrained, optim.pretrained_scale)):
        # Biases, norms and single vectors are not decayed.
        for decay in (True, False):
            members = [p for p in parameters if (p.ndim > 1) == decay]
            groups.append(
                {
                    "params": members,
                    "lr": optim.learning_rate * scale,
                    "weight_decay": optim.weight_decay if decay else 0.0,
                }
            )
    return [group for group in groups if group["params"]]


def _warmup_cosine(optim: OptimConfig) -> Callable[[int], float]:
    def factor(step: int) -> float:
        if step < optim.warmup:
            return (step + 1) / optim.warmup
        done = (step - optim.warmup) / max(1, optim.iterations - optim.warmup)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))

    return factor


def _load(batches: Dataset[Batch], first: int, last: int) -> Iterable[Batch]:
    # One worker prepares the next batches while this process computes; each batch depends on its
    # step alone, so the worker cannot change what is drawn.
    return DataLoader(
        batches,
        batch_size=None,
        sampler=[Share(step) for step in range(first, last)],
        num_workers=1,
        prefetch_factor=4,
        generator=torch.Generator(),
    )


def _to(batch: Batch, device: torch.device) -> Batch:
    if isinstance(batch, Tensor):
        return batch.to(device)
    if isinstance(batch, Mapping):
        return {name: _to(value, device) for name, value in batch.items()}
    return batch


def _check_finite(losses: Mapping[str, Tensor], step: int) -> None:
    bad = [name for name, value in losses.items() if not torch.isfinite(value)]
    if bad:
        raise FcpError(
            f"step {step}: loss term {', '.join(bad)} is not finite; lower optim.learning_rate or "
            "set optim.precision=no, then go on with --resume"
        )


class _Log:
    """Means of each term between log lines, to a JSON-lines file and to the caller."""

    def __init__(self, file: Path, report: Report, optim: OptimConfig, first: int) -> None:
        self._file, self._report, self._optim = file, report, optim
        self._sums: dict[str, float] = {}
        self._since = time.monotonic()
        file.parent.mkdir(parents=True, exist_ok=True)
        kept = [line for line in _lines(file) if json.loads(line)["step"] <= first]
        file.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")

    def add(self, step: int, losses: Mapping[str, Tensor], rate: float) -> None:
        for name, value in losses.items():
            self._sums[name] = self._sums.get(name, 0.0) + float(value.detach())
        if (step + 1) % self._optim.log_every:
            return
        now = time.monotonic()
        means = {name: total / self._optim.log_every for name, total in self._sums.items()}
        seconds = (now - self._since) / self._optim.log_every
        self._sums, self._since = {}, now
        line = {"step": step + 1, **means, "learning_rate": rate, "seconds_per_step": seconds}
        with self._file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
        terms = "  ".join(f"{name} {value:.3f}" for name, value in means.items())
        self._report(f"{step + 1}/{self._optim.iterations}  {terms}  {seconds:.2f} s/step")


def _lines(file: Path) -> Iterator[str]:
    if file.exists():
        yield from file.read_text(encoding="utf-8").splitlines()


def _save(accelerator: Accelerator, folder: Path, step: int) -> None:
    """Replace the checkpoint; a kill in the middle leaves the old or the new one whole."""
    partial, old = folder.with_name("checkpoint.new"), folder.with_name("checkpoint.old")
    shutil.rmtree(partial, ignore_errors=True)
    accelerator.save_state(str(partial), safe_serialization=True)
    (partial / "step.json").write_text(json.dumps(step), encoding="utf-8")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    partial.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _restore(accelerator: Accelerator, folder: Path) -> int:
    found = next((f for f in (folder, folder.with_name("checkpoint.old")) if f.exists()), None)
    if found is None:
        raise FcpError(f"{folder}: no checkpoint to resume from; start without --resume")
    accelerator.load_state(str(found))
    return int(json.loads((found / "step.json").read_text(encoding="utf-8")))
