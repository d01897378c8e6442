"""Memory of a clip: its surest earlier frames join the examples.

Frames are remembered with their predicted masks. The examples always stay. One memory serves one
clip; the next clip begins with the examples alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from fcp.data.decode import ImageLike
from fcp.data.prompts import Annotation
from fcp.inference.prediction import ClassPrediction, Prediction
from fcp.inference.segmenter import FewShotSegmenter
from fcp.inference.support import Support

SURE = 0.8  # least score and presence of a class in a frame that is remembered
EVERY = 5  # frames; examples and memory are encoded anew at most once in so many

Pair = tuple[ImageLike, Annotation]


@dataclass(frozen=True, eq=False)
class Remembered:
    """A frame that shows a class.

    Attributes:
        picture: Frame (H, W, 3) uint8 RGB.
        mask: Predicted mask (H, W) bool of the class.
        score: Score of the mask, 0 … 1.
    """

    picture: np.ndarray
    mask: np.ndarray
    score: float


@dataclass
class ClipMemory:
    """The support of a clip, which grows by its surest frames.

    Attributes:
        segmenter: Segmenter that encoded ``support``.
        examples: Class → its examples, as ``FewShotSegmenter.encode`` takes them.
        support: Encoded examples, and after ``see`` the remembered frames too.
        most: Largest number of frames that are remembered for each class; 0 for none.
        every: Least number of frames between two changes of the support.
    """

    segmenter: FewShotSegmenter
    examples: Mapping[str, Sequence[Pair]]
    support: Support
    most: int
    every: int = EVERY
    _frames: dict[str, list[Remembered]] = field(default_factory=dict, init=False)
    _waits: int = field(default=0, init=False)

    def frames_of(self, name: str) -> Sequence[Remembered]:
        """Return the remembered frames of a class, the surest first."""
        return self._frames.get(name, ())

    def see(self, picture: np.ndarray, prediction: Prediction) -> None:
        """Remember a frame if it is among the surest, and encode the support anew if it is.

        Args:
            picture: Frame (H, W, 3) uint8 RGB, of the prediction's size.
            prediction: Prediction of the frame.
        """
        self._waits -= 1
        if self._waits > 0:
            return
        changed = [
            name
            for name, found in prediction.classes.items()
            if is_sure(found) and self._remember(name, Remembered(picture, found.mask, found.score))
        ]
        if changed:
            self.support = self._encoded(changed)
            self._waits = self.every

    def _remember(self, name: str, frame: Remembered) -> bool:
        """Keep a frame in place of a less sure one; return whether anything has changed."""
        kept = sorted([*self.frames_of(name), frame], key=lambda one: -one.score)[: self.most]
        self._frames[name] = kept
        return any(one is frame for one in kept)

    def _encoded(self, changed: Sequence[str]) -> Support:
        """Return the support with the examples and frames of the changed classes."""
        pairs = {
            name: [*self.examples[name], *((one.picture, one.mask) for one in self.frames_of(name))]
            for name in changed
        }
        tile = self.support.tile
        grown = self.segmenter.encode(pairs, tile=tile, appearance="off")
        return replace(self.support, classes={**self.support.classes, **grown.classes})


def is_sure(found: ClassPrediction) -> bool:
    """Return whether a class is in a frame, and its mask and presence are sure."""
    likely = found.maps.counted_presence
    return found.here and found.score >= SURE and (likely is None or likely >= SURE)
