"""The middle of Matcher's figure: prompts → masks that SAM trusts, without duplicates [5]."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fcp.encoders.base import PromptableSegmenter
from fcp.method.free import decode_points, down, mask_boxes, prompt_batches
from fcp.method.matcher.settings import MatcherSettings
from fcp.structures import Embedding

DENSE_SIDE = 64
DENSE_IOU, DENSE_STABILITY = 0.88, 0.95
OFFSET = 1.0  # of the logit, in the stability


@dataclass(frozen=True)
class Proposals:
    """Masks that may be part of the answer.

    Attributes:
        masks: (M, S, S) boolean, in the frame.
        logits: (M, h', w') as the decoder drew them.
        iou: (M,) the decoder's estimates.
    """

    masks: Tensor
    logits: Tensor
    iou: Tensor

    def take(self, index: Tensor) -> Proposals:
        """Keep some, by numbers or by a boolean (M,)."""
        return Proposals(self.masks[index], self.logits[index], self.iou[index])

    @classmethod
    def cat(cls, parts: Iterable[Proposals]) -> Proposals:
        """Join at least one part."""
        columns = zip(*((p.masks, p.logits, p.iou) for p in parts), strict=True)
        return cls(*(torch.cat(column) for column in columns))


def stability(logits: Tensor) -> Tensor:
    """Return area(logit > 1) / area(logit > -1) of (M, S, S); 0 where nothing is > -1."""
    inner, outer = ((logits > at).sum((1, 2)) for at in (OFFSET, -OFFSET))
    return inner / outer.clamp(min=1)


def draw(
    segmenter: PromptableSegmenter,
    embedding: Embedding,
    prompts: Tensor,
    size: int,
    *,
    settings: MatcherSettings,
    box: Tensor | None = None,
) -> Proposals:
    """Draw the masks of prompts (P, n, 2) px of the frame, and keep those that SAM trusts.

    Args:
        segmenter: Promptable segmenter.
        embedding: One picture.
        prompts: x, y px of the frame.
        size: S, side of the frame.
        settings: Number of masks and thresholds.
        box: (4,) px that goes with every prompt, or None.
    """
    parts = []
    for points in prompt_batches(prompts.float() / size):
        boxes = None if box is None else (box.float() / size).expand(len(points), 4)
        logits, iou = decode_points(
            segmenter, embedding, points, boxes=boxes, multimask=settings.masks > 1
        )
        logits, iou = logits.flatten(0, 1), iou.flatten()
        trusted = iou > settings.iou if settings.iou > 0 else torch.ones_like(iou, dtype=torch.bool)
        logits, iou = logits[trusted], iou[trusted]
        framed = down(logits, (size, size)) if len(logits) else logits.new_zeros(0, size, size)
        stable = stability(framed) >= settings.stability
        parts.append(Proposals(framed[stable] > 0, logits[stable], iou[stable]))
    return Proposals.cat(parts)


def dense_points(size: int) -> Tensor:
    """Return the centres x, y (4096, 1, 2) of a 64×64 grid over the frame, one point a prompt."""
    at = (torch.arange(DENSE_SIDE) + 0.5) * (size / DENSE_SIDE)
    y, x = torch.meshgrid(at, at, indexing="ij")
    return torch.stack([x, y], -1).view(-1, 1, 2)


def box_nms(boxes: Tensor, iou: Tensor, most: float) -> Tensor:
    """Return the numbers of the boxes that stay, best estimate first.

    Args:
        boxes: (M, 4).
        iou: (M,) the decoder's estimates.
        most: Overlap that a box may have with a better one that stays; 1 keeps all.
    """
    order = iou.argsort(descending=True, stable=True)
    boxes = boxes[order]
    low = torch.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = torch.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    common = (high - low).clamp(min=0).prod(2)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    overlap = common / (area[:, None] + area - common)  # of two boxes without area NaN: they stay
    covers = (overlap > most).cpu()
    stays = torch.ones(len(boxes), dtype=torch.bool)
    for i in range(len(boxes)):
        if stays[i]:
            stays[i + 1 :] &= ~covers[i, i + 1 :]
    return order[stays.to(order.device)]


def propose(
    segmenter: PromptableSegmenter,
    embedding: Embedding,
    sets: Iterator[Tensor],
    size: int,
    *,
    settings: MatcherSettings,
    box: Tensor | None,
) -> Proposals:
    """Draw the masks of all prompts, the dense grid's too, and drop duplicates by their boxes.

    Args:
        segmenter: Promptable segmenter.
        embedding: One picture.
        sets: Prompts (P, n, 2) of each n, at least one set.
        size: S, side of the frame.
        settings: Settings for the data.
        box: (4,) of all points, if prompts carry it.
    """
    parts = [
        draw(segmenter, embedding, prompts, size, settings=settings, box=box) for prompts in sets
    ]
    if settings.dense:
        points = dense_points(size).to(embedding.image.device)
        parts.append(draw(segmenter, embedding, points, size, settings=dense_settings(settings)))
    found = Proposals.cat(parts)
    if settings.nms >= 1:
        return found
    return found.take(box_nms(mask_boxes(found.masks), found.iou, settings.nms))


def dense_settings(settings: MatcherSettings) -> MatcherSettings:
    """Return the settings of the dense grid's masks: one a point, with SAM's own thresholds."""
    return replace(settings, masks=1, iou=DENSE_IOU, stability=DENSE_STABILITY)
