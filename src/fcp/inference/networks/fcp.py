"""FCP and its baselines (``fcp.method.fcp``) as a network of the segmenter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from fcp.checks import to_dict
from fcp.config import Fusion
from fcp.encoders.base import PromptableSegmenter
from fcp.features.cache import fingerprint
from fcp.inference.networks.base import Answer, Cells, Known, Network, Seen
from fcp.method.fcp.model import FCP
from fcp.models.checkpoint import save_model
from fcp.models.loading import for_inference
from fcp.structures import BackboneFeatures, Embedding, QueryFeatures, SupportSet

EPSILON = 1e-6  # squared length below which a cell of ``SupportSet.high`` is padding


@dataclass(frozen=True)
class FcpShown:
    """An example as a support: its mask and the features of both encoders.

    Attributes:
        mask: Mask of the object (S, S), 0 or 1.
        features: Features of the backbone, whose last stage ran under the mask.
        embedding: Embedding of the promptable segmenter, without finer maps.
    """

    mask: Tensor
    features: BackboneFeatures
    embedding: Embedding


class FcpNetwork(Network[FcpShown, SupportSet, QueryFeatures]):
    """FCP; D are the channels of the backbone's levels and of its stage 4.

    Args:
        model: Model that is saved.

    Attributes:
        running: Copy of the model in a faster form, which segments (``loading.for_inference``).
    """

    model: FCP

    def __init__(self, model: FCP) -> None:
        levels = (*model.head.levels, model.backbone.high_channels)
        super().__init__(model, square=model.config.image_size, levels=levels)
        self.running = for_inference(self.model)

    def to(self, device: torch.device) -> None:
        """Move the model and its faster form to a device."""
        super().to(device)
        self.running.to(device)

    @property
    def promptable(self) -> PromptableSegmenter:
        """Segmenter that takes boxes and points."""
        return self.running.segmenter

    def takes_closer_cuts(self, fusion: Fusion) -> bool:
        """Return whether the head compares cells and pools those of several examples."""
        return self.running.head.correlation is not None and fusion == "pooled"

    @property
    def fingerprint(self) -> str:
        """Hash of the model's configuration and weights."""
        return fingerprint(self.model, to_dict(self.model.config))

    def save(self, folder: Path) -> None:
        """Write a model folder; see ``save_model``."""
        save_model(self.model, folder)

    def see(self, image: Tensor, mask: Tensor) -> Seen[FcpShown, QueryFeatures]:
        """Encode an example as a support and as a query; each encoder runs once if it can."""
        model = self.running
        embedding = model.segmenter.encode(image[None])
        features, under_mask = model.backbone.both(image[None], mask[None, None])
        query = model.head.prepare_query(features, embedding)
        return Seen(mask, FcpShown(mask, under_mask, Embedding(embedding.image)), query)

    def show(self, image: Tensor, mask: Tensor) -> FcpShown:
        """Encode an example as a support alone."""
        features = self.running.backbone(image[None], mask[None, None])
        embedding = Embedding(self.running.segmenter.encode(image[None]).image)
        return FcpShown(mask, features, embedding)

    def query(self, images: Tensor) -> QueryFeatures:
        """Encode photos (B, 3, S, S), RGB in 0 … 1."""
        return self.running.encode_query(images)

    def join(self, shown: Sequence[FcpShown], fusion: Fusion) -> SupportSet:
        """Join examples that were encoded one by one into the support of one class."""
        return self.running.head.prepare_support(
            BackboneFeatures.cat([one.features for one in shown]),
            Embedding.cat([one.embedding for one in shown]),
            torch.stack([one.mask for one in shown])[None],
            fusion=fusion,
        )

    def match(self, support: SupportSet, query: QueryFeatures) -> Answer:
        """Segment B photos; maps and presence are means over the examples."""
        output = self.running.match(support, query)
        conventional = output.conventional_mask.mean(dim=1)
        presence = None
        if output.correlation is not None:
            logits = output.correlation.presence.float()
            presence = logits.unflatten(0, (len(conventional), -1)).mean(1)
        return Answer(output.mask_logits, output.pseudo_mask, conventional, presence)

    def cells(self, query: QueryFeatures) -> Cells:
        """Return the cells of the backbone's levels, and of its stage 4."""
        high = F.normalize(query.high.float(), dim=1)
        return Cells(torch.cat([query.level_units.float(), high], 1), query.grid)

    def known(self, support: SupportSet) -> Known:
        """Return the means of one class's examples.

        Stage 4 ran under the mask, so that its background is 0.
        """
        levels = support.level_means[0].float().mean(0)  # (2, Cm)
        cells = support.high[0].flatten(0, 1).float()  # (K·n, Ch), zeros where padded
        count = (cells.square().sum(1) > EPSILON).sum().clamp(min=1)
        high = torch.stack([cells.sum(0) / count, torch.zeros_like(cells[0])])
        return Known(torch.cat([levels, high], 1).cpu(), support.grid_mask.shape[1])

    def maps(self, query: QueryFeatures) -> Sequence[Tensor]:
        """Return the segmenter's maps, finest first, and the backbone's levels."""
        levels = query.level_units.unflatten(2, query.grid)
        return [*query.embedding.high_resolution, query.embedding.image, levels]
