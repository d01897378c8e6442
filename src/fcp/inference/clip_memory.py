"""Memory of a film: its surest earlier frames join the examples.

Frames are remembered with their predicted masks. The examples always stay. One memory serves one
film; the next film begins with the examples alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from fcp.data.decode import ImageLike
from fcp.data.prompts import Annotation
from fcp.inference.segmenter import FewShotSegmenter
from fcp.inference.support import Support

SURE = 0.8  # least score, and presence, of a class in a frame that is remembered
EVERY = 5  # frames; examples and memory are encoded anew at most once in so many

Pair = tuple[ImageLike, Annotation]


@dataclass(frozen=True, eq=False)
class Remembered:
    """A frame that shows a class.

    Attributes:
        pair: Frame with its predicted mask.
        score: Score of the mask, 0 … 1.
    """

    pair: Pair
    score: float


class ClipMemory:
    """The support of a film, which grows by its surest frames.

    Args:
        segmenter: Segmenter that encoded ``support``.
        examples: Class → its examples, as ``FewShotSegmenter.encode`` takes them.
        support: Encoded examples.
        most: Largest number of frames that are remembered for each class; 0 for none.
        every: Least number of frames between two changes of the support.
    """

    def __init__(
        self,
        segmenter: FewShotSegmenter,
        examples: Mapping[str, Sequence[Pair]],
        support: Support,
        most: int,
        *,
        every: int = EVERY,
    ) -> None:
        self._segmenter, self._examples, self._support = segmenter, examples, support
        self._most, self._every = most, every
        self._frames: dict[str, list[Remembered]] = {}
        self._changed: set[str] = set()  # classes with new frames
        self._to_encode: dict[str, list[Pair]] = {}  # their pairs, as of the last change
        self._waits = 0

    def frames_of(self, name: str) -> Sequence[Remembered]:
        """Return the remembered frames of a class, the surest first; at most ``most``."""
        return self._frames.get(name, ())

    def see(self, scores: Mapping[str, float], show: Callable[[str], Pair]) -> None:
        """Remember a frame for each class that it shows more surely than those remembered.

        Args:
            scores: Score of each class that is surely in the frame; see ``is_sure``.
            show: Function that returns the frame with its mask of a class.
        """
        for name, score in scores.items():
            kept = self.frames_of(name)
            if len(kept) < self._most or (kept and score > kept[-1].score):
                new = [*kept, Remembered(show(name), score)]
                self._frames[name] = sorted(new, key=lambda one: -one.score)[: self._most]
                self._changed.add(name)
        self._waits -= 1
        if self._changed and self._waits <= 0:
            for name in self._changed:
                own = [frame.pair for frame in self.frames_of(name)]
                self._to_encode[name] = [*self._examples[name], *own]
            self._changed, self._waits = set(), self._every

    @property
    def support(self) -> Support:
        """Encoded examples and frames; encoded when it is asked for."""
        if self._to_encode:
            tile = self._support.tile
            grown = self._segmenter.encode(self._to_encode, tile=tile, appearance="off")
            classes = {**self._support.classes, **grown.classes}
            self._support, self._to_encode = replace(self._support, classes=classes), {}
        return self._support


def is_sure(score: float, presence: float | None) -> bool:
    """Return whether a frame shows a class surely.

    Args:
        score: Score of the mask, 0 … 1; 0 of a class that is judged absent.
        presence: Presence of the class, 0 … 1; None where it is not judged.
    """
    return score >= SURE and (presence is None or presence >= SURE)
