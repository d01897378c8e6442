"""GF-SAM as a module: pictures in, mask out."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fcp.encoders.base import PromptableSegmenter
from fcp.encoders.cells import CellEncoder
from fcp.encoders.pixels import resize
from fcp.method.free import (
    FreeMethod,
    FreeQuery,
    FreeSupport,
    Shots,
    centre_if_empty,
    decode_points,
    down,
    nearest,
    no_mask,
    prompt_batches,
)
from fcp.method.gf_sam.gates import Gates, PixelsRead, gate_pixels
from fcp.method.gf_sam.points import Alignment, align, cell_corners, choose_points, soft_masks
from fcp.structures import Embedding


@dataclass(frozen=True)
class GfSamSteps:
    """What one query went through.

    Attributes:
        found: The query's alignment with the examples.
        cells: (n,) of the points.
        points: (n, 2) x, y in px of the frame.
        logits: (n, h', w') of each point's mask, as the decoder drew it.
        size: S, side (px) of the frame.
        gates: None where there is no point.
    """

    found: Alignment
    cells: Tensor
    points: Tensor
    logits: Tensor
    size: int
    gates: Gates | None

    @property
    def masks(self) -> Tensor:
        """Mask of each point in the frame (n, S, S), boolean."""
        return in_frame(self.logits, self.size) > 0


class GfSam(FreeMethod):
    """GF-SAM: DINOv2 finds the points, SAM draws a mask for each, the graph of points chooses.

    Args:
        cells: Encoder; DINOv2 before its final norm, at 518 px.
        segmenter: Promptable segmenter.
        released: Follow the authors' program where it departs from the paper.
        shots: The paper's rule (mean of the maps of each shot), or all as one example.
        size: Side (px) of the frame in which points and masks lie.

    Raises:
        FcpError: an unknown rule.
    """

    def __init__(
        self,
        cells: CellEncoder,
        segmenter: PromptableSegmenter,
        *,
        released: bool = True,
        shots: Shots = "paper",
        size: int = 1024,
    ) -> None:
        super().__init__(shots)
        self.cells = cells.requires_grad_(False).eval()
        self.segmenter = segmenter.requires_grad_(False).eval()
        self.released = released
        self.size = size

    @property
    def image_size(self) -> int:
        """Side (px) of the frame in which points and masks lie."""
        return self.size

    @torch.no_grad()
    def encode_support(self, images: Tensor, masks: Tensor) -> FreeSupport:
        """Encode examples; see ``FreeMethod``. Where all masks of a task are empty, its centre."""
        features = self._features(self._framed(images.flatten(0, 1)))
        framed = nearest(masks.flatten(0, 1), (self.size, self.size)).unflatten(0, masks.shape[:2])
        framed = torch.stack([centre_if_empty(task) for task in framed])
        grid = (features.shape[2], features.shape[3])
        shares = soft_masks(framed.flatten(0, 1), grid).unflatten(1, grid)
        batch = masks.shape[:2]
        return FreeSupport(
            features.unflatten(0, batch), shares.unflatten(0, batch), pooled=self.pooled
        )

    @torch.no_grad()
    def encode_query(self, images: Tensor) -> FreeQuery:
        """Encode query pictures; see ``FreeMethod``. The segmenter sees whole grey levels."""
        framed = self._framed(images)
        return FreeQuery(
            size=(images.shape[-2], images.shape[-1]),
            features=self._features(framed),
            embedding=self.segmenter.encode((255 * framed).floor() / 255),
        )

    def segment(self, support: FreeSupport, query: FreeQuery) -> tuple[Tensor, GfSamSteps]:
        """Segment one picture; see ``FreeMethod``."""
        grid = (query.features.shape[2], query.features.shape[3])
        cells = query.features[0].flatten(1)
        found = align(
            support.features[0].flatten(2),
            cells,
            support.masks[0].flatten(1),
            released=self.released,
            pooled=support.pooled,
        )
        chosen = choose_points(found.aligned, grid, released=self.released)
        points = cell_corners(chosen, grid, self.size)
        if not len(chosen):
            nothing = cells.new_zeros(0, *grid)
            steps = GfSamSteps(found, chosen, points, nothing, self.size, None)
            return no_mask(query.size, cells), steps
        logits = self._draw(query.prompted, points)
        rows, columns = (PixelsRead.of(self.size, side, cells.device) for side in grid)
        pixels = frame_pixels(logits, self.size, rows.at, columns.at) > 0
        gates = gate_pixels(pixels, (rows, columns), chosen, cells, found, released=self.released)
        steps = GfSamSteps(found, chosen, points, logits, self.size, gates)
        if not gates.chosen.any():
            return no_mask(query.size, cells), steps
        parts = prompt_batches(logits[gates.chosen])
        union = torch.stack([in_frame(part, self.size).amax(0) for part in parts]).amax(0)
        return down(union[None], query.size)[0], steps

    def _draw(self, embedding: Embedding, points: Tensor) -> Tensor:
        """Logits (n, h', w') of one mask for each point (n, 2)."""
        fractions = points[:, None].float() / self.size
        drawn = [
            decode_points(self.segmenter, embedding, part)[0][:, 0]
            for part in prompt_batches(fractions)
        ]
        return torch.cat(drawn)

    def _framed(self, images: Tensor) -> Tensor:
        return resize(images, (self.size, self.size))

    def _features(self, framed: Tensor) -> Tensor:
        """Cells of pictures in the frame, which are made smaller without smoothing."""
        side = self.cells.image_size
        return self.cells.encode(F.interpolate(framed, (side, side), mode="bilinear"))


def in_frame(logits: Tensor, size: int) -> Tensor:
    """Bring logits (n, h', w') to the frame: (n, size, size)."""
    return down(logits, (size, size))


def frame_pixels(logits: Tensor, size: int, rows: Tensor, columns: Tensor) -> Tensor:
    """Return some rows (R,) and columns (R',) of ``in_frame``'s maps: (n, R, R').

    The resize is linear along each side, and that of the unit vectors shows its weights.
    """
    across, along = (
        down(torch.eye(side, device=logits.device)[None], (size, side))[0][at]
        for side, at in zip(logits.shape[-2:], (rows, columns), strict=True)
    )
    return across @ logits @ along.mT
