"""INSID3 as a module: pictures in, mask out."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fcp.encoders.cells import CellEncoder
from fcp.encoders.pixels import IMAGENET_MEAN, IMAGENET_STD, resize
from fcp.errors import FcpError
from fcp.method.free import (
    FreeMethod,
    FreeQuery,
    FreeSupport,
    Shots,
    down,
    require_foreground,
    soft_logits,
    unit_cells,
)
from fcp.method.insid3.crf import refine
from fcp.method.insid3.steps import (
    Insid3Steps,
    debias,
    frame_mask,
    grid_masks,
    positional_basis,
    segment_cells,
)

COMPONENTS = 500  # of the positional basis, of DINOv3's 1024 or 768 channels
PUBLISHED_CHANNELS = 1024


class Insid3(FreeMethod):
    """INSID3: debiased cells find the object, plain cells cut it out.

    Args:
        cells: Encoder; DINOv3 after its final norm, at 1024 px.
        released: Follow the authors' program where it departs from the paper; False, the paper, was
            better on our encoders.
        shots: The paper's rule (mean of the prototypes, majority of votes), or all as one example.
        components: S; None for 500, or with 500 channels or less for the same share of them, as
            more components would leave nothing.
        crf: Refine the mask's border by the picture's colours, as in the paper; off by default as
            in the program.

    Raises:
        FcpError: as many components as channels, or an unknown rule.
    """

    def __init__(
        self,
        cells: CellEncoder,
        *,
        released: bool = False,
        shots: Shots = "paper",
        components: int | None = None,
        crf: bool = False,
    ) -> None:
        super().__init__(shots)
        self.cells = cells.requires_grad_(False).eval()
        self.released = released
        self.crf = crf
        share = COMPONENTS * cells.channels // PUBLISHED_CHANNELS
        default = COMPONENTS if cells.channels > COMPONENTS else max(1, share)
        self.components = default if components is None else components
        if not 0 < self.components < cells.channels:
            raise FcpError(
                f"components: expected 1 … {cells.channels - 1}, fewer than the encoder's channels,"
                f" got {components}"
            )
        self._basis: Tensor | None = None

    @property
    def image_size(self) -> int:
        """Side (px) of the encoder's pictures."""
        return self.cells.image_size

    @torch.no_grad()
    def positional_basis(self) -> Tensor:
        """Return U (C, s), made of a blank picture on first use."""
        device = next(self.cells.parameters()).device
        if self._basis is None or self._basis.device != device:
            size = self.cells.image_size
            if self.released:
                blank = torch.zeros(1, 3, size, size)
            else:  # noise with the mean and deviation of normalised pictures
                noise = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))
                mean, std = (torch.tensor(v)[:, None, None] for v in (IMAGENET_MEAN, IMAGENET_STD))
                blank = noise * std + mean
            features = self.cells(blank.to(device))[0]
            self._basis = positional_basis(features.flatten(1), self.components)
        return self._basis

    @torch.no_grad()
    def encode_support(self, images: Tensor, masks: Tensor) -> FreeSupport:
        """Encode examples; see ``FreeMethod``. Their cells are debiased.

        Raises:
            FcpError: a task's masks have no foreground at all.
        """
        features = self.cells(images.flatten(0, 1))
        cells = debias(unit_cells(features.flatten(2)), self.positional_basis())
        size, grid = self.cells.image_size, (features.shape[2], features.shape[3])
        inside = grid_masks(masks.flatten(0, 1), size, grid).unflatten(0, masks.shape[:2])
        require_foreground(inside)
        shown = cells.view_as(features).unflatten(0, masks.shape[:2])
        return FreeSupport(shown, inside, pooled=self.pooled)

    @torch.no_grad()
    def encode_query(self, images: Tensor) -> FreeQuery:
        """Encode query pictures; see ``FreeMethod``. Their cells are of length 1, not debiased."""
        side = self.cells.image_size
        framed = resize(images, (side, side))
        return FreeQuery(
            size=(images.shape[-2], images.shape[-1]),
            features=F.normalize(self.cells(framed), dim=1),
            pictures=framed if self.crf else None,
        )

    @torch.no_grad()
    def compared(self, query: FreeQuery) -> Tensor:
        """Return the features of queries, debiased as the examples' are."""
        cells = debias(query.features.flatten(2), self.positional_basis())
        return cells.view_as(query.features)

    def segment(self, support: FreeSupport, query: FreeQuery) -> tuple[Tensor, Insid3Steps]:
        """Segment one picture; see ``FreeMethod``."""
        grid = (query.features.shape[2], query.features.shape[3])
        steps = segment_cells(
            query.features[0].flatten(1),
            self.positional_basis(),
            support.features[0].flatten(2),
            support.masks[0].flatten(1),
            released=self.released,
            pooled=support.pooled,
        )
        mask = frame_mask(steps.mask, grid, self.cells.image_size)
        if query.pictures is not None:
            mask = refine(mask, query.pictures[0])
        return soft_logits(down(mask[None], query.size)[0]), steps
