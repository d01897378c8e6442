"""The second stage: the FCP head, and on request the backbone, learn from episodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from fcp.engine.episode_batches import EpisodeBatches
from fcp.losses.criterion import Criterion
from fcp.model import FCP
from fcp.structures import Episode


class EpisodicStage:
    """Losses of an episodic step (Eq. 15).

    Args:
        model: the whole model; its encoders are frozen.
        batches: episodes.
        criterion: named loss terms.
        also_trained: parameters of the encoders that learn all the same; batch norms keep their
            statistics.
    """

    def __init__(
        self,
        model: FCP,
        batches: EpisodeBatches,
        criterion: Criterion,
        *,
        also_trained: Sequence[nn.Parameter] = (),
    ) -> None:
        self.model = model.train()
        self.batches = batches
        self._criterion = criterion
        self._also_trained = list(also_trained)
        for parameter in self._also_trained:
            parameter.requires_grad_(True)

    def fresh_and_pretrained(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """Split the parameters: the head is fresh, what else learns is pretrained."""
        return list(self.model.head.parameters()), self._also_trained

    def losses(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Run the episodes; the query's mask meets the model's answer only here."""
        episode = Episode(
            support_images=batch["support_images"],
            support_masks=batch["support_masks"],
            query_images=batch["query_images"],
        )
        return self._criterion(self.model(episode), batch["query_masks"])
