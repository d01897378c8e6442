"""The key of a training batch: the step, and the part of its batch."""

from __future__ import annotations

from typing import NamedTuple


class Share(NamedTuple):
    """One of the equal parts of a step's batch.

    Several processes, and the micro-batches that gradients are accumulated over, each take a part.
    The parts of a step together are the same batch whatever their number, since each sample is
    drawn from (seed, step, position) alone.

    Attributes:
        step: Number of the optimiser step.
        part: Number of the part, 0 … parts - 1.
        parts: Number of parts of a step, a divisor of the batch.
    """

    step: int
    part: int = 0
    parts: int = 1

    def positions(self, batch: int) -> range:
        """Return this part's positions in the step's batch of ``batch`` samples."""
        size = batch // self.parts
        return range(self.part * size, (self.part + 1) * size)
