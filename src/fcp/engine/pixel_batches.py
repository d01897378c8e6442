"""Training episodes of VOC and ``objects`` as pixels, in views that are drawn anew each time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from fcp.config import IGNORE
from fcp.data.augment import jitter_colour
from fcp.data.mixed import MixedTask, Mixture
from fcp.data.transforms import squash_truth, support_to_square, to_square
from fcp.data.views import View, draw_box
from fcp.engine.mixtures import LEAST_SHARE, draw_step
from fcp.engine.share import Share
from fcp.method.fcp.model import FCP
from fcp.structures import Output

_CROP_SHARE = 0.5  # share of the photos that are cropped and coloured; the others stay whole


class PixelBatches(Dataset[dict[str, Tensor]]):
    """Share of a step → episodes as pixels, drawn from (seed, step, position) alone.

    A share holds ``support_images`` (B, K, 3, S, S), ``support_masks`` (B, K, S, S),
    ``query_images`` (B, 3, S, S) in 0 … 1, ``query_masks`` (B, S, S): 0, 1, or 255 where the truth
    is unknown, and throughout where the class is absent; and ``present`` (B,), 0 or 1.

    Args:
        mixtures: Sources of the episodes, one for each number of shots; a step draws one of them,
            evenly.
        batch: Number of episodes of a step.
        image_size: Side of the square pictures S, px.
        seed: Seed of the episodes.
    """

    def __init__(
        self, mixtures: Sequence[Mixture], *, batch: int, image_size: int, seed: int
    ) -> None:
        self._mixtures, self._batch = mixtures, batch
        self._size, self._seed = image_size, seed
        self.samples_per_epoch = mixtures[0].photos

    def __getitem__(self, share: Share) -> dict[str, Tensor]:
        """Draw one part of a step's batch."""
        drawn = draw_step(self._mixtures, share, batch=self._batch, seed=self._seed)
        return stack_pixels([draw_episode(task, self._size, rng) for task, rng in drawn])


def draw_episode(task: MixedTask, size: int, rng: np.random.Generator | None) -> dict[str, Tensor]:
    """Read an episode without its batch axis.

    Args:
        task: Class and photos of the episode.
        size: Side S of the square pictures, px.
        rng: Generator that draws a view of each photo; None for whole photos.
    """
    data, class_id = task.source.data, task.class_id
    images, masks = [], []
    for photo in task.supports:
        mask = data.class_mask(photo, class_id)
        image, view = _draw_view(data.image(photo), [mask], size, rng)
        images.append(image)
        masks.append(support_to_square(view.crop(mask), size))
    if task.present:
        mask = data.class_mask(task.query, class_id)
        query, view = _draw_view(data.image(task.query), [mask], size, rng)
        target = squash_truth(view.crop(mask), view.crop(data.ignored(task.query)), size)
    else:
        others = [data.class_mask(task.query, other) for other in data.pixels(task.query)]
        query, _ = _draw_view(data.image(task.query), others, size, rng)
        target = torch.full((size, size), float(IGNORE))
    return {
        "support_images": torch.stack(images),
        "support_masks": torch.stack(masks).float(),
        "query_images": query,
        "query_masks": target,
        "present": torch.tensor(float(task.present)),
    }


def stack_pixels(episodes: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Make a batch of episodes with the same number of shots."""
    return {name: torch.stack([one[name] for one in episodes]) for name in episodes[0]}


def answer_views(model: FCP, batch: Mapping[str, Any]) -> Output:
    """Run the whole model on a batch; the shots of a task are pooled.

    Stage 4 is that of the whole picture, as in ``stored_batches``.
    """
    pictures = batch["support_images"].flatten(0, 1)
    support = model.head.prepare_support(
        model.backbone(pictures),
        model.segmenter.encode(pictures),
        batch["support_masks"],
        fusion="pooled",
    )
    return model.match(support, model.encode_query(batch["query_images"]), with_maps=True)


def _draw_view(
    image: np.ndarray, masks: Sequence[np.ndarray], size: int, rng: np.random.Generator | None
) -> tuple[Tensor, View]:
    """Return the pixels (3, S, S) of a photo, whole or cut and coloured, and where it was cut.

    Args:
        image: Photo (H, W, 3).
        masks: Masks (H, W) of the classes, one of which a crop shows; at least one.
        size: Side S of the square, px.
        rng: Generator; None for the whole photo.
    """
    whole = View((0, 0, image.shape[1], image.shape[0]), flip=False)
    if rng is None or rng.random() >= _CROP_SHARE:
        return to_square(image, size), whole
    view = View(draw_box(masks, rng), flip=bool(rng.random() < 0.5))
    if max(float(view.crop(mask).mean()) for mask in masks) < LEAST_SHARE:
        return to_square(image, size), whole
    return jitter_colour(to_square(view.crop(image), size), rng), view
