"""Who decides, the network or the appearance? The examples say: each is looked for by the others.

The log-odds of both are mixed, ``(1 - share) · network + share · appearance``. On photos of objects
the network is better and the share small or 0; where it sees nothing (under a microscope, on a
road's surface) the share is 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from fcp.inference.appearance.samples import Samples

SHARES = (0.2, 0.5, 1.0)  # with several examples; the first unless another is clearly better
CLEARLY = 0.05  # IoU
FOUND = 0.4  # IoU from which on the network is taken to know its only example
BETTER = 0.1  # IoU more, on the other half of an example it does not know, that appearance needs
MUCH = 1.5  # times the network's IoU, where the network knows too little to have a say
FAR_BETTER = 0.35  # IoU more, there, that the appearance needs where the network knows the example
A_BIT = 0.12  # IoU more, there, that both together need


@dataclass(frozen=True)
class Decision:
    """How much of a class's answer is the appearance's, and why.

    Attributes:
        share: 0 … 1, of the appearance in the log-odds.
        iou: 0 … 1, of the mixture on the examples that it was not fitted on, mean.
        network_iou: 0 … 1, of the network alone there.
    """

    share: float
    iou: float
    network_iou: float

    @property
    def by_appearance(self) -> bool:
        """Whether the appearance has the last word: a share, where the network knows little."""
        return self.share > 0 and self.iou >= MUCH * self.network_iou

    @property
    def sentence(self) -> str:
        """Say who decides and why."""
        mixed, alone = (f"{100 * iou:.0f} %" for iou in (self.iou, self.network_iou))
        if self.by_appearance:
            return f"decided by appearance: {mixed} against {alone} on your own examples"
        if self.share > 0 and self.iou > self.network_iou:
            return f"decided by both: {mixed}, the network alone {alone} on your own examples"
        return f"decided by the network: {alone} on your own examples"


@dataclass(frozen=True)
class Trial:
    """Both answers where the truth is known and neither has seen it.

    Attributes:
        samples: of the example, n pixels.
        network: (n,) log-odds.
        appearance: (n,) log-odds.
    """

    samples: Samples
    network: Tensor
    appearance: Tensor

    def iou(self, share: float) -> float:
        """Return the IoU of a mixture."""
        return self.samples.overlap((1 - share) * self.network + share * self.appearance)


def decide_by_others(trials: Sequence[Trial]) -> Decision:
    """Decide by examples that were each found by means of the others."""
    small, *larger = SHARES
    best = max(larger, key=lambda share: _mean_iou(trials, share))
    clearly = _mean_iou(trials, best) >= _mean_iou(trials, small) + CLEARLY
    return _decision(trials, best if clearly else small)


def decide_by_halves(halves: Sequence[Trial], known: Sequence[float]) -> Decision:
    """Decide by one example, each half of which was found by an appearance of the other.

    Args:
        halves: of the example. The network has seen both, so that it is flattered.
        known: IoU of the network on the example itself, and on a changed copy of it.
    """
    network, both, appearance = (_mean_iou(halves, share) for share in (0, 0.5, 1))
    if sum(known) / len(known) < FOUND:
        needed = max(network + BETTER, MUCH * network)
    else:
        needed = network + FAR_BETTER
    if appearance >= needed:
        share = 1.0
    else:
        share = 0.5 if both >= network + A_BIT else 0.0
    return _decision(halves, share)


def _decision(trials: Sequence[Trial], share: float) -> Decision:
    return Decision(share, _mean_iou(trials, share), _mean_iou(trials, 0.0))


def _mean_iou(trials: Sequence[Trial], share: float) -> float:
    return sum(trial.iou(share) for trial in trials) / len(trials)
