"""Training episodes from stored views: features, masks, and whether the query shows the class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from fcp.config import IGNORE
from fcp.data.mixed import MixedTask, Mixture
from fcp.data.transforms import support_to_square
from fcp.engine.mixtures import LEAST_SHARE, draw_step
from fcp.engine.share import Share
from fcp.engine.view_store import (
    BACKBONE,
    SEGMENTER,
    ViewStore,
    crop_mask,
    decode_backbone,
    decode_embedding,
)
from fcp.method.fcp.model import FCP
from fcp.structures import Output

_SUPPORT = (*BACKBONE, SEGMENTER[0])  # a support is never decoded, so that it needs no finer maps


@dataclass(frozen=True)
class StoredEpisode:
    """One episode as tensors.

    Attributes:
        support: Arrays of 8-bit numbers (K, C, h, w) by name.
        support_masks: Masks of the supports (K, S, S), 0 or 1.
        query: Arrays of 8-bit numbers (C, h, w) by name.
        query_mask: Mask of the query (S, S): 0, 1, or 255 where the truth is unknown; 255
            throughout where the class is absent.
        present: Whether the query shows the class.
    """

    support: dict[str, Tensor]
    support_masks: Tensor
    query: dict[str, Tensor]
    query_mask: Tensor
    present: bool


class StoredBatches(Dataset[dict[str, Any]]):
    """Share of a step → episodes of stored views, drawn from (seed, step, position) alone.

    A share holds the fields of ``StoredEpisode``, stacked; ``support`` and ``query`` are
    dictionaries.

    Args:
        mixtures: Sources of the episodes, one for each number of shots; a step draws one of them,
            evenly.
        store: Features of all photos that the mixtures draw.
        batch: Number of episodes of a step.
        image_size: Side of the square pictures S, px.
        seed: Seed of the episodes.
    """

    def __init__(
        self,
        mixtures: Sequence[Mixture],
        store: ViewStore,
        *,
        batch: int,
        image_size: int,
        seed: int,
    ) -> None:
        self._mixtures, self._store = mixtures, store
        self._batch, self._size, self._seed = batch, image_size, seed
        self.samples_per_epoch = mixtures[0].photos

    def __getitem__(self, share: Share) -> dict[str, Any]:
        """Draw one part of a step's batch."""
        drawn = draw_step(self._mixtures, share, batch=self._batch, seed=self._seed)
        return stack_episodes(
            [make_episode(self._store, task, self._size, rng) for task, rng in drawn]
        )


def make_episode(
    store: ViewStore, task: MixedTask, size: int, rng: np.random.Generator | None
) -> StoredEpisode:
    """Read an episode.

    Args:
        store: Store of the views.
        task: Class and photos of the episode.
        size: Side of the square pictures S, px.
        rng: Generator that draws a view of each photo; None for whole photos.
    """
    supports = [_view_with(store, task, photo, size, rng) for photo in task.supports]
    read = [store.read(photo, number, _SUPPORT) for photo, number, _ in supports]
    if task.present:
        query, number, mask = _view_with(store, task, task.query, size, rng)
        ignored = crop_mask(store, query, number, task.source.data.ignored(query), size)
        mask[ignored > 0] = IGNORE
    else:
        query, number = task.query, 0 if rng is None else int(rng.integers(store.views))
        mask = torch.full((size, size), float(IGNORE))
    return StoredEpisode(
        support={name: torch.stack([one[name] for one in read]) for name in _SUPPORT},
        support_masks=torch.stack([mask for _, _, mask in supports]),
        query=store.read(query, number, (*BACKBONE, *SEGMENTER)),
        query_mask=mask,
        present=task.present,
    )


def stack_episodes(episodes: Sequence[StoredEpisode]) -> dict[str, Any]:
    """Make a batch of episodes with the same number of shots."""
    first = episodes[0]
    return {
        "support": {n: torch.stack([e.support[n] for e in episodes]) for n in first.support},
        "support_masks": torch.stack([e.support_masks for e in episodes]),
        "query": {n: torch.stack([e.query[n] for e in episodes]) for n in first.query},
        "query_masks": torch.stack([e.query_mask for e in episodes]),
        "present": torch.tensor([float(e.present) for e in episodes]),
    }


def answer_stored(model: FCP, steps: Mapping[str, float], batch: Mapping[str, Any]) -> Output:
    """Run the head and the mask decoder on a batch; the shots of a task are pooled."""
    theirs = {name: value.flatten(0, 1) for name, value in batch["support"].items()}
    channels = model.backbone.level_channels
    support = model.head.prepare_support(
        decode_backbone(theirs, steps, channels),
        decode_embedding(theirs, steps),
        batch["support_masks"],
        fusion="pooled",
    )
    query = model.head.prepare_query(
        decode_backbone(batch["query"], steps, channels), decode_embedding(batch["query"], steps)
    )
    return model.match(support, query, with_maps=True)


def _view_with(
    store: ViewStore, task: MixedTask, photo: str, size: int, rng: np.random.Generator | None
) -> tuple[str, int, Tensor]:
    """Draw a view of a photo that shows the class; return it with the class's mask (S, S)."""
    wanted = task.source.data.class_mask(photo, task.class_id)
    number = 0 if rng is None else int(rng.integers(store.views))
    mask = crop_mask(store, photo, number, wanted, size)
    if number and mask.mean() < LEAST_SHARE:
        number, mask = 0, crop_mask(store, photo, 0, wanted, size)
    if not mask.any():
        number, mask = 0, support_to_square(wanted, size)
    return photo, number, mask
