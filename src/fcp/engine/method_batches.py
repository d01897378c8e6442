"""Batches of the compared methods and of base learners, as pixels or as stored features.

As everywhere, each sample is drawn from (seed, step, position) alone. Masks and labels hold 255
where the truth is unknown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from fcp.config import IGNORE
from fcp.data.augment import jitter_colour
from fcp.data.dataset import ClassExample, FewShotDataset, Picture
from fcp.data.lists import ClassLists
from fcp.data.transforms import mask_to_square, squash_truth, to_square
from fcp.engine.draws import make_draw
from fcp.engine.episode_batches import EpisodeSource, Views, draw_crop_with
from fcp.engine.share import Share
from fcp.errors import FcpError
from fcp.features.frozen import FeatureIndex

Sample = dict[str, Any]


class MethodBatches(Dataset[Sample]):
    """Share of a step → 1-shot episodes with all that the losses of a method read.

    A share holds ``support_masks`` (B, 1, S, S) and ``query_masks`` (B, S, S): 0, 1 or 255; the
    pictures as ``support_images`` (B, 1, 3, S, S) and ``query_images`` (B, 3, S, S) in 0 … 1, or,
    with an index, ``supports`` (B ``StoredExample``) and ``queries`` (B ``StoredPicture``); and
    with base classes ``base_labels`` (B, S, S) of the queries and ``classes`` (B,), the label of
    each episode's own class.

    Args:
        source: Data, rule and seed of the episodes.
        views: Pictures as they are ("whole") or cropped, flipped and coloured ("augmented").
        base_classes: Ids of the base classes, ascending; empty for no base labels.
        index: Index of stored features, for whole views; None for pixels.
    """

    def __init__(
        self,
        source: EpisodeSource,
        *,
        views: Views,
        base_classes: Sequence[int] = (),
        index: FeatureIndex | None = None,
    ) -> None:
        self._source, self._views, self._index = source, views, index
        self._ranks = rank_classes(base_classes)
        self._draw = make_draw(source.draw, source.lists, source.seed)
        self.samples_per_epoch = self._draw.epoch

    def __getitem__(self, share: Share) -> Sample:
        """Draw one part of a step's batch."""
        positions = share.positions(self._source.batch)
        return stack_samples([self._episode(share.step, position) for position in positions])

    def _episode(self, step: int, position: int) -> Sample:
        source, rng = self._source, self._source.rng(step, position)
        task = self._draw(step * source.batch + position, rng)
        shown = source.lists.present[task.query]
        ranks = {c: self._ranks[c] for c in shown if c in self._ranks}
        episode = (
            self._pixels(task.support, task.query, task.class_id, ranks, rng)
            if self._index is None
            else self._stored(self._index, task.support, task.query, task.class_id, ranks)
        )
        if self._ranks:
            episode["classes"] = torch.tensor(self._ranks[task.class_id])
        return episode

    def _pixels(
        self,
        support: str,
        query: str,
        class_id: int,
        ranks: Mapping[int, int],
        rng: np.random.Generator,
    ) -> Sample:
        data, size = self._source.data, self._source.image_size
        wanted = [data.class_mask(picture, class_id) for picture in (support, query)]
        cuts = [Cut.draw(mask, rng, whole=self._views == "whole") for mask in wanted]
        shown = [
            cut.image(data.image(p), size) for cut, p in zip(cuts, (support, query), strict=True)
        ]
        if self._views == "augmented":
            shown = [jitter_colour(pixels, rng) for pixels in shown]
        unknown = [data.ignored(picture) for picture in (support, query)]
        masks = [cut.mask(w, u, size) for cut, w, u in zip(cuts, wanted, unknown, strict=True)]
        episode = {
            "support_images": shown[0][None],
            "support_masks": masks[0][None],
            "query_images": shown[1],
            "query_masks": masks[1],
        }
        if self._ranks:
            episode["base_labels"] = cuts[1].labels(label_map(data, query, ranks), size)
        return episode

    def _stored(
        self, index: FeatureIndex, support: str, query: str, class_id: int, ranks: Mapping[int, int]
    ) -> Sample:
        data, size = self._source.data, self._source.image_size
        masks = [
            WHOLE.mask(data.class_mask(picture, class_id), data.ignored(picture), size)
            for picture in (support, query)
        ]
        episode = {
            "supports": index.look_at_example(ClassExample(data, support, size, class_id)),
            "support_masks": masks[0][None],
            "queries": index.look(Picture(data, query, size)),
            "query_masks": masks[1],
        }
        if self._ranks:
            episode["base_labels"] = mask_to_square(label_map(data, query, ranks), size)
        return episode


