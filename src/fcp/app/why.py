"""Explanation of a result: the model's pseudo masks, and the prediction from each example alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fcp.app.marks import Marked
from fcp.app.runs import PhotoRun
from fcp.app.small import VIEW
from fcp.app.threshold import always_answer
from fcp.data.photos import Photo, read_photo
from fcp.data.transforms import map_to_size
from fcp.errors import FcpError
from fcp.inference.examples import read_given, with_outlines
from fcp.inference.prediction import ClassPrediction
from fcp.labelling.task import pairs_of
from fcp.system.files import write_atomically
from fcp.visualize import Colour, class_colours, encode, heatmap, overlay, thumbnail


@dataclass(frozen=True, eq=False)
class Alone:
    """The prediction from one example alone.

    Attributes:
        marked: Example that was used.
        drawn: Its picture at the size at which it is drawn.
        mask: Its mask at that size, with the outline of what points on it are on.
        found: Prediction for the photo.
        agreement: IoU, 0 … 1, of this mask and the mask from all examples together.
    """

    marked: Marked
    drawn: np.ndarray
    mask: np.ndarray
    found: ClassPrediction
    agreement: float


@dataclass(frozen=True, eq=False)
class Reason:
    """The explanation of one class in one photo.

    Attributes:
        name: Name of the class.
        photo: Photo at the size at which it is drawn.
        found: Prediction from all examples together.
        alone: Prediction from each example alone, by falling agreement.
    """

    name: str
    photo: Photo
    found: ClassPrediction
    alone: tuple[Alone, ...]

    @property
    def sentence(self) -> str:
        """One sentence that names the example with the most influence."""
        if len(self.alone) == 1:
            return f"The only example of {self.name} is {_title(self.alone[0])}."
        best = self.alone[0]
        return (
            f"Of {len(self.alone)} examples of {self.name}, {_title(best)} had the most influence: "
            f"its mask alone has IoU {best.agreement:.2f} with the mask from all examples."
        )


def explain(run: PhotoRun, photo: Path, name: str) -> Reason:
    """Segment a photo with each example of a class alone; other classes compete as in the run.

    Their appearance models compete too; those were fitted against all examples of this class.

    Args:
        run: Run with encoded examples; all of them count, even if the visitor has removed some.
        photo: File of the photo to explain.
        name: Name of the class.

    Raises:
        FcpError: the class is not in the run, or a picture is missing.
    """
    support = run.segmenter.support
    if support is None or name not in support.classes:
        raise FcpError(f"the last run did not look for {name!r}; run the photos again")
    used = [one for one in run.marked if one.class_name == name]
    seen, _ = read_photo(photo, run.task.decoding_of(None), support.most_pixels)
    # At display size: full-size masks of a large photo, one for each example, would take too much
    # memory, and are not drawn.
    seen = Photo(seen.pixels, (seen.pixels.shape[0], seen.pixels.shape[1]))
    found = always_answer(run.segmenter, seen).classes[name]
    together, alone = _mask(seen, found), []
    for one in used:
        shown = {name: pairs_of([one.example], run.task.decoding)}
        single = run.segmenter.encode(shown, tile=support.tile, appearance=run.task.appearance)
        only = support.with_class(name, single)
        answer = always_answer(run.segmenter, seen, only).classes[name]
        agreement = iou(_mask(seen, answer), together)
        alone.append(Alone(one, *_drawn(run, one), answer, agreement))
    return Reason(name, seen.drawn, found, tuple(sorted(alone, key=lambda one: -one.agreement)))


def _drawn(run: PhotoRun, one: Marked) -> tuple[np.ndarray, np.ndarray]:
    """Return an example's picture and its mask, as the segmenter takes it, to be drawn."""
    example, _ = read_photo(one.example.picture, run.task.decoding_of(None))
    given = read_given(pairs_of([one.example], run.task.decoding))
    ((_, mask),) = with_outlines(run.segmenter.network, given).pairs
    return example.pixels, example.under(mask)


def iou(one: np.ndarray, other: np.ndarray) -> float:
    """Return the IoU of two masks (H, W), 0 … 1; of two empty ones it is 1."""
    union = (one | other).sum()
    return float((one & other).sum() / union) if union else 1.0


def pictures(reason: Reason, run: PhotoRun, folder: Path) -> list[tuple[str, str]]:
    """Draw an explanation: result and pseudo masks, then each example beside its own result.

    Returns:
        (file, caption) of each picture; an example and its result follow each other.
    """
    colour = class_colours(run.task.names)[reason.name]
    photo, found = thumbnail(reason.photo.pixels, VIEW // 2), reason.found
    attention, similarity = (
        heatmap(map_to_size(one, photo.shape[:2]).numpy(), photo)
        for one in (found.maps.pseudo_mask, found.maps.conventional_mask)
    )
    drawn = [
        (_over(reason.photo, found, colour), f"result, score {found.score:.2f}"),
        (photo, "photo"),
        (attention, "attention-based pseudo mask, from the prototypes (Eq. 8)"),
        (similarity, "conventional pseudo mask, similarity to the examples (Eq. 5)"),
    ]
    for one in reason.alone:
        said = f"result from this example alone, IoU {one.agreement:.2f} with all"
        drawn += [
            (overlay(one.drawn, one.mask, colour=colour), f"example: {_title(one)}"),
            (_over(reason.photo, one.found, colour), said),
        ]
    folder.mkdir(parents=True, exist_ok=True)
    return [_saved(pixels, folder / f"{n}.jpg", text) for n, (pixels, text) in enumerate(drawn)]


def _over(photo: Photo, found: ClassPrediction, colour: Colour) -> np.ndarray:
    """Draw a mask over its photo, at the photo's drawing size."""
    return overlay(photo.pixels, _mask(photo, found), colour=colour)


def _mask(photo: Photo, found: ClassPrediction) -> np.ndarray:
    return photo.under(found.labels) == found.label


def _saved(pixels: np.ndarray, file: Path, caption: str) -> tuple[str, str]:
    write_atomically(file, encode(thumbnail(pixels, VIEW // 2), "jpeg", quality=85))
    return str(file), caption


def _title(one: Alone) -> str:
    return f"{one.marked.called} (no. {one.marked.number})"
