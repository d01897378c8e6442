"""Settings of the optimiser and its schedule. No torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, cast

from fcp.checks import check, require_least
from fcp.errors import FcpError

Rule = Literal["adamw", "sgd"]
Schedule = Literal["cosine", "poly", "thirds", "constant"]
MOST_EPOCHS = 1_000_000  # far more than a training has, and few enough to count the steps
POWER = 0.9  # of the polynomial schedule, as in PSPNet and the methods after it


@dataclass(frozen=True)
class GroupConfig:
    """Parameters that are trained by another rule than the rest.

    Attributes:
        parameters: Beginnings of the parameters' names in the model.
        learning_rate: Peak rate.
        name: Rule of the updates, see ``OptimConfig``.
        schedule: Schedule of the rate, see ``OptimConfig``.
        weight_decay: Weight decay, on matrices and kernels only.
    """

    parameters: list[str]
    learning_rate: float
    name: Rule = "adamw"
    schedule: Schedule = "constant"
    weight_decay: float = 1e-2

    def __post_init__(self) -> None:
        """Check the settings."""
        check(self)
        require_least(self, 0, "learning_rate", "weight_decay")


@dataclass(frozen=True)
class OptimConfig:
    """Optimiser and schedule; by default AdamW with linear warm-up and a cosine to 0 by iteration.

    Attributes:
        batch: Pictures (segmenter, base learner) or episodes (head, method) a step, over all
            processes together.
        iterations: Number of optimiser steps; None where ``epochs`` is given.
        epochs: Number of times that each training picture is used on average; None where
            ``iterations`` is given.
        accumulate: Number of parts that each process's share of a batch is computed in, one after
            the other, when it does not fit into memory whole.
        learning_rate: Peak rate of freshly initialised layers.
        name: Rule of the updates: "adamw", or "sgd" with momentum.
        momentum: Momentum of "sgd".
        schedule: Factor on the rate after the warm-up, at the share t of the steps: "cosine"
            ½(1 + cos πt), "poly" (1 − t)^0.9, "thirds" (÷10 after each third) or "constant".
        groups: Parameters with rules of their own.
        pretrained_scale: Factor on the rate for layers that start from ImageNet weights.
        weight_decay: Weight decay, on matrices and kernels only; decoupled in "adamw".
        warmup: Number of steps from 0 to the peak; 0 for none.
        clip: Largest gradient norm; None for no clipping.
        precision: Precision of the forward pass: "bf16" (autocast) or "no" (32 bits).
        average: Decay a step of the moving average of the weights, which is scored and saved in
            their place; 0 for the weights themselves.
        checkpoint_every: Number of steps between resumable checkpoints.
        log_every: Number of steps between log lines (each the mean over the steps since the last).
    """

    batch: int
    learning_rate: float
    iterations: int | None = None
    epochs: float | None = None
    accumulate: int = 1
    name: Rule = "adamw"
    momentum: float = 0.9
    schedule: Schedule = "cosine"
    groups: list[GroupConfig] = field(default_factory=list)
    pretrained_scale: float = 0.1
    weight_decay: float = 1e-2
    warmup: int = 100
    clip: float | None = 1.0
    precision: Literal["no", "bf16"] = "no"
    average: float = 0.0
    checkpoint_every: int = 200
    log_every: int = 20

    def __post_init__(self) -> None:
        """Refuse schedules that cannot run."""
        check(self)
        if (self.iterations is None) == (self.epochs is None):
            raise FcpError(
                "iterations, epochs: give exactly one of them, got "
                f"iterations={self.iterations} and epochs={self.epochs}; "
                "null takes one away (optim.epochs=null)"
            )
        if self.epochs is not None and not 0 < self.epochs <= MOST_EPOCHS:
            raise FcpError(
                f"epochs: expected more than 0 and at most {MOST_EPOCHS}, got {self.epochs}"
            )
        require_least(self, 1, "iterations", "batch", "accumulate", "checkpoint_every", "log_every")
        require_least(self, 0, "warmup", "learning_rate", "weight_decay", "pretrained_scale")
        for name in ("average", "momentum"):
            if not 0 <= getattr(self, name) < 1:
                raise FcpError(
                    f"{name}: expected 0 or more and less than 1, got {getattr(self, name)}"
                )
        if self.clip is not None and self.clip <= 0:
            raise FcpError(f"clip: expected more than 0, or null for none, got {self.clip}")

    def steps(self, samples_per_epoch: int) -> int:
        """Return the optimiser steps of the whole run."""
        if self.iterations is not None:
            return self.iterations
        return math.ceil(cast(float, self.epochs) * samples_per_epoch / self.batch)


def rate_factor(schedule: Schedule, step: int, warmup: int, steps: int) -> float:
    """Return the share of the peak rate at a step: linear warm-up, then the schedule."""
    if step < warmup:
        return (step + 1) / warmup
    done = min(1.0, (step - warmup) / max(1, steps - warmup))
    if schedule == "poly":
        return float((1 - done) ** POWER)
    if schedule == "thirds":
        return float(0.1 ** min(2, int(3 * done)))
    return 1.0 if schedule == "constant" else 0.5 * (1 + math.cos(math.pi * done))
