"""PerSAM's figure: target → confidence → points and bias → three calls of SAM's decoder.

Numbers in brackets are the steps of ``docs/methods/persam.md``. Letters: K shots,
C channels, N = h·w cells, H W picture. PerSAM-F differs where ``weights`` are given.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fcp.encoders.base import PromptableSegmenter
from fcp.encoders.guided import Guidance
from fcp.method.free import down, mask_boxes, unit_cells
from fcp.method.persam.frame import PictureFrame
from fcp.structures import Embedding

SMOOTH = 4  # the confidence goes by way of 4 × the grid, as SAM's masks


@dataclass(frozen=True)
class PerSamSteps:
    """What one query went through.

    Attributes:
        target: e (C,).
        confidence: (H, W), -1 … 1.
        points: (1 or 2, 2) x, y in px: the most and the least confident pixel.
        labels: (1 or 2,) 1, 0.
        bias: a (N,) of the guided attention; None for PerSAM-F.
        calls: Logits (H, W) after each call, one to three.
        iou: The decoder's estimate for the last.
    """

    target: Tensor
    confidence: Tensor
    points: Tensor
    labels: Tensor
    bias: Tensor | None
    calls: tuple[Tensor, ...]
    iou: Tensor


def target_mean(support: Tensor, masks: Tensor) -> Tensor:
    """Return e (C,), the mean of raw cells (C, n) over a mask (n,) boolean [1]."""
    return support[:, masks].mean(1)


def target_mean_max(support: Tensor, masks: Tensor) -> Tensor:
    """Return PerSAM-F's e (C,): mean and maximum over the mask, halved."""
    inside = support[:, masks]
    return (inside.mean(1) + inside.amax(1)) / 2


def confidence(query: Tensor, target: Tensor) -> Tensor:
    """Return cos(e, F_Q) (N,) of query cells (C, N) [1]."""
    return F.normalize(target, dim=0) @ unit_cells(query)


def mean_confidence(query: Tensor, support: Tensor, masks: Tensor) -> Tensor:
    """Return the paper's (N,): the mean over the mask's cells of each one's cosine [1]."""
    inside = unit_cells(support)[:, masks]
    return (inside.mT @ unit_cells(query)).mean(0)


def at_picture(cells: Tensor, grid: tuple[int, int], frame: PictureFrame) -> Tensor:
    """Bring a map (N,) of the square to the picture by way of 4 × the grid: (H, W) [1]."""
    fine = (SMOOTH * grid[0], SMOOTH * grid[1])
    return frame.take(down(cells.view(1, *grid), fine))[0]


def extreme_points(values: Tensor) -> Tensor:
    """Return the pixels x, y of the maximum and the minimum of (H, W): (2, 2) [2]."""
    at = torch.stack([values.argmax(), values.argmin()])
    width = values.shape[1]
    return torch.stack([at % width, at // width], 1)


def attention_bias(
    at_pixels: Tensor, cells: Tensor, grid: tuple[int, int], *, released: bool = True
) -> Tensor:
    """Return a (N,): the sigmoid of the standardised confidence, on the grid [3].

    Args:
        at_pixels: Confidence (H, W), which gives mean and deviation (N - 1).
        cells: Confidence (N,) on SAM's grid.
        grid: (h, w).
        released: The picture goes straight to the grid, without its padding; False for SAM's own
            grid, to which the decoder's cells belong.
    """
    mean, deviation = at_pixels.mean(), at_pixels.std()
    values = down(at_pixels[None], grid)[0].flatten() if released else cells
    return ((values - mean) / deviation).sigmoid()


def box_of(mask: Tensor) -> Tensor:
    """Return x0, y0, x1, y1 (4,) px, all inclusive, of a mask (H, W) with foreground."""
    return mask_boxes(mask[None])[0]


class PointDecoder:
    """SAM's decoder for one picture and one set of points.

    Args:
        segmenter: Promptable segmenter.
        embedding: One picture.
        frame: Frame of that picture.
        points: (n, 2) x, y px of the picture.
        labels: (n,).
    """

    def __init__(
        self,
        segmenter: PromptableSegmenter,
        embedding: Embedding,
        frame: PictureFrame,
        points: Tensor,
        labels: Tensor,
    ) -> None:
        self.segmenter = segmenter
        self.embedding = embedding
        self.frame = frame
        self.points = frame.fractions(points.float())[None]
        self.labels = labels[None]

    def draw(
        self,
        *,
        box: Tensor | None = None,
        low: Tensor | None = None,
        multimask: bool = True,
        guidance: Guidance | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return low-resolution logits (1 or 3, h', w') and estimated IoU (1 or 3,).

        Args:
            box: (4,) px of the picture, or None.
            low: (h', w') logits as dense prompt, or None.
            multimask: Three masks.
            guidance: Guidance of PerSAM's first call.
        """
        corners = None if box is None else self.frame.fractions(box.view(2, 2)).view(1, 4)
        tokens, painted = self.segmenter.embed_prompts(
            points=self.points, point_labels=self.labels, boxes=corners
        )
        dense = painted if low is None else low[None, None]
        logits, iou = self.segmenter.decode_candidates(
            self.embedding, tokens, dense, multimask=multimask, guidance=guidance
        )
        return logits[0].float(), iou[0].float()


def three_calls(
    decoder: PointDecoder, guidance: Guidance | None, weights: Tensor | None
) -> tuple[tuple[Tensor, ...], Tensor]:
    """Draw, refine by the mask, refine by its box [5].

    Args:
        decoder: Decoder that holds the points.
        guidance: Guidance of PerSAM's first call.
        weights: (3,) of PerSAM-F's first call; None for PerSAM.

    Returns:
        calls: logits (H, W) after each; it ends early on an empty mask.
        iou: estimate for the last.
    """
    if weights is None:
        low, iou = decoder.draw(multimask=False, guidance=guidance)
        first, low, box = decoder.frame.take(low)[0], low[0], None
    else:
        candidates, iou = decoder.draw()
        iou = iou @ weights
        first = torch.einsum("m,mhw->hw", weights, decoder.frame.take(candidates))
        low = torch.einsum("m,mhw->hw", weights, candidates)
        if not (first > 0).any():
            return (first,), iou
        box = box_of(first > 0)
    second, low, iou = _best(decoder, box, low)
    if not (second > 0).any():
        return (first, second), iou
    third, _, iou = _best(decoder, box_of(second > 0), low)
    return (first, second, third), iou


def _best(decoder: PointDecoder, box: Tensor | None, low: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Draw three masks; the one with the best estimate, (H, W), (h', w'), and that estimate."""
    candidates, iou = decoder.draw(box=box, low=low)
    best = iou.argmax()
    return decoder.frame.take(candidates[best][None])[0], candidates[best], iou[best]
