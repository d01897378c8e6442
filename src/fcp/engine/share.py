"""The key of a training batch: which part of which step's batch."""

from __future__ import annotations

from typing import NamedTuple


class Share(NamedTuple):
    """One of the equal parts of a step's batch.

    Several processes, and the micro-batches that gradients are accumulated over, each take a part.
    The parts of a step together are the same batch whatever their number, since each sample is
    drawn from (seed, step, position) alone.

    Attributes:
        step: number of the optimiser step.
        part: 0 … parts - 1.
        parts: a divisor of the batch.
    """

    step: int
    part: int = 0
    parts: int = 1

    def positions(self, batch: int) -> range:
        """Return the positions in the step's batch of so many samples that are this part."""
        size = batch // self.parts
        return range(self.part * size, (self.part + 1) * size)
