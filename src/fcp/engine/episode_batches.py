"""Training episodes of PASCAL-5i: fresh ones at each step, drawn from (seed, step) alone."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from fcp.data.augment import jitter_colour, paste
from fcp.data.lists import ClassLists
from fcp.data.pascal import IGNORE, PascalVOC
from fcp.data.transforms import mask_to_square, to_square

_CROP_TRIES = 10
_LEAST_SHARE = 0.01  # of a crop that the class covers
_MIX_SHARE = 0.5  # of the queries show a thing of another class beside the wanted one
_SWAP_SHARE = 0.3  # of those, the wanted thing is pasted into the other's picture
_LEAST_LEFT = 0.5  # of the wanted thing that a pasted one may leave uncovered


class EpisodeBatches(Dataset[dict[str, Tensor]]):
    """Step number → batch of 1-shot episodes.

    A batch holds ``support_images`` (B, 1, 3, S, S), ``support_masks`` (B, 1, S, S),
    ``query_images`` (B, 3, S, S) in 0 … 1 and ``query_masks`` (B, S, S): 0, 1 or 255 (ignore). A
    class is drawn in proportion to the square root of its count, so that rare classes are seen
    more often than their pictures and common ones still most.

    Most VOC pictures show one thing, so "outline what stands out" would do without any example.
    Half of the queries therefore get a second thing, of another class, cut out along its mask.

    Args:
        data: pictures and masks.
        lists: the classes and pictures that may be drawn.
        batch: B.
        image_size: S.
        seed: of the draw.
    """

    def __init__(
        self, data: PascalVOC, lists: ClassLists, *, batch: int, image_size: int, seed: int
    ) -> None:
        self._data, self._batch, self._size, self._seed = data, batch, image_size, seed
        self._present = lists.present
        self._members = {c: ids for c, ids in lists.members.items() if len(ids) > 1}
        counts = np.array([len(ids) for ids in self._members.values()], dtype=float)
        self._shares = np.sqrt(counts) / np.sqrt(counts).sum()

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        """Draw the batch of a step."""
        rng = np.random.default_rng((self._seed, step))
        classes = rng.choice(list(self._members), size=self._batch, p=self._shares)
        episodes = [self._draw(int(c), rng) for c in classes]
        return {name: torch.stack([e[name] for e in episodes]) for name in episodes[0]}

    def _draw(self, class_id: int, rng: np.random.Generator) -> dict[str, Tensor]:
        support, query = rng.choice(self._members[class_id], size=2, replace=False)
        support_image, support_mask = self._view(support, class_id, rng)
        query_image, query_mask = self._view(query, class_id, rng)
        if rng.random() < _MIX_SHARE:
            query_image, query_mask = self._mix(query_image, query_mask, class_id, rng)
        return {
            "support_images": support_image[None],
            "support_masks": (support_mask == 1).float()[None],
            "query_images": query_image,
            "query_masks": query_mask,
        }

    def _mix(
        self, image: Tensor, mask: Tensor, class_id: int, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """Put a thing of another class into the query, or the query's into another's picture."""
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

    def _view(self, picture: str, class_id: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Crop, flip and colour a picture; keep enough of the class in sight."""
        image, labels = self._data.image(picture), self._data.labels(picture)
        rows, columns = draw_crop_with(labels == class_id, rng)
        flip = rng.random() < 0.5
        pixels = to_square(image[rows, columns], self._size)
        cut = labels[rows, columns]
        mask = mask_to_square(cut == class_id, self._size)
        mask[mask_to_square(cut == IGNORE, self._size) > 0] = IGNORE
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
