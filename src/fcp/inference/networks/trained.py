"""A compared method that was trained on episodes (``fcp.method.trained``) as a network.

Its own rule joins several examples, whatever the fusion. Presence compares the backbone's mid-level
map, which all of these methods read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fcp.config import Fusion
from fcp.features.cache import fingerprint
from fcp.inference.networks.base import (
    Answer,
    Cells,
    Known,
    Network,
    Seen,
    masked_means,
    similarity_map,
)
from fcp.layers.masked import mask_to_share
from fcp.method.base import repeatable
from fcp.method.trained import AnyMethod
from fcp.models.trained import save_trained
from fcp.structures import BackboneFeatures


@dataclass(frozen=True)
class TrainedShown:
    """An example as a support.

    Attributes:
        mask: Mask of the object (S, S), 0 or 1.
        features: Features of the backbone, as the method sees a support.
    """

    mask: Tensor
    features: BackboneFeatures


@dataclass(frozen=True)
class TrainedSupport:
    """Encoded examples of one class.

    Attributes:
        prepared: Support as the method made it.
        means: Means of the mid-level map over foreground and background (2, D).
        shots: Number K of examples.
    """

    prepared: Any
    means: Tensor
    shots: int


@dataclass(frozen=True)
class TrainedQuery:
    """Encoded photos.

    Attributes:
        prepared: Queries as the method made them.
        cells: Cells of the mid-level map.
    """

    prepared: Any
    cells: Cells


class TrainedNetwork(Network[TrainedShown, TrainedSupport, TrainedQuery]):
    """A compared method; D are the channels of its backbone's mid-level map.

    Args:
        model: Method that is saved.
        method: Key of ``fcp.method.trained.TRAINED``.
        options: Options of its builder, which make the same model again.
        image_size: Side S of the square that it was trained with, px.
    """

    model: AnyMethod

    def __init__(
        self, model: AnyMethod, *, method: str, options: Mapping[str, Any], image_size: int
    ) -> None:
        super().__init__(model, square=image_size, levels=[model.backbone.mid_channels])
        self.method = method
        self.options = dict(options)

    @property
    def fingerprint(self) -> str:
        """Hash of the method's name, options and weights."""
        return fingerprint(self.model, [self.method, repr(self.options), self.square])

    def save(self, folder: Path) -> None:
        """Write a model folder; see ``save_trained``."""
        save_trained(self.model, self.method, self.options, self.square, folder)

    def see(self, image: Tensor, mask: Tensor) -> Seen[TrainedShown, TrainedQuery]:
        """Encode an example as a support and as a query."""
        return Seen(mask, self.show(image, mask), self.query(image[None]))

    def show(self, image: Tensor, mask: Tensor) -> TrainedShown:
        """Encode an example as a support alone."""
        return TrainedShown(mask, self.model.see_support(image[None], mask[None, None]))

    def query(self, images: Tensor) -> TrainedQuery:
        """Encode photos (B, 3, S, S), RGB in 0 … 1."""
        features = self.model.backbone(images)
        prepared = self.model.prepare_query(features, (images.shape[-2], images.shape[-1]))
        grid = (features.mid.shape[2], features.mid.shape[3])
        return TrainedQuery(prepared, Cells(_units(features.mid), grid))

    def join(self, shown: Sequence[TrainedShown], fusion: Fusion) -> TrainedSupport:
        """Join examples by the method's own rule.

        Where the method's backbone sees nothing of a support but the object, its background is not
        known.
        """
        features = BackboneFeatures.cat([one.features for one in shown])
        masks = torch.stack([one.mask for one in shown])
        grid = (features.mid.shape[2], features.mid.shape[3])
        means = masked_means(_units(features.mid), mask_to_share(masks, grid))
        if self.model.support_view == "masked picture":
            means[1] = 0
        return TrainedSupport(self.model.prepare_support(features, masks[None]), means, len(shown))

    def match(self, support: TrainedSupport, query: TrainedQuery) -> Answer:
        """Segment B photos; both maps are the similarity to the examples' mean object."""
        with repeatable():
            logits = self.model.match(support.prepared, query.prepared).mask_logits
        similar = similarity_map(query.cells, support.means[0])
        return Answer(logits, similar, similar)

    def cells(self, query: TrainedQuery) -> Cells:
        """Return the cells of the mid-level map."""
        return query.cells

    def known(self, support: TrainedSupport) -> Known:
        """Return the means of one class's examples."""
        return Known(support.means.cpu(), support.shots)


def _units(maps: Tensor) -> Tensor:
    """Flatten maps (B, D, h, w) to cells (B, D, h·w) of length 1."""
    return F.normalize(maps.float().flatten(2), dim=1)
