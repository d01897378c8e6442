"""Training episodes: fresh ones at each step, each drawn from (seed, step, position) alone.

Most VOC pictures show a single object of one of a few kinds, so a model that outlines the salient
object would do well without looking at the example. Two additions of ours make examples matter:
distractors, objects of another class pasted into the query; and region episodes, whose support and
query are two views of one picture with a human-drawn region as the object.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from fcp.config import IGNORE
from fcp.data.augment import jitter_colour, paste
from fcp.data.benchmarks import open_benchmark
from fcp.data.dataset import ClassExample, FewShotDataset, Picture
from fcp.data.images import read_image, read_labels
from fcp.data.lists import ClassLists, train_lists
from fcp.data.region_store import RegionSource
from fcp.data.transforms import squash_truth, to_square
from fcp.engine.draws import DrawRule, make_draw
from fcp.engine.method_recipe import BaseLearnerRecipe, MethodRecipe
from fcp.engine.recipe import HeadRecipe
from fcp.engine.share import Share
from fcp.features.frozen import FeatureIndex, StoredExample, StoredPicture

Views = Literal["whole", "augmented"]

_CROP_TRIES = 10
_LEAST_SHARE = 0.01  # least share of a crop that the class covers
_SWAP_SHARE = 0.3  # share of the distractors where the wanted object goes into the other's picture
_LEAST_LEFT = 0.5  # least share of the wanted object that a distractor leaves uncovered
_REGION_AREA = (0.02, 0.5)  # share of the picture that a wanted region covers


@dataclass(frozen=True)
class EpisodeSource:
    """Data, rule and seed of the training episodes.

    Attributes:
        data: Pictures and masks.
        lists: Classes and pictures that may be drawn.
        draw: Rule by which class, support and query are drawn.
        batch: Number of episodes of a step.
        image_size: Side of the square pictures S, px.
        seed: Seed of the episodes.
    """

    data: FewShotDataset
    lists: ClassLists
    draw: DrawRule
    batch: int
    image_size: int
    seed: int

    def rng(self, step: int, position: int) -> np.random.Generator:
        """Return the generator of one episode."""
        return np.random.default_rng((self.seed, step, position))


def open_source(
    recipe: HeadRecipe | MethodRecipe | BaseLearnerRecipe,
    data_root: Path,
    *,
    image_size: int,
    draw: DrawRule,
) -> EpisodeSource:
    """List the training data of a recipe.

    Args:
        recipe: Recipe with a benchmark and a fold.
        data_root: Folder of the data sets.
        image_size: Side of the square pictures S, px.
        draw: Rule by which class, support and query are drawn.

    Raises:
        FcpError: data are missing.
    """
    data = open_benchmark(recipe.benchmark, data_root)
    lists = train_lists(data, recipe.fold, filtered=not recipe.unfiltered)
    return EpisodeSource(data, lists, draw, recipe.optim.batch, image_size, recipe.seed)


class EpisodeBatches(Dataset[dict[str, Tensor]]):
    """Share of a step → 1-shot episodes as pixels.

    A share holds ``support_images`` (B, 1, 3, S, S), ``support_masks`` (B, 1, S, S),
    ``query_images`` (B, 3, S, S) in 0 … 1 and ``query_masks`` (B, S, S): 0, 1 or 255 (ignore).

    Args:
        source: Data, rule and seed of the episodes.
        views: Pictures as they are ("whole", the paper's) or cropped, flipped and coloured anew
            each time ("augmented", ours).
        distractor_share: Share of the queries that get an object of another class, 0 … 1.
        regions: Pictures with regions for region episodes.
        region_share: Share of the episodes that are region episodes, 0 … 1.
    """

    def __init__(
        self,
        source: EpisodeSource,
        *,
        views: Views = "augmented",
        distractor_share: float = 0.0,
        regions: Sequence[RegionSource] = (),
        region_share: float = 0.0,
    ) -> None:
        self._source, self._views = source, views
        self._data, self._size = source.data, source.image_size
        self._distractor_share = distractor_share
        self._regions, self._region_share = regions, region_share
        self._present = source.lists.present
        self._members = {c: ids for c, ids in source.lists.members.items() if ids}
        self._draw = make_draw(source.draw, source.lists, source.seed)
        self.samples_per_epoch = self._draw.epoch

    def __getitem__(self, share: Share) -> dict[str, Tensor]:
        """Draw one part of a step's batch."""
        positions = share.positions(self._source.batch)
        episodes = [self._episode(share.step, position) for position in positions]
        return {name: torch.stack([e[name] for e in episodes]) for name in episodes[0]}

    def _episode(self, step: int, position: int) -> dict[str, Tensor]:
        rng = self._source.rng(step, position)
        if rng.random() < self._region_share:
            support, query = self._view_region(rng)
        else:
            task = self._draw(step * self._source.batch + position, rng)
            support = self._view(task.support, task.class_id, rng, never_empty=True)
            query = self._view(task.query, task.class_id, rng)
            if rng.random() < self._distractor_share:
                query = self._distract(*query, task.class_id, rng)
        return {
            "support_images": support[0][None],
            "support_masks": (support[1] == 1).float()[None],
            "query_images": query[0],
            "query_masks": query[1],
        }

    def _distract(
        self, image: Tensor, mask: Tensor, class_id: int, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """Paste an object of another class into the query, or the query's into another picture."""
        other = int(rng.choice(list(self._members)))
        without = [p for p in self._members[other] if class_id not in self._present[p]]
        if other == class_id or not without:
            return image, mask
        other_image, other_mask = self._view(str(rng.choice(without)), other, rng)
        wanted, distractor = mask == 1, other_mask == 1
        if rng.random() < _SWAP_SHARE:
            unknown = torch.full_like(mask, IGNORE)
            elsewhere = torch.where(other_mask == IGNORE, unknown, torch.zeros_like(mask))
            mixed = paste(other_image, image, wanted.numpy())
            return mixed, torch.where(wanted, mask, elsewhere)
        if (wanted & ~distractor).sum() < _LEAST_LEFT * wanted.sum():
            return image, mask
        mixed = paste(image, other_image, distractor.numpy())
        return mixed, mask.masked_fill(distractor, 0)

    def _view(
        self, picture: str, class_id: int, rng: np.random.Generator, *, never_empty: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Return a view of a class in a picture: (3, S, S), and its mask (S, S)."""
        image, data = self._data.image(picture), self._data
        masks = data.class_mask(picture, class_id), data.ignored(picture)
        if self._views == "whole":
            truth = squash_truth(*masks, self._size, never_empty=never_empty)
            return to_square(image, self._size), truth
        return make_view(image, *masks, self._size, rng, never_empty=never_empty)

    def _view_region(self, rng: np.random.Generator) -> list[tuple[Tensor, Tensor]]:
        """Return two views of one picture and of one of its regions."""
        source = self._regions[int(rng.integers(len(self._regions)))]
        labels = read_labels(source.labels[int(rng.integers(len(source.labels)))])
        ids, areas = np.unique(labels, return_counts=True)
        least, most = (share * labels.size for share in _REGION_AREA)
        fitting = ids[(areas > least) & (areas < most)]
        wanted = labels == rng.choice(fitting if len(fitting) else ids)
        image, ignored = read_image(source.image), np.zeros_like(wanted)
        return [make_view(image, wanted, ignored, self._size, rng) for _ in range(2)]


class SeenBatches(Dataset[dict[str, object]]):
    """Share of a step → 1-shot episodes on whole pictures, as features where they are stored.

    A share holds ``supports`` (B ``StoredExample``), ``queries`` (B ``StoredPicture``) and
    ``query_masks`` (B, S, S): 0, 1 or 255 (ignore). The episodes are those of ``EpisodeBatches``
    with whole views.

    Args:
        source: Data, rule and seed of the episodes.
        index: Index of the stored features.
    """

    def __init__(self, source: EpisodeSource, index: FeatureIndex) -> None:
        self._source, self._index = source, index
        self._draw = make_draw(source.draw, source.lists, source.seed)
        self.samples_per_epoch = self._draw.epoch

    def __getitem__(self, share: Share) -> dict[str, object]:
        """Draw one part of a step's batch."""
        positions = share.positions(self._source.batch)
        episodes = [self._episode(share.step, position) for position in positions]
        supports, queries, masks = zip(*episodes, strict=True)
        return {"supports": supports, "queries": queries, "query_masks": torch.stack(masks)}

    def _episode(self, step: int, position: int) -> tuple[StoredExample, StoredPicture, Tensor]:
        source, rng = self._source, self._source.rng(step, position)
        rng.random()  # EpisodeBatches first draws whether this is a region episode
        task = self._draw(step * source.batch + position, rng)
        size = source.image_size
        example = ClassExample(source.data, task.support, size, task.class_id)
        return (
            self._index.look_at_example(example),
            self._index.look(Picture(source.data, task.query, size)),
            class_truth(source.data, task.query, task.class_id, size),
        )


def class_truth(data: FewShotDataset, picture: str, class_id: int, size: int) -> Tensor:
    """Return a class's mask in a whole picture (S, S): 0, 1, or 255 where the truth is unknown."""
    return squash_truth(data.class_mask(picture, class_id), data.ignored(picture), size)


def make_view(
    image: np.ndarray,
    wanted: np.ndarray,
    ignored: np.ndarray,
    size: int,
    rng: np.random.Generator,
    *,
    never_empty: bool = False,
) -> tuple[Tensor, Tensor]:
    """Crop, flip and colour a picture; the view shows enough of the wanted object.

    Args:
        image: RGB picture (H, W, 3).
        wanted: Boolean mask of the object (H, W).
        ignored: Boolean mask of the pixels whose truth is unknown (H, W).
        size: Side of the view S, px.
        rng: Source of the draw.
        never_empty: See ``squash_truth``.

    Returns:
        Pixels (3, S, S) in 0 … 1, and mask (S, S): 0, 1 or 255 (ignore).
    """
    crop = draw_crop_with(wanted, rng)
    flip = rng.random() < 0.5
    pixels = to_square(image[crop], size)
    mask = squash_truth(wanted[crop], ignored[crop], size, never_empty=never_empty)
    if flip:
        pixels, mask = pixels.flip(-1), mask.flip(-1)
    return jitter_colour(pixels, rng), mask


def draw_crop_with(mask: np.ndarray, rng: np.random.Generator) -> tuple[slice, slice]:
    """Draw a crop of half the area or more that shows the mask; the whole picture if none does."""
    height, width = mask.shape
    for _ in range(_CROP_TRIES):
        side = np.sqrt(rng.uniform(0.5, 1.0))
        h, w = round(height * side), round(width * side)
        top, left = rng.integers(height - h + 1), rng.integers(width - w + 1)
        crop = slice(top, top + h), slice(left, left + w)
        if mask[crop].mean() >= _LEAST_SHARE:
            return crop
    return slice(0, height), slice(0, width)
