"""The segmenter's answer: one label map a photo, in which classes compete, and its maps.

Maps are kept at the model's own size and enlarged on request. For twenty classes on a large photo
this takes megabytes instead of gigabytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import isfinite

import numpy as np
import torch
from torch import Tensor

from fcp.checks import require
from fcp.data.images import empty_labels
from fcp.data.strips import clear_label, count_label
from fcp.data.transforms import rows_to_size
from fcp.errors import FcpError
from fcp.inference.arguments import is_amount, is_share

ONLY_CLASS = "thing"  # name of the class where examples come without one
# Enlarged log-odds held at once: 4 MB, so that memory does not grow with photos and classes.
VALUES_AT_ONCE = 1 << 20
CLAIM_OF_PRESENCE = 2.0  # chosen on fold 3 among 0, 0.5, 1, 2 and 4
SURELY_NOT = -4.0  # largest log-odds of a class that was judged absent
SURE = 1e-4  # presence is clipped to SURE … 1 - SURE
TINY = 1e-9  # px; a class without any likely pixel scores 0 and not 0 / 0
LEAST_SCORE = 0.1  # stray pixels score less


@dataclass(frozen=True)
class Least:
    """Least area and score of a class, or of an object of it; below them it gets no pixel.

    Attributes:
        area: Least area: px from 1 on, a share of the photo below 1; None for one cell of the
            model's grid, the smallest area that the model can resolve.
        score: Least score; see ``ClassPrediction.score``.
    """

    area: float | None = None
    score: float = LEAST_SCORE

    def __post_init__(self) -> None:
        """Refuse a wrong area or score.

        Raises:
            FcpError: one of them is out of range; the message names it.
        """
        is_area = self.area is None or is_amount(self.area)
        require(is_area, "min-area", "px, or a share of the photo", self.area)
        require(is_share(self.score), "min-score", "0 … 1", self.score)

    def pixels(self, size: tuple[int, int], cells: int) -> float:
        """Return the least area in px.

        Args:
            size: Size of the photo (H, W), px.
            cells: Number of cells of the model's grid.
        """
        whole = size[0] * size[1]
        if self.area is None:
            return whole / cells
        return self.area if self.area >= 1 else self.area * whole


ALL = Least(area=0, score=0)  # even one pixel counts


@dataclass(frozen=True, eq=False)
class Maps:
    """Maps that the model made of one class in one photo, at the model's own size.

    Attributes:
        logits: Log-odds of foreground (S, S); (H', W') for a photo that was cut into tiles.
        pseudo_mask: Last attention-based mask (h, w) in 0 … 1, mean over the examples.
        conventional_mask: Conventional mask (h, w) in 0 … 1, mean over the examples.
        presence: Probability that the class is in the photo, 0 … 1; None where not judged.
        by_appearance: Whether appearance decides about the class. Presence then has no influence,
            since it is judged by the network alone.
    """

    logits: Tensor
    pseudo_mask: Tensor
    conventional_mask: Tensor
    presence: float | None = None
    by_appearance: bool = False

    @property
    def counted_presence(self) -> float | None:
        """Presence; None where it was not judged or appearance decides."""
        return None if self.by_appearance else self.presence

    def without_absent(self, threshold: float) -> Maps:
        """Return maps with low log-odds if presence counts and is below the threshold."""
        likely = self.counted_presence
        if likely is None or likely >= threshold:
            return self
        return replace(self, logits=self.logits.clamp(max=SURELY_NOT))


@dataclass(frozen=True, eq=False)
class ClassPrediction:
    """One class in one photo of H×W px.

    Examples:
        >>> import torch
        >>> sure = torch.full((4, 4), -9.0)
        >>> sure[:2] = 9
        >>> maps = Maps(sure, torch.zeros(2, 2), torch.zeros(2, 2))
        >>> found = predict_classes({"cat": maps}, (8, 8)).classes["cat"]
        >>> found.area, round(found.score, 1)
        (32, 1.0)

    Attributes:
        labels: Label map of the photo (H, W).
        label: Value of this class in the label map.
        score: Expected IoU with the truth, 0 … 1, computed from the probabilities p and the mask M:
            Σ M·p / Σ max(M, p). Near 1 for a sharp mask, 0 for an empty one. It states the model's
            confidence in the mask's extent, not the correctness of the class.
        maps: Maps that the model made of the class.
    """

    labels: np.ndarray
    label: int
    score: float
    maps: Maps

    @property
    def presence(self) -> float | None:
        """Probability, 0 … 1, that the class is in the photo, if half of all photos show it.

        None for a model without ``presence.json``. Where appearance decides, it is given but has no
        influence (docs/appearance.md).
        """
        return self.maps.presence

    @property
    def confidence(self) -> float:
        """Confidence that the photo shows the class, 0 … 1: presence if it counts, else score."""
        likely = self.maps.counted_presence
        return self.score if likely is None else likely

    @cached_property
    def here(self) -> bool:
        """Whether the class has any pixel: it was judged present, and won some."""
        return self.area > 0

    @cached_property
    def area(self) -> int:
        """Number of pixels that the class has won."""
        return count_label(self.labels, self.label)

    @property
    def mask(self) -> np.ndarray:
        """Mask (H, W), bool: the pixels that the class has won."""
        return self.labels == self.label

    @cached_property
    def logits(self) -> np.ndarray:
        """Log-odds of foreground (H, W), float32, of all examples together."""
        return self._enlarged(self.maps.logits)

    @cached_property
    def pseudo_mask(self) -> np.ndarray:
        """Last attention-based map (Eq. 8), mean over the examples: (H, W) float32 in 0 … 1.

        The conventional map for a model without attention-based ones.
        """
        return self._enlarged(self.maps.pseudo_mask)

    @cached_property
    def conventional_mask(self) -> np.ndarray:
        """Conventional map (Eq. 5), mean over the examples: (H, W) float32 in 0 … 1."""
        return self._enlarged(self.maps.conventional_mask)

    def _enlarged(self, square: Tensor) -> np.ndarray:
        height, width = self.labels.shape
        return rows_to_size(square, (height, width), 0, height).numpy()


@dataclass(frozen=True, eq=False)
class Prediction:
    """Prediction of all classes in one photo of H×W px.

    Examples:
        >>> import torch
        >>> sure = torch.full((4, 4), -9.0)
        >>> sure[:2] = 9
        >>> maps = Maps(sure, torch.zeros(2, 2), torch.zeros(2, 2))
        >>> predict_classes({"cat": maps}, (2, 3)).labels.tolist()
        [[1, 1, 1], [0, 0, 0]]

    With a single class, ``score``, ``presence``, ``here``, ``logits``, ``pseudo_mask`` and
    ``conventional_mask`` are those of this class.

    Attributes:
        labels: Label map (H, W), uint8, or uint16 for more than 255 classes: 0 is none of them, i +
            1 the i-th.
        classes: Prediction of each class by its name, in the order of ``fit``.
    """

    labels: np.ndarray
    classes: Mapping[str, ClassPrediction]

    @property
    def mask(self) -> np.ndarray:
        """Mask (H, W), bool, of all classes together."""
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

    A pixel is claimed by all classes whose log-odds are above 0 there. It goes to the one with the
    highest sum of these log-odds and twice the log-odds of its presence, so that a class that is
    likelier to be in the photo has the better claim (docs/presence.md).

    Args:
        classes: Maps of each class by name, in the order of labels; at least one.
        size: Size of the photo (H, W), px.
        against: Maps of the negatives, which win pixels and get no label; None for no negatives.
        threshold: Presence below which a class does not compete.
        least: Area and score below which a class loses all of its pixels; no other class gets them.

    Returns:
        Prediction whose masks share no pixel. Ties go to the first class.

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
    """Return the term added to each entrant's log-odds; -inf for classes that do not compete."""
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
        won: Label of each pixel (n, W).
        probability: Probability of each class (C, n, W), 0 … 1.

    Returns:
        (2, C) float64.
    """
    labels = torch.arange(1, len(probability) + 1)[:, None, None]
    masks = won == labels
    parts = (torch.where(masks, probability, 0), torch.where(masks, 1, probability))
    return torch.stack([part.sum(dim=(1, 2), dtype=torch.float64) for part in parts])
