"""A labelling task: classes to find in photos, their examples, and options.

torch is imported inside the functions, so that ``--help`` answers at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fcp.errors import FcpError
from fcp.labelling.results import DecisionResult

if TYPE_CHECKING:
    from fcp.config import Fusion
    from fcp.data.decode import Decoding, ImageLike
    from fcp.data.prompts import Annotation
    from fcp.formats.examples import Example
    from fcp.inference.prediction import Least
    from fcp.inference.segmenter import FewShotSegmenter

Tile = int | Literal["auto"] | None
Appearances = Literal["auto", "off"]


@dataclass(frozen=True)
class Task:
    """Classes to find in photos, and options; the defaults are those of ``fcp segment``.

    Attributes:
        classes: Class → its examples, as returned by ``read_examples``.
        negatives: Examples of none of the classes.
        fusion: Rule by which several examples of a class become one answer.
        tile: Side of the tiles in px, "auto", or None for whole photos (``FewShotSegmenter.fit``).
        instances: Whether a class is split into its objects.
        threshold: Least presence of a class, 0 … 1; None for the model's own.
        min_area: Least area of a class or object; see ``Least``.
        min_score: Least score of a class or object, 0 … 1; None for the default of ``Least``.
        appearance: "auto" or "off"; see ``FewShotSegmenter.fit``.
        decoding: Options for reading photos and examples; None for the defaults.
        every_page: Whether each page of a photo's file is a photo of its own.
        frames: Whether the photos of a folder, in order, are the frames of a film; those of a video
            always are.
        memory: Number of a film's surest frames that join the examples of each class
            (docs/frames.md).
    """

    classes: Mapping[str, Sequence[Example]]
    negatives: Sequence[Example] = ()
    fusion: Fusion = "pooled"
    tile: Tile = "auto"
    instances: bool = False
    threshold: float | None = None
    min_area: float | None = None
    min_score: float | None = None
    appearance: Appearances = "auto"
    decoding: Decoding | None = None
    every_page: bool = False
    frames: bool = False
    memory: int = 0

    @property
    def names(self) -> list[str]:
        """Class names in the order of their labels."""
        return list(self.classes)

    def decoding_of(self, page: int | None) -> Decoding:
        """Return the options for reading a photo.

        Args:
            page: Page of the photo in its file, from 1; None if the file is one photo.
        """
        from fcp.data.images import DEFAULT

        decoding = self.decoding or DEFAULT
        return decoding if page is None else replace(decoding, page=page)

    def settings(self) -> dict[str, Any]:
        """Return the task as plain values for JSON; examples are named by their pictures."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        plain = {
            n: asdict(v) if is_dataclass(v) and not isinstance(v, type) else v
            for n, v in values.items()
        }
        classes = {name: _pictures_of(examples) for name, examples in self.classes.items()}
        return {**plain, "classes": classes, "negatives": _pictures_of(self.negatives)}


def _pictures_of(examples: Sequence[Example]) -> list[str]:
    # A picture embedded in the annotation file has no name.
    return [str(e.picture) if isinstance(e.picture, Path) else "embedded" for e in examples]


def fit_task(
    segmenter: FewShotSegmenter, task: Task, *, checks: bool = False
) -> dict[str, DecisionResult]:
    """Encode a task's examples; see ``FewShotSegmenter.fit``.

    Args:
        segmenter: Segmenter that keeps the encoded examples.
        task: Classes with their examples, and options.
        checks: Whether to test each example with the other examples of its class.

    Returns:
        Class → whether its appearance model or the network decides, where both are possible.

    Raises:
        FcpError: bad examples, a segmenter with another fusion rule than the task, or a threshold
            that the model cannot apply.
    """
    if segmenter.fusion != task.fusion:
        raise FcpError(
            f"fusion: the task says {task.fusion}, the segmenter was made for "
            f"{segmenter.fusion}; load it with fusion={task.fusion!r}"
        )
    segmenter.check_threshold(task.threshold)
    least_of(task)
    segmenter.fit(
        {name: pairs_of(shown, task.decoding) for name, shown in task.classes.items()},
        negatives=pairs_of(task.negatives, task.decoding),
        tile=task.tile,
        appearance=task.appearance,
        checks=checks,
    )
    return _decisions_of(segmenter)


def least_of(task: Task) -> Least:
    """Return the smallest area and score of a class that counts as found.

    Raises:
        FcpError: the area or score is out of range.
    """
    from fcp.inference.prediction import Least

    if task.min_score is None:
        return Least(task.min_area)
    return Least(task.min_area, task.min_score)


def _decisions_of(segmenter: FewShotSegmenter) -> dict[str, DecisionResult]:
    return {
        name: DecisionResult(
            by_appearance=one.by_appearance,
            share=one.share,
            iou=round(one.iou, 4),
            network_iou=round(one.network_iou, 4),
            sentence=one.sentence,
        )
        for name, one in segmenter.fitted.decisions.items()
    }


def pairs_of(
    examples: Sequence[Example], decoding: Decoding | None = None
) -> list[tuple[ImageLike, Annotation]]:
    """Return examples as pairs for the segmenter, decoded already if ``decoding`` is given."""
    from fcp.data.images import DEFAULT, read_image

    if decoding in (None, DEFAULT):
        return [(example.picture, example.given) for example in examples]
    return [(read_image(example.picture, decoding), example.given) for example in examples]
