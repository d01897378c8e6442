"""A score on held-out pictures while training goes on, and the best model by it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from fcp.engine.checkpoints import random_state, set_random_state


@dataclass(frozen=True)
class Holdout:
    """How a run is judged on the way; it trains the same with and without this.

    Attributes:
        every: steps between two scores; the last step is scored too.
        score: judges the model as it is, in evaluation mode; higher is better.
        save: keeps the model; called when the score is the best so far.
    """

    every: int
    score: Callable[[], float]
    save: Callable[[], None]

    def due(self, step: int, total: int) -> bool:
        """Tell whether a score is taken after so many steps of so many."""
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
    """Evaluate; then bring back each module's mode and every random state."""
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
