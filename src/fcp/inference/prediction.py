"""What the segmenter answers: one label map a photo, in which classes compete, and why.

Maps are kept at the size that the model made them and enlarged when they are asked for: of twenty
classes on a large photo, that is the difference between megabytes and gigabytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import isfinite

import numpy as np
import torch
from torch import Tensor

from fcp.data.images import empty_labels
from fcp.data.strips import clear_label, count_label
from fcp.data.transforms import rows_to_size
from fcp.errors import FcpError

ONLY_CLASS = "thing"  # its name where examples come without one
# Of enlarged log-odds: 4 MB, so that memory does not grow with photos and classes.
VALUES_AT_ONCE = 1 << 20
CLAIM_OF_PRESENCE = 2.0  # chosen on fold 3 among 0, 0.5, 1, 2 and 4
SURELY_NOT = -4.0  # log-odds
SURE = 1e-4  # a presence counts as if it were no nearer to 0 or 1
TINY = 1e-9  # px; a class that is nowhere likely scores 0 and not 0 / 0
LEAST_SCORE = 0.1  # crumbs have less


@dataclass(frozen=True)
class Least:
    """What a class, or an object of it, must have to count as found; else it gets no pixel.

    Attributes:
        area: from 1 on in px, below 1 as a share of the photo; None for one cell of the model's
            grid, since what is smaller the model cannot have seen.
        score: see ``ClassPrediction.score``.
    """

    area: float | None = None
    score: float = LEAST_SCORE

    def __post_init__(self) -> None:
        """Refuse what is no area and no score.

        Raises:
            FcpError: says which.
        """
        if self.area is not None and not (self.area >= 0 and isfinite(self.area)):
            raise FcpError(f"min-area: expected px, or a share of the photo, got {self.area}")
        if not 0 <= self.score <= 1:
            raise FcpError(f"min-score: expected 0 … 1, got {self.score}")

    def pixels(self, size: tuple[int, int], cells: int) -> float:
        """Return the least area in px.

        Args:
            size: (H, W) of the photo.
            cells: of the model's grid.
        """
        whole = size[0] * size[1]
        if self.area is None:
            return whole / cells
        return self.area if self.area >= 1 else self.area * whole


ALL = Least(area=0, score=0)  # even one pixel counts


@dataclass(frozen=True)
class Maps:
    """What the model made of one class in one photo, at the size that it sees.

    Attributes:
        logits: (S, S) log-odds of foreground; (H', W') of a photo that was cut into tiles.
        pseudo_mask: (h, w) last attention-based mask in 0 … 1, mean over the examples.
        conventional_mask: (h, w) likewise of the conventional mask.
        presence: Probability, 0 … 1, that the class is in the photo; None where not judged.
        by_appearance: Whether appearance decides about the class. Presence is judged by the
            network's objects and knows nothing of that: it has no say then.
    """

    logits: Tensor
    pseudo_mask: Tensor
    conventional_mask: Tensor
    presence: float | None = None
    by_appearance: bool = False

    @property
    def counted_presence(self) -> float | None:
        """Presence where it has a say, else None."""
        return None if self.by_appearance else self.presence

    def without_absent(self, threshold: float) -> Maps:
        """Say surely no everywhere, where presence has a say and is under the threshold."""
        likely = self.counted_presence
        if likely is None or likely >= threshold:
            return self
        return replace(self, logits=self.logits.clamp(max=SURELY_NOT))


@dataclass(frozen=True)
class ClassPrediction:
    """One class in one photo of H×W px.

    Attributes:
        labels: (H, W) the photo's label map.
        label: the value of this class in it.
        score: 0 … 1, the IoU with the truth that the map of probabilities p itself expects of the
            mask M: Σ M·p / Σ max(M, p). Near 1 for a sharp mask, 0 for an empty one. It says how
            sure the model is of the mask, not whether it is right.
        maps: The model's maps of the class.
    """

    labels: np.ndarray
    label: int
    score: float
    maps: Maps

    @property
    def presence(self) -> float | None:
        """Probability, 0 … 1, that the class is in the photo, if half of all photos show it.

        None of a model without ``presence.json``. It is given where appearance decides, too, and
        has no say there (docs/appearance.md).
        """
        return self.maps.presence

    @property
    def confidence(self) -> float:
        """How sure it is that the class is here, 0 … 1: presence where it has a say, else score."""
        likely = self.maps.counted_presence
        return self.score if likely is None else likely

    @cached_property
    def here(self) -> bool:
        """Whether any pixel is of the class: it was judged present, and won some."""
        return self.area > 0

    @cached_property
    def area(self) -> int:
        """How many pixels the class has won."""
        return count_label(self.labels, self.label)

    @property
    def mask(self) -> np.ndarray:
        """(H, W) bool: the pixels that the class has won."""
        return self.labels == self.label

    @cached_property
    def logits(self) -> np.ndarray:
        """(H, W) float32, log-odds of foreground, of all examples together."""
        return self._enlarged(self.maps.logits)

    @cached_property
    def pseudo_mask(self) -> np.ndarray:
        """(H, W) float32 in 0 … 1: the last attention-based map (Eq. 8), mean over the examples.

        The conventional one for a model that makes none.
        """
        return self._enlarged(self.maps.pseudo_mask)

    @cached_property
    def conventional_mask(self) -> np.ndarray:
        """(H, W) float32 in 0 … 1: the similarity map (Eq. 5), mean over the examples."""
        return self._enlarged(self.maps.conventional_mask)

    def _enlarged(self, square: Tensor) -> np.ndarray:
        height, width = self.labels.shape
        return rows_to_size(square, (height, width), 0, height).numpy()


@dataclass(frozen=True)
class Prediction:
    """What the examples' classes look like in one photo of H×W px.

    Of one class alone, ``score``, ``presence``, ``here``, ``logits``, ``pseudo_mask`` and
    ``conventional_mask`` are its.

    Attributes:
        labels: (H, W) uint8, or uint16 of more than 255 classes: 0 is none of them, i + 1 the i-th.
        classes: name → what was found of it, in the order of ``fit``.
    """

    labels: np.ndarray
    classes: Mapping[str, ClassPrediction]

    @property
    def mask(self) -> np.ndarray:
        """(H, W) bool: any of the classes."""
        return self.labels > 0

    @property
    def score(self) -> float:
        """See ``ClassPrediction.score``."""
        return self._only.score

    @property
    def presence(self) -> float | None:
        """See ``ClassPrediction.presence``."""
        return self._only.presence

    @property
    def here(self) -> bool:
        """See ``ClassPrediction.here``."""
        return self._only.here

    @property
    def logits(self) -> np.ndarray:
        """See ``ClassPrediction.logits``."""
        return self._only.logits

    @property
    def pseudo_mask(self) -> np.ndarray:
        """See ``ClassPrediction.pseudo_mask``."""
        return self._only.pseudo_mask

    @property
    def conventional_mask(self) -> np.ndarray:
        """See ``ClassPrediction.conventional_mask``."""
        return self._only.conventional_mask

    @property
    def _only(self) -> ClassPrediction:
        if len(self.classes) > 1:
            names = ", ".join(self.classes)
            raise FcpError(f"prediction: has several classes; take .classes[name], one of: {names}")
        return next(iter(self.classes.values()))


def predict_classes(
    classes: Mapping[str, Maps],
    size: tuple[int, int],
    *,
    against: Maps | None = None,
    threshold: float = 0.0,
    least: Least = ALL,
) -> Prediction:
    """Let classes compete for the pixels of a photo.

    A pixel is claimed by all whose log-odds are above 0 there, and goes to the one with the highest
    sum of these and twice the log-odds of its presence: what is likelier to be in the photo at all
    has the better claim (docs/presence.md).

    Args:
        classes: Maps of each class by name, in the order of labels; at least one.
        size: (H, W) of the photo.
        against: Maps of what is none of the classes; they win pixels and get no label.
        threshold: Presence under which a class does not compete.
        least: Area and score under which a class loses all of its pixels, to nobody.

    Returns:
        Masks that share no pixel. Of equals the first class wins.

    Raises:
        FcpError: the model's answer is not finite.
    """
    entrants = [*classes.values(), *([] if against is None else [against])]
    height, width = size
    labels = empty_labels(size, len(classes))
    rows = max(1, VALUES_AT_ONCE // (width * len(entrants)))
    overlaps = torch.zeros(2, len(classes), dtype=torch.float64)
    areas = torch.zeros(len(classes) + 1, dtype=torch.int64)
    claims = _claims(entrants, len(classes), threshold)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        logits = torch.stack([rows_to_size(one.logits, size, top, bottom) for one in entrants])
        won = _winners(logits, claims, classes=len(classes))
        labels[top:bottom] = won.numpy()
        areas += won.flatten().bincount(minlength=len(areas))
        overlaps += _overlaps(won, logits[: len(classes)].sigmoid())
    scores = (overlaps[0] / overlaps[1].clamp(min=TINY)).tolist()
    likely = [one.presence for one in entrants if one.presence is not None]
    if not all(map(isfinite, (*scores, *likely))):
        raise FcpError("the model's answer is not finite: its weights are damaged; get them anew")
    for index, one in enumerate(classes.values()):
        too_small = areas[index + 1] < least.pixels(size, one.pseudo_mask.numel())
        if too_small or scores[index] < least.score:
            clear_label(labels, index + 1)
            scores[index] = 0.0
    return Prediction(
        labels=labels,
        classes={
            name: ClassPrediction(labels, index + 1, scores[index], one)
            for index, (name, one) in enumerate(classes.items())
        },
    )


def _claims(entrants: Sequence[Maps], classes: int, threshold: float) -> Tensor:
    """Return what is added to each entrant's log-odds; -inf for classes that do not compete."""
    claims = torch.zeros(len(entrants))
    for index, one in enumerate(entrants):
        likely = one.counted_presence
        if likely is None:
            continue
        absent = index < classes and likely < threshold
        claim = CLAIM_OF_PRESENCE * torch.tensor(likely).logit(eps=SURE)
        claims[index] = -torch.inf if absent else claim
    return claims


def _winners(logits: Tensor, claims: Tensor, classes: int) -> Tensor:
    """Return the label of each pixel (n, W) from log-odds (entrants, n, W), classes first."""
    claimed = torch.where(logits > 0, logits + claims[:, None, None], -torch.inf)
    best, entrant = claimed.max(dim=0)
    return torch.where((best > -torch.inf) & (entrant < classes), entrant + 1, 0)


def _overlaps(won: Tensor, probability: Tensor) -> Tensor:
    """Sum Σ M·p and Σ max(M, p) of each class, M being its pixels.

    Args:
        won: (n, W) labels.
        probability: (C, n, W).

    Returns:
        (2, C) float64.
    """
    labels = torch.arange(1, len(probability) + 1)[:, None, None]
    masks = won == labels
    parts = (torch.where(masks, probability, 0), torch.where(masks, 1, probability))
    return torch.stack([part.sum(dim=(1, 2), dtype=torch.float64) for part in parts])
