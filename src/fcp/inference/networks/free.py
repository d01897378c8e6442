"""A method without any training (``fcp.method.free``) as a network of the segmenter.

Pictures are squashed to the square of the method's frame, which INSID3, GF-SAM and Matcher do too;
PerSAM's paper keeps a picture's proportions. K examples become one answer by the paper's rule
(fusion "mean") or as one example (fusion "pooled").
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from fcp.config import Fusion
from fcp.encoders.base import PromptableSegmenter
from fcp.encoders.hub import configs_of
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
from fcp.method.free import FreeMethod, FreeQuery, FreeSupport
from fcp.models.free import LoadedFree, save_free


class FreeNetwork(Network[FreeSupport, FreeSupport, FreeQuery]):
    """A method without training; D are the channels of its own features.

    Args:
        loaded: Method with its name and options.

    Raises:
        FcpError: a folder that is part of the method's name is missing.
    """

    fusions: ClassVar[tuple[Fusion, ...]] = ("pooled", "mean")
    model: FreeMethod

    def __init__(self, loaded: LoadedFree) -> None:
        self.loaded = loaded
        method = loaded.method
        super().__init__(method, square=method.image_size, levels=[loaded.channels])

    @property
    def promptable(self) -> PromptableSegmenter | None:
        """Segmenter that the method prompts; None of one without."""
        found: PromptableSegmenter | None = getattr(self.model, "segmenter", None)
        return found

    @property
    def fingerprint(self) -> str:
        """Hash of the method's name and options, and of its encoders' settings and weights."""
        settings = {
            "name": self.loaded.name.method,
            "options": self.loaded.options,
            "encoders": configs_of(self.model),
        }
        return fingerprint(self.model, settings)

    def save(self, folder: Path) -> None:
        """Write a folder that names the method and its encoders; see ``save_free``."""
        save_free(self.loaded, folder)

    def see(self, image: Tensor, mask: Tensor) -> Seen[FreeSupport, FreeQuery]:
        """Encode an example as a support and as a query."""
        return Seen(mask, self.show(image, mask), self.query(image[None]))

    def show(self, image: Tensor, mask: Tensor) -> FreeSupport:
        """Encode an example as a support alone; PerSAM-F fits its weights here."""
        return self.model.encode_support(image[None, None], mask[None, None])

    def query(self, images: Tensor) -> FreeQuery:
        """Encode photos (B, 3, S, S), RGB in 0 … 1."""
        return self.model.encode_query(images)

    def join(self, shown: Sequence[FreeSupport], fusion: Fusion) -> FreeSupport:
        """Join examples by the paper's rule ("mean") or as one example ("pooled")."""
        return self.model.join(shown, "pooled" if fusion == "pooled" else "paper")

    def match(self, support: FreeSupport, query: FreeQuery) -> Answer:
        """Segment B photos; both maps are the similarity to the examples' mean object."""
        logits = self.model.match(support, query).mask_logits
        similar = similarity_map(self.cells(query), self.known(support).means[0])
        return Answer(logits, similar, similar)

    def cells(self, query: FreeQuery) -> Cells:
        """Return the cells as the method compares them with the examples'."""
        features = self.model.compared(query).float()
        grid = (features.shape[2], features.shape[3])
        return Cells(F.normalize(features.flatten(2), dim=1), grid)

    def known(self, support: FreeSupport) -> Known:
        """Return the means of one class's examples."""
        units = F.normalize(support.features[0].float().flatten(2), dim=1)
        shares = support.masks[0].flatten(1).float()
        return Known(masked_means(units, shares), len(units))
