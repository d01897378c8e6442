"""The choice of examples among a project's annotations: the best few of each label."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fcp.data.decode import ImageLike
from fcp.data.images import picture_of, read_image
from fcp.data.prompts import Mark, Points, annotation_mask
from fcp.errors import FcpError
from fcp.formats.examples import DrawnPicture, examples_by_class
from fcp.formats.label_studio import is_negative
from fcp.formats.label_studio_shapes import Size
from fcp.formats.run_lengths import RunLengths, to_mask, to_runs
from fcp.label_studio.label_config import Labelling
from fcp.label_studio.regions import Region, labels_of, read_region

# How exactly a kind of region describes an object.
EXACT = {
    "brushlabels": 2,
    "polygonlabels": 2,
    "ellipselabels": 2,
    "rectanglelabels": 1,
    "keypointlabels": 0,
}
MOST_EXACT = max(EXACT.values())
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Origin:
    """The source of an example, and the criteria of its preference.

    Attributes:
        task: Number of the task.
        annotation: Number of the annotation.
        updated: Time of the last change, as Label Studio writes it.
        picture: Hash of the picture's URL.
        ground_truth: Whether the annotation is marked as ground truth.
        exact: Exactness of the regions: 2 for areas, 1 for boxes, 0 for points.
    """

    task: int
    annotation: int
    updated: str
    picture: str
    ground_truth: bool
    exact: int

    @property
    def preference(self) -> tuple[bool, int, str, int]:
        """Sort key, larger is better: ground truth, then exactness, then time."""
        return (self.ground_truth, self.exact, self.updated, self.annotation)


@dataclass(frozen=True, eq=False)
class Candidate:
    """An annotated picture with a label, not yet fetched.

    Attributes:
        label: Label of the regions.
        url: URL of the picture, as in the task.
        regions: Regions with that label.
        origin: Source of the annotation.
    """

    label: str
    url: str
    regions: Sequence[Region]
    origin: Origin


@dataclass(frozen=True, eq=False)
class ProjectExample:
    """A chosen example.

    Attributes:
        label: Label of the example.
        picture: Content of the picture's file, or its path.
        size: (H, W) of the picture in px.
        runs: Mask of the example, run-length encoded.
        origin: Source of the example.
        marks: Boxes or points that the mask was painted from; none of an area.
    """

    label: str
    picture: bytes | Path
    size: Size
    runs: RunLengths
    origin: Origin
    marks: tuple[Mark, ...] = ()

    @property
    def key(self) -> tuple[str, Origin]:
        """Key that the example shares with its candidate."""
        return (self.label, self.origin)

    @property
    def image(self) -> ImageLike:
        """Picture as the segmenter accepts it."""
        if isinstance(self.picture, Path):
            return self.picture
        return picture_of(self.picture, f"task {self.origin.task}: its picture")

    @property
    def given(self) -> np.ndarray | tuple[Mark, ...]:
        """Marks, or the mask (H, W) bool, decoded at each access."""
        return self.marks or to_mask(self.runs)


def candidates_of(task: Mapping[str, Any], labelling: Labelling) -> Iterator[Candidate]:
    """Yield a candidate for each label in the valid annotation of a task.

    That is the annotation marked as ground truth, or else the latest; cancelled ones are ignored.

    Raises:
        FcpError: the task has no picture.
    """
    annotation = max(_annotations(task), key=_age, default=None)
    if annotation is None:
        return
    by_label: dict[str, list[Region]] = {}
    for region in annotation["result"]:
        if not isinstance(region, Mapping) or region.get("to_name") != labelling.picture:
            continue
        if is_negative(region):  # of a smart tool, kept beside what it found
            continue
        for label in labels_of(region):
            by_label.setdefault(label, []).append(region)
    for label, regions in by_label.items():
        if label not in labelling.labels:
            where = f"task {task.get('id')}"
            _log.warning("%s: the label %r is not in the configuration; left out", where, label)
            continue
        url = labelling.picture_of(task)
        yield Candidate(label, url, regions, _origin(task, annotation, url, regions))


def choose(
    candidates: Iterable[Candidate],
    known: Iterable[ProjectExample],
    count: int,
    fetch: Callable[[str], bytes],
    stay: Sequence[ProjectExample] = (),
) -> list[ProjectExample]:
    """Choose the best candidates of each label; an unreadable one is replaced by the next.

    Args:
        candidates: Candidates of all labels.
        known: Earlier examples; unchanged ones are not fetched again.
        count: Number of examples to choose for each label.
        fetch: Function that returns the content of a picture by its URL.
        stay: Examples that remain beside the chosen ones; their pixels get no other label.

    Returns:
        The examples grouped by label, the best of each first.
    """
    by_label: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        by_label.setdefault(candidate.label, []).append(candidate)
    before = {example.key: example for example in known}
    chosen: list[ProjectExample] = []
    for label, of_label in by_label.items():
        ranked = sorted(of_label, key=lambda one: one.origin.preference, reverse=True)
        others = [*(one for one in stay if one.label != label), *chosen]
        chosen += _first(ranked, count, before, fetch, others)
    return chosen


def _first(
    ranked: Iterable[Candidate],
    count: int,
    before: Mapping[tuple[str, Origin], ProjectExample],
    fetch: Callable[[str], bytes],
    others: Sequence[ProjectExample],
) -> list[ProjectExample]:
    found: list[ProjectExample] = []
    for candidate in ranked:
        if len(found) == count:
            break
        try:
            taken = before.get((candidate.label, candidate.origin)) or _take(candidate, fetch)
            _refuse_same(taken, others)
        except FcpError as error:
            _log.warning("left out as an example: %s", error)
        except Exception:  # one odd annotation must not stop the others
            _log.exception("task %d: left out as an example", candidate.origin.task)
        else:
            found.append(taken)
    return found


def _take(candidate: Candidate, fetch: Callable[[str], bytes]) -> ProjectExample:
    """Fetch a candidate's picture and draw its mask."""
    where = f"task {candidate.origin.task}"
    content = fetch(candidate.url)
    pixels = read_image(picture_of(content, f"{where}: its picture"))
    size = (pixels.shape[0], pixels.shape[1])
    drawn = [
        (candidate.label, read_region(region, size, f"{where}: region {region.get('id')}"))
        for region in candidate.regions
    ]
    joined = examples_by_class([DrawnPicture(Path(), size, Path(where), drawn)])
    example = joined[candidate.label][0]
    shape = example.drawn
    if isinstance(shape, Points):
        shape = to_runs(annotation_mask(shape, size, where))
    assert isinstance(shape, Mapping)  # noqa: S101  (drawings are not files)
    return ProjectExample(candidate.label, content, size, shape, candidate.origin, example.marks)