class LabelBatches(Dataset[Sample]):
    """Share of a step → pictures with the labels of all base classes, for a base learner.

    In an epoch each listed picture is drawn once, in random order. A share holds ``labels``
    (B, S, S), and ``images`` (B, 3, S, S) in 0 … 1 or, with an index, ``pictures``
    (B ``StoredPicture``).

    Args:
        source: Data and seed; its rule of drawing episodes is not used.
        views: Pictures as they are ("whole") or cropped, flipped and coloured ("augmented").
        base_classes: Ids of the base classes, ascending.
        index: Index of stored features, for whole views; None for pixels.
    """

    def __init__(
        self,
        source: EpisodeSource,
        *,
        views: Views,
        base_classes: Sequence[int],
        index: FeatureIndex | None = None,
    ) -> None:
        self._source, self._views, self._index = source, views, index
        self._ranks = rank_classes(base_classes)
        self.samples_per_epoch = len(source.lists.rows)

    def __getitem__(self, share: Share) -> Sample:
        """Draw one part of a step's batch."""
        positions = share.positions(self._source.batch)
        return stack_samples([self._picture(share.step, position) for position in positions])

    def _picture(self, step: int, position: int) -> Sample:
        source, rng = self._source, self._source.rng(step, position)
        picture = nth_row(source.lists, step * source.batch + position, source.seed)
        data, size = source.data, source.image_size
        shown = source.lists.present[picture]
        labels = label_map(data, picture, {c: self._ranks[c] for c in shown})
        if self._index is not None:
            stored = self._index.look(Picture(data, picture, size))
            return {"pictures": stored, "labels": mask_to_square(labels, size)}
        whole = self._views == "whole"
        cut = Cut.draw((labels > 0) & (labels != IGNORE), rng, whole=whole)
        pixels = cut.image(data.image(picture), size)
        return {
            "images": pixels if whole else jitter_colour(pixels, rng),
            "labels": cut.labels(labels, size),
        }


class Cut:
    """A part of a picture, mirrored or not, as a square: the same for pixels, mask and labels.

    Args:
        place: Rows and columns of the part.
        flip: Whether it is mirrored.
    """

    def __init__(self, place: tuple[slice, slice], *, flip: bool) -> None:
        self._place, self._flip = place, flip

    @classmethod
    def draw(cls, wanted: np.ndarray, rng: np.random.Generator, *, whole: bool) -> Cut:
        """Draw a part that shows enough of the wanted object (H, W); or take the whole picture."""
        if whole:
            return WHOLE
        return cls(draw_crop_with(wanted, rng), flip=bool(rng.random() < 0.5))

    def image(self, image: np.ndarray, size: int) -> Tensor:
        """Cut a picture (H, W, 3): (3, S, S) in 0 … 1."""
        return self._mirrored(to_square(image[self._place], size))

    def mask(self, wanted: np.ndarray, ignored: np.ndarray, size: int) -> Tensor:
        """Cut a mask and the pixels whose truth is unknown, both (H, W): (S, S) 0, 1 or 255.

        The object is never lost: of one that would vanish, each pixel that it touches is set.
        """
        cut = wanted[self._place], ignored[self._place]
        return self._mirrored(squash_truth(*cut, size, never_empty=True))

    def labels(self, labels: np.ndarray, size: int) -> Tensor:
        """Cut a map of labels (H, W): (S, S)."""
        return self._mirrored(mask_to_square(labels[self._place], size))

    def _mirrored(self, maps: Tensor) -> Tensor:
        return maps.flip(-1) if self._flip else maps


WHOLE = Cut((slice(None), slice(None)), flip=False)


def rank_classes(base_classes: Sequence[int]) -> dict[int, int]:
    """Return the label of each base class: 1 + its rank among them.

    Raises:
        FcpError: more classes than labels, of which 0 is the background and 255 the unknown.
    """
    if len(base_classes) >= IGNORE:
        raise FcpError(
            f"benchmark: {len(base_classes)} base classes; a base learner takes at most "
            f"{IGNORE - 1}, so choose another benchmark or a method without a base learner"
        )
    return {class_id: rank for rank, class_id in enumerate(sorted(base_classes), 1)}


def label_map(data: FewShotDataset, picture: str, ranks: Mapping[int, int]) -> np.ndarray:
    """Read the labels of a picture (H, W): those of the given classes, 0 elsewhere, 255 unknown.

    Args:
        data: Data set that holds the picture.
        picture: Name of the picture.
        ranks: Label of each class that is asked for.
    """
    ignored = data.ignored(picture)
    labels = np.zeros(ignored.shape, np.uint8)
    for class_id, rank in ranks.items():
        labels[data.class_mask(picture, class_id)] = rank
    labels[ignored] = IGNORE
    return labels


def nth_row(lists: ClassLists, index: int, seed: int) -> str:
    """Return the ``index``-th picture of a training: each epoch has the listed ones, shuffled."""
    epoch, place = divmod(index, len(lists.rows))
    return lists.rows[np.random.default_rng((seed, epoch)).permutation(len(lists.rows))[place]]


def stack_samples(samples: Sequence[Sample]) -> Sample:
    """Stack the tensors of samples; all else becomes a list."""
    return {
        name: torch.stack([one[name] for one in samples])
        if isinstance(samples[0][name], Tensor)
        else [one[name] for one in samples]
        for name in samples[0]
    }
