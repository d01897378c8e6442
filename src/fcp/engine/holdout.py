"""Scores on held-out pictures during training, and the model with the best of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from fcp.engine.checkpoints import random_state, set_random_state


@dataclass(frozen=True)
class Holdout:
    """Scoring during a run; training is the same with and without it.

    Attributes:
        every: Number of steps between two scores; the last step is scored too.
        score: Function that judges the model as it is, in evaluation mode; higher is better.
        save: Function that keeps the model, called when the score is the best so far.
    """

    every: int
    score: Callable[[], float]
    save: Callable[[], None]

    def due(self, step: int, total: int) -> bool:
        """Return whether a score is taken after ``step`` of ``total`` steps."""
        return step % self.every == 0 or step == total


def judge(holdout: Holdout, model: nn.Module, best: float | None) -> tuple[float, float]:
    """Score the model, and save it if it is better than the best so far.

    Returns:
        The score, and the best one.
    """
    with _undisturbed(model):
        score = float(holdout.score())
        if best is None or score > best:
            holdout.save()
            best = score
    return score, best


@contextmanager
def _undisturbed(model: nn.Module) -> Iterator[None]:
    """Set evaluation mode; afterwards restore each module's mode and all random states."""
    modes = {module: module.training for module in model.modules()}
    state = random_state()
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        set_random_state(state)
