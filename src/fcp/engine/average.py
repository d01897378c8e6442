"""Exponential moving average of the trained weights, which is scored and saved in their place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

_EARLY = 10  # steps; at first the average follows more closely, so that it forgets the start


class MovingAverage:
    """Exponential moving average of parameters, which can take their place in the model.

    Args:
        parameters: Trained parameters.
        decay: Part of the average that stays at each step, 0 ≤ decay < 1; 0 for no average.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], decay: float) -> None:
        self._parameters, self._decay = parameters, decay
        self.values: list[Tensor] = [p.detach().clone() for p in parameters] if decay else []

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Include the weights after a step (0, 1, …) in the average."""
        decay = min(self._decay, (step + 1) / (step + _EARLY))
        for value, parameter in zip(self.values, self._parameters, strict=False):
            value.lerp_(parameter, 1 - decay)

    def state(self) -> dict[str, Any]:
        """Return the average in the form that ``load`` takes, for a checkpoint."""
        return {"average": self.values}

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore the average of a resumed run."""
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
        """Give the model the averaged weights inside a ``with`` block."""
        self.swap()
        try:
            yield
        finally:
            self.swap()
