"""Matcher as a module: pictures in, mask out."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fcp.encoders.base import PromptableSegmenter
from fcp.encoders.cells import CellEncoder
from fcp.encoders.pixels import resize
from fcp.errors import FcpError
from fcp.layers.masked import touched_cells
from fcp.method.free import (
    FreeMethod,
    FreeQuery,
    FreeSupport,
    centre_if_empty,
    down,
    nearest,
    no_mask,
    pool_shots,
)
from fcp.method.matcher.matching import (
    best_matches,
    box_of_points,
    cell_centres,
    centres_of,
    match_both_ways,
    prompt_sets,
)
from fcp.method.matcher.proposals import Proposals, propose
from fcp.method.matcher.scoring import ProposalScores, choose, score_masks
from fcp.method.matcher.settings import PRESETS


@dataclass(frozen=True)
class MatcherSteps:
    """What one query went through.

    Attributes:
        similarity: S (K·N, N).
        points: (P, 2) x, y px of the frame.
        proposals: M masks.
        scores: Scores of the masks.
        chosen: Numbers of the masks whose union is the answer.
    """

    similarity: Tensor
    points: Tensor
    proposals: Proposals
    scores: ProposalScores
    chosen: Tensor


class Matcher(FreeMethod):
    """Matcher: DINOv2's cells are assigned both ways, subsets of the points prompt SAM.

    Several examples are stacked, so the paper's rule is already a pooled one.

    Args:
        cells: Encoder; DINOv2 before its final norm, at 518 px, which is also the frame.
        segmenter: Promptable segmenter.
        preset: The authors' constants for "coco", "fss" or "parts".
        seed: Seed of the prompts' random subsets.

    Raises:
        FcpError: no such preset.
    """

    def __init__(
        self,
        cells: CellEncoder,
        segmenter: PromptableSegmenter,
        *,
        preset: str = "coco",
        seed: int = 0,
    ) -> None:
        super().__init__("pooled")
        if preset not in PRESETS:
            raise FcpError(f"preset: expected one of {', '.join(PRESETS)}, got {preset!r}")
        self.cells = cells.requires_grad_(False).eval()
        self.segmenter = segmenter.requires_grad_(False).eval()
        self.settings = PRESETS[preset]
        self.seed = seed

    @property
    def image_size(self) -> int:
        """Side (px) of the encoder's pictures, which is also the frame."""
        return self.cells.image_size

    @torch.no_grad()
    def encode_support(self, images: Tensor, masks: Tensor) -> FreeSupport:
        """Encode examples; see ``FreeMethod``. Where all masks of a task are empty, its centre."""
        features = self._features(images.flatten(0, 1))
        side = self.cells.image_size
        framed = nearest(masks.flatten(0, 1), (side, side)).unflatten(0, masks.shape[:2])
        framed = torch.stack([centre_if_empty(task) for task in framed])
        inside = touched_cells(framed.flatten(0, 1), (features.shape[2], features.shape[3]))
        batch = masks.shape[:2]
        return FreeSupport(
            features.unflatten(0, batch), inside.unflatten(0, batch), pooled=self.pooled
        )

    @torch.no_grad()
    def encode_query(self, images: Tensor) -> FreeQuery:
        """Encode query pictures; see ``FreeMethod``."""
        side = self.cells.image_size
        return FreeQuery(
            size=(images.shape[-2], images.shape[-1]),
            features=self._features(images),
            embedding=self.segmenter.encode(resize(images, (side, side))),
        )

    def segment(self, support: FreeSupport, query: FreeQuery) -> tuple[Tensor, MatcherSteps]:
        """Segment one picture; see ``FreeMethod``."""
        size, settings = self.cells.image_size, self.settings
        grid = (query.features.shape[2], query.features.shape[3])
        stacked = pool_shots(support.features[0].flatten(2))[0]  # (C, K·N)
        masks = support.masks[0].flatten()
        similarity = stacked.mT @ query.features[0].flatten(1)
        matched = best_matches(similarity, *match_both_ways(similarity, masks))
        points = cell_centres(matched, grid, size)
        prompts = centres_of(points, self.seed) if settings.centres else points
        proposals = propose(
            self.segmenter,
            query.prompted,
            prompt_sets(prompts, settings, self.seed),
            size,
            settings=settings,
            box=box_of_points(points) if settings.with_box else None,
        )
        scores = score_masks(proposals.masks, points, similarity, masks, grid, settings=settings)
        chosen = choose(scores, settings, support.masks.shape[1])
        steps = MatcherSteps(similarity, points, proposals, scores, chosen)
        if not len(chosen):
            return no_mask(query.size, similarity), steps
        union = down(proposals.logits[chosen], (size, size)).amax(0, keepdim=True)
        return down(union, query.size)[0], steps

    def _features(self, images: Tensor) -> Tensor:
        """Cells (B, C, h, w) of length 1."""
        return F.normalize(self.cells(images), dim=1)
