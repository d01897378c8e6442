"""Exponential moving average of the trained weights: what is scored and saved in their place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

_EARLY = 10  # steps: at first the average follows more closely, or it would remember the start


class MovingAverage:
    """Averages parameters in place of which it can be shown.

    Args:
        parameters: that are trained.
        decay: part of the average that stays at each step; 0 for no average.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], decay: float) -> None:
        self._parameters, self._decay = parameters, decay
        self.values: list[Tensor] = [p.detach().clone() for p in parameters] if decay else []

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take the weights after a step (0, 1, …) in."""
        decay = min(self._decay, (step + 1) / (step + _EARLY))
        for value, parameter in zip(self.values, self._parameters, strict=False):
            value.lerp_(parameter, 1 - decay)

    def state(self) -> dict[str, Any]:
        """Return what ``load`` takes, for a checkpoint."""
        return {"average": self.values}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take up the average of a run that is resumed."""
        for own, value in zip(self.values, state["average"], strict=True):
            own.copy_(value)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange average and weights."""
        for value, parameter in zip(self.values, self._parameters, strict=False):
            kept = parameter.detach().clone()
            parameter.copy_(value)
            value.copy_(kept)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Let the model have the average for a while."""
        self.swap()
        try:
            yield
        finally:
            self.swap()
