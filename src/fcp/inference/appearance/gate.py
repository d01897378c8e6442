"""Choice between network and appearance, by segmenting each example with the others.

The log-odds of both are mixed, ``(1 - share) · network + share · appearance``. On photos of objects
the network is better and the share small or 0. Where the network fails (on micrographs, on a road's
surface) the share is 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from fcp.inference.appearance.samples import Samples

SHARES = (0.2, 0.5, 1.0)  # with several examples; the first unless another is clearly better
CLEARLY = 0.05  # gain in IoU that is clearly better
FOUND = 0.4  # IoU from which on the network is said to know its only example
# Gains in IoU over the network, on the halves of a single example, that are needed …
BETTER = 0.1  # for appearance alone, where the network does not know the example
FAR_BETTER = 0.35  # for appearance alone, where the network knows the example
A_BIT = 0.12  # for a mixture of both
MUCH = 1.5  # factor on the network's IoU that is needed for appearance alone


@dataclass(frozen=True)
class Decision:
    """Share of the appearance in a class's answer, and the reason.

    Attributes:
        share: Share of the appearance in the log-odds, 0 … 1.
        iou: Mean IoU of the mixture on the examples that it was not fitted on, 0 … 1.
        network_iou: Mean IoU of the network alone on the same examples, 0 … 1.
    """

    share: float
    iou: float
    network_iou: float

    @property
    def by_appearance(self) -> bool:
        """Whether appearance decides: it has a share, and its IoU is far above the network's."""
        needed = max(MUCH * self.network_iou, self.network_iou + CLEARLY)
        return self.share > 0 and self.iou >= needed

    @property
    def sentence(self) -> str:
        """Return the decision and its reason in words."""
        mixed, alone = (f"{100 * iou:.0f} %" for iou in (self.iou, self.network_iou))
        if self.by_appearance:
            return f"decided by appearance: {mixed} against {alone} on your own examples"
        if self.share > 0 and self.iou > self.network_iou:
            return f"decided by both: {mixed}, the network alone {alone} on your own examples"
        return f"decided by the network: {alone} on your own examples"


@dataclass(frozen=True)
class Trial:
    """Answers of network and appearance on pixels whose truth is known.

    Attributes:
        samples: Pixels drawn from the example, n in all.
        network: Log-odds of the network (n,).
        appearance: Log-odds of the appearance (n,).
    """

    samples: Samples
    network: Tensor
    appearance: Tensor

    def iou(self, share: float) -> float:
        """Return the IoU of a mixture."""
        return self.samples.overlap((1 - share) * self.network + share * self.appearance)


def decide_by_others(trials: Sequence[Trial]) -> Decision:
    """Decide by examples that were each segmented by means of the others."""
    small, *larger = SHARES
    best = max(larger, key=lambda share: _mean_iou(trials, share))
    clearly = _mean_iou(trials, best) >= _mean_iou(trials, small) + CLEARLY
    return _decision(trials, best if clearly else small)


def decide_by_halves(halves: Sequence[Trial], known: Sequence[float]) -> Decision:
    """Decide by one example, each half of which was segmented by an appearance of the other.

    Args:
        halves: Trials of the example's halves. The network's support holds both halves, so that its
            answers look better than they are.
        known: Network's IoU on the example itself, and on a changed copy of it, 0 … 1.
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