def _refuse_same(taken: ProjectExample, others: Iterable[ProjectExample]) -> None:
    """Refuse an example if another label marks the same pixels."""
    for other in others:
        same_mask = other.runs["counts"] == taken.runs["counts"]
        # Not by its address: one picture may have been uploaded twice.
        if same_mask and _content_of(other) == _content_of(taken):
            raise FcpError(
                f"task {taken.origin.task}: {other.label!r} and {taken.label!r} mark the same "
                "pixels; only the first is used"
            )


def _content_of(example: ProjectExample) -> bytes:
    picture = example.picture
    return picture.read_bytes() if isinstance(picture, Path) else picture


def _annotations(task: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for annotation in task.get("annotations") or []:
        if isinstance(annotation, Mapping) and isinstance(annotation.get("result"), list):
            if not annotation.get("was_cancelled"):
                yield annotation


def _age(annotation: Mapping[str, Any]) -> tuple[bool, str, int]:
    return (
        bool(annotation.get("ground_truth")),
        str(annotation.get("updated_at") or ""),
        _whole(annotation.get("id")),
    )


def _origin(
    task: Mapping[str, Any], annotation: Mapping[str, Any], url: str, regions: Iterable[Region]
) -> Origin:
    ground_truth, updated, number = _age(annotation)
    return Origin(
        task=_whole(task.get("id")),
        annotation=number,
        updated=updated,
        picture=hashlib.sha256(url.encode("utf-8", "replace")).hexdigest(),
        ground_truth=ground_truth,
        exact=max(EXACT[region["type"]] for region in regions),
    )


def _whole(number: object) -> int:
    return number if isinstance(number, int) else 0
