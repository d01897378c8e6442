"""Contrast as a module: pictures in, mask out."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fcp.encoders.base import PromptableSegmenter
from fcp.encoders.cells import CellEncoder
from fcp.layers.masked import mask_to_grid
from fcp.method.contrast.steps import SHARPNESS, ContrastSteps, compare_cells, redraw
from fcp.method.free import (
    FreeMethod,
    FreeQuery,
    FreeSupport,
    down,
    pool_shots,
    require_foreground,
)


class Contrast(FreeMethod):
    """A cell is what it is more like in the examples, object or background; a segmenter redraws it.

    Several examples count as one, so the rule is a pooled one.

    Args:
        cells: Encoder of the compared features.
        segmenter: Promptable segmenter.
    """

    def __init__(self, cells: CellEncoder, segmenter: PromptableSegmenter) -> None:
        super().__init__("pooled")
        self.cells = cells.requires_grad_(False).eval()
        self.segmenter = segmenter.requires_grad_(False).eval()

    @property
    def image_size(self) -> int:
        """Side (px) of the encoder's pictures."""
        return self.cells.image_size

    @torch.no_grad()
    def encode_support(self, images: Tensor, masks: Tensor) -> FreeSupport:
        """Encode examples; see ``FreeMethod``. One without foreground is background throughout.

        Raises:
            FcpError: a task's masks have no foreground at all.
        """
        features = self._features(images.flatten(0, 1)).unflatten(0, masks.shape[:2])
        grid = (features.shape[3], features.shape[4])
        inside = mask_to_grid(masks.flatten(0, 1), grid).unflatten(0, masks.shape[:2])
        require_foreground(inside)
        return FreeSupport(features, inside, pooled=self.pooled)

    @torch.no_grad()
    def encode_query(self, images: Tensor) -> FreeQuery:
        """Encode query pictures; see ``FreeMethod``."""
        return FreeQuery(
            size=(images.shape[-2], images.shape[-1]),
            features=self._features(images),
            embedding=self.segmenter.encode(images),
        )

    def segment(self, support: FreeSupport, query: FreeQuery) -> tuple[Tensor, ContrastSteps]:
        """Segment one picture; see ``FreeMethod``."""
        compared = compare_cells(
            query.features[0].flatten(1),
            pool_shots(support.features[0].flatten(2))[0],
            support.masks[0].flatten(),
        )
        logits = SHARPNESS * (compared.contrast - compared.middle)
        logits = logits.view(query.features.shape[2:])
        calls = redraw(self.segmenter, query.prompted, logits)
        answer = calls[-1] if calls else logits
        return down(answer[None], query.size)[0], ContrastSteps(compared, calls)

    def _features(self, images: Tensor) -> Tensor:
        """Cells (B, C, h, w) of length 1."""
        return F.normalize(self.cells(images), dim=1)
