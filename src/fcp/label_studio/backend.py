"""The model behind Label Studio, for any number of projects: ``predict`` and ``fit``.

``fit`` is no training: existing annotations are encoded as examples, in seconds.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np

from fcp.data.images import picture_of, read_image
from fcp.errors import FcpError
from fcp.inference.segmenter import FewShotSegmenter
from fcp.inference.support import Support
from fcp.label_studio.client import LabelStudio
from fcp.label_studio.examples import MOST_EXACT, Candidate, ProjectExample, candidates_of, choose
from fcp.label_studio.hints import find_hinted, read_hint
from fcp.label_studio.label_config import Labelling, read_labelling
from fcp.label_studio.predictions import answer, prediction_of
from fcp.label_studio.regions import write_regions
from fcp.label_studio.store import ExampleStore, examples_hash

MAX_TASKS = 200  # annotated tasks, last changed first, that are searched for examples
KEEP = 5  # examples of each label
PATIENCE = 30  # seconds that a prediction waits for examples that are being read
HINTED = 0.5  # score of a smart tool's result, which the annotator checks anyway
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Fitted:
    """A project's examples.

    Attributes:
        examples: Chosen examples.
        version: Version of examples and model; a change makes earlier predictions stale.
        support: Encoded examples; None without examples.
    """

    examples: Sequence[ProjectExample]
    version: str
    support: Support | None

    def tasks(self) -> dict[str, list[int]]:
        """Return label → numbers of the tasks with its examples."""
        found: dict[str, list[int]] = {}
        for one in self.examples:
            found.setdefault(one.label, []).append(one.origin.task)
        return found


class Backend:
    """The model behind Label Studio.

    Calls may come from several threads: predictions wait for each other, and so do fits.

    Args:
        segmenter: Segmenter shared by all projects.
        studio: Server that provides tasks, annotations and pictures.
        store: Store of the examples.
        fingerprint: Hash of the model; a change makes earlier predictions stale.
        keep: Number of examples of each label.
    """

    def __init__(
        self,
        segmenter: FewShotSegmenter,
        studio: LabelStudio,
        store: ExampleStore,
        *,
        fingerprint: str,
        keep: int = KEEP,
    ) -> None:
        self.studio = studio
        self._segmenter = segmenter
        self._store = store
        self._fingerprint = fingerprint
        self._keep = keep
        self._fitted: dict[int, Fitted] = {}
        self._fitting = threading.Lock()
        self._asking = threading.Lock()  # held while the segmenter is in use

    def fitted(self, project: int) -> Fitted:
        """Return a project's examples; after a restart, those on the disk.

        Waits for a fit in progress, but not for long: Label Studio may be waiting for this answer
        before it answers the fit.
        """
        if not self._fitting.acquire(timeout=PATIENCE):
            return self._fitted.get(project) or self._encode([])
        try:
            return self._current(project)
        finally:
            self._fitting.release()

    def version(self, project: int) -> str:
        """Return the current version; never waits for the model, because Label Studio does not."""
        fitted = self._fitted.get(project)
        return fitted.version if fitted else self._version(self._store.load(project))

    def check(self, config: str) -> None:
        """Refuse a labelling configuration that cannot be used.

        Raises:
            FcpError: the configuration cannot be used; the message says why.
        """
        read_labelling(config)

    def versions(self) -> list[str]:
        """Return the current versions of all projects used since the start."""
        return sorted({fitted.version for fitted in list(self._fitted.values())})

    def fit(self, project: int, config: str | None = None) -> Fitted:
        """Read a project's annotations and choose the best as examples.

        Args:
            project: Number of the project.
            config: Labelling configuration; None to read it from Label Studio.

        Raises:
            FcpError: Label Studio does not answer, or the configuration cannot be used.
        """
        if config is None:
            config = str(self.studio.project(project).get("label_config", ""))
        labelling = read_labelling(config)
        with self._fitting:
            candidates = self._annotated(project, labelling)
            return self._take(project, candidates, self._current(project).examples, whole=True)

    def fit_tasks(self, project: int, config: str, tasks: Iterable[Mapping[str, Any]]) -> Fitted:
        """Choose examples from the given tasks, without access to Label Studio's API.

        Examples from other tasks stay.

        Raises:
            FcpError: the configuration cannot be used.
        """
        labelling = read_labelling(config)
        listed = list(tasks)
        candidates = [one for task in listed for one in _candidates(task, labelling)]
        changed = {task.get("id") for task in listed}
        with self._fitting:
            stay = [
                one
                for one in self._current(project).examples
                if one.origin.task not in changed and one.label in labelling.labels
            ]
            return self._take(project, candidates, stay)

    def forget(self, project: int, annotations: Iterable[object]) -> Fitted:
        """Remove the examples of deleted annotations, without access to Label Studio's API."""
        gone = set(annotations)
        with self._fitting:
            examples = self._current(project).examples
            return self._take(project, [], [x for x in examples if x.origin.annotation not in gone])

    def predict(
        self, project: int, config: str, tasks: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, Any] | list[Any]]:
        """Predict tasks; a failure is reported in the log, and its task gets no prediction.

        An empty prediction would be wrong: Label Studio would keep it and not ask again.

        Returns:
            The prediction of each task, or an empty list.

        Raises:
            FcpError: the configuration cannot be used.
        """
        labelling = read_labelling(config)
        fitted = self.fitted(project)
        if fitted.support is None:
            _log.warning("project %d: no example yet; annotate a few tasks first", project)
            return [[] for _ in tasks]
        return [self._predict_one(task, labelling, fitted) or [] for task in tasks]

    def answer_hint(
        self, project: int, config: str, task: Mapping[str, Any], context: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Segment the object that a smart tool marks on the picture of a task.

        Returns:
            A prediction; after a failure, which the log reports, an empty one.

        Raises:
            FcpError: the configuration cannot be used.
        """
        labelling = read_labelling(config)
        fitted = self.fitted(project)
        try:
            return self._answer_hint(labelling, task, context, fitted)
        except FcpError as error:
            _log.warning("task %s: %s", task.get("id"), error)
        except Exception:  # the annotator can continue by hand
            _log.exception("task %s: failed", task.get("id"))
        return answer([], 0.0, fitted.version)

    def _answer_hint(
        self,
        labelling: Labelling,
        task: Mapping[str, Any],
        context: Mapping[str, Any],
        fitted: Fitted,
    ) -> dict[str, Any]:
        picture = self._picture(task, labelling)
        hint = read_hint(context, (picture.shape[0], picture.shape[1]))
        control = labelling.control_of(hint.label)
        if control is None:
            raise FcpError(f"smart tool: no tag draws the label {hint.label!r}")
        with self._asking:
            mask = find_hinted(self._segmenter, picture, hint, fitted.support)
        regions = write_regions(mask, hint.label, control, labelling.picture, HINTED)
        return answer(list(regions), HINTED, fitted.version)

    def _predict_one(
        self, task: Mapping[str, Any], labelling: Labelling, fitted: Fitted
    ) -> dict[str, Any] | None:
        try:
            picture = self._picture(task, labelling)
            with self._asking:
                found = self._segmenter.predict(picture, support=fitted.support)
            return prediction_of(found, labelling, fitted.version)
        except FcpError as error:
            _log.warning("task %s: no prediction: %s", task.get("id"), error)
        except Exception:  # one failed task must not stop the others
            _log.exception("task %s: no prediction", task.get("id"))
        return None

    def _picture(self, task: Mapping[str, Any], labelling: Labelling) -> np.ndarray:
        """Return a task's picture: (H, W, 3) uint8."""
        content = self.studio.picture(labelling.picture_of(task))
        return read_image(picture_of(content, "its picture"))

    def _annotated(self, project: int, labelling: Labelling) -> list[Candidate]:
        """Read annotated tasks, last changed first, until no older one can be preferred.

        That is when each label has enough exact annotations that are ground truth.
        """
        found: list[Candidate] = []
        missing = dict.fromkeys(labelling.labels, self._keep)
        for task in islice(self.studio.annotated_tasks(project), MAX_TASKS):
            for one in _candidates(task, labelling):
                found.append(one)
                best = one.origin.ground_truth and one.origin.exact == MOST_EXACT
                missing[one.label] -= best
            if max(missing.values()) <= 0:
                break
        return found

    def _take(
        self,
        project: int,
        candidates: Sequence[Candidate],
        known: Sequence[ProjectExample],
        *,
        whole: bool = False,
    ) -> Fitted:
        """Choose, save and encode examples; with ``whole``, only candidates remain examples."""
        stay = () if whole else known
        taken = choose(candidates, known, self._keep, self.studio.picture, stay)
        if not whole:
            taken = _merged(taken, known, self._keep)
        before = self._current(project)
        if [one.key for one in taken] == [one.key for one in before.examples]:
            return before
        fitted = self._encode(taken)
        fitted = replace(fitted, examples=self._store.save(project, taken))
        self._fitted[project] = fitted
        counts = ", ".join(f"{name} from tasks {ids}" for name, ids in fitted.tasks().items())
        _log.info("project %d: examples: %s (%s)", project, counts or "none", fitted.version)
        return fitted

    def _current(self, project: int) -> Fitted:
        if project not in self._fitted:
            try:
                self._fitted[project] = self._encode(self._store.load(project))
            except FcpError as error:
                _log.warning("project %d: the stored examples cannot be used: %s", project, error)
                self._fitted[project] = self._encode([])
        return self._fitted[project]

    def _encode(self, examples: Sequence[ProjectExample]) -> Fitted:
        version = self._version(examples)
        if not examples:
            return Fitted((), version, None)
        by_label: dict[str, list[Any]] = {}
        for one in examples:
            by_label.setdefault(one.label, []).append((one.image, one.given))
        with self._asking:
            return Fitted(examples, version, self._segmenter.encode(by_label))

    def _version(self, examples: Sequence[ProjectExample]) -> str:
        return f"fcp-{examples_hash(examples, self._fingerprint)[:12]}"


def _candidates(task: Mapping[str, Any], labelling: Labelling) -> list[Candidate]:
    try:
        return list(candidates_of(task, labelling))
    except FcpError as error:
        _log.warning("left out as an example: %s", error)
        return []


def _merged(
    taken: Sequence[ProjectExample], others: Sequence[ProjectExample], keep: int
) -> list[ProjectExample]:
    """Merge new examples with those of other tasks, and keep the best of each label."""
    labels = dict.fromkeys(one.label for one in (*others, *taken))
    ranked = sorted((*others, *taken), key=lambda one: one.origin.preference, reverse=True)
    by_label = [[one for one in ranked if one.label == label][:keep] for label in labels]
    return [one for of_label in by_label for one in of_label]
