"""What the segmenter answers: one label map a photo, in which classes compete, and why.

Maps are kept at the size that the model made them and enlarged when they are asked for: of twenty
classes on a large photo, that is the difference between megabytes and gigabytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from fcp.data.transforms import logits_to_size
from fcp.errors import FcpError

ONLY_CLASS = "thing"  # its name where examples come without one


@dataclass(frozen=True)
class Maps:
    """What the model made of one class in one photo, on the square that it sees.

    Attributes:
        logits: (S, S) log-odds of foreground.
        pseudo_mask: (h, w) in 0 … 1, mean over the examples.
        conventional_mask: (h, w) likewise.
    """

    logits: Tensor
    pseudo_mask: Tensor
    conventional_mask: Tensor


@dataclass(frozen=True)
class ClassPrediction:
    """One class in one photo of H×W px.

    Attributes:
        mask: (H, W) bool: its pixels of the label map.
        score: 0 … 1, the IoU with the truth that the map of probabilities p itself expects of the
            mask M: Σ M·p / Σ max(M, p). Near 1 for a sharp mask, 0 for an empty one. It says how
            sure the model is, not whether it is right.
        maps: what they come from.
    """

    mask: np.ndarray
    score: float
    maps: Maps

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
        height, width = self.mask.shape
        return logits_to_size(square, (height, width)).numpy()


@dataclass(frozen=True)
class Prediction:
    """What the examples' classes look like in one photo of H×W px.

    Of one class alone, ``score``, ``logits``, ``pseudo_mask`` and ``conventional_mask`` are its.

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
    maps: Mapping[str, Maps], size: tuple[int, int], against: Sequence[Tensor] = ()
) -> Prediction:
    """Let classes compete for the pixels of a photo: the highest log-odds wins, if above 0.

    Args:
        maps: name → what the model made of it; at least one.
        size: (H, W) of the photo.
        against: (S, S) log-odds of what is none of the classes; it takes pixels and is not told.

    Returns:
        Masks that share no pixel. Of equals the first class wins.
    """
    labels = np.zeros(size, dtype=np.uint8 if len(maps) <= 255 else np.uint16)
    best = torch.zeros(size)
    entrants = [(index + 1, one.logits) for index, one in enumerate(maps.values())]
    for label, square in [*entrants, *((0, square) for square in against)]:
        logits = logits_to_size(square, size)
        labels[(logits > best).numpy()] = label
        torch.maximum(best, logits, out=best)
    return Prediction(
        labels=labels,
        classes={
            name: _class_prediction(labels == index + 1, one)
            for index, (name, one) in enumerate(maps.items())
        },
    )


def _class_prediction(mask: np.ndarray, maps: Maps) -> ClassPrediction:
    probability = logits_to_size(maps.logits, (mask.shape[0], mask.shape[1])).sigmoid()
    return ClassPrediction(mask, _expected_iou(torch.from_numpy(mask), probability), maps)


def _expected_iou(mask: Tensor, probability: Tensor) -> float:
    """Return Σ M·p / Σ max(M, p) in 0 … 1 for a mask and a map (H, W)."""
    if not mask.any():
        return 0.0
    inside = probability[mask].sum(dtype=torch.float64)
    union = torch.where(mask, 1.0, probability).sum(dtype=torch.float64)
    return float(inside / union)
