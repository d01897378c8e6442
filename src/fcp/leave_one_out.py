"""How good are the examples? Each one is looked for by means of the others.

A mask that marks the wrong thing, or a picture that shows another thing than the others do, is
found badly from them, and is of little use for finding them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil
from statistics import median

import torch
from torch import Tensor

from fcp.model import FCP
from fcp.structures import BackboneFeatures, Embedding, QueryFeatures

LOW_IOU = 0.25
LOW_SHARE = 0.5
MOST_TOGETHER = 9  # examples at a time, so that neither memory nor time grows with their square


@dataclass(frozen=True)
class ExampleQuality:
    """How well an example fits the others of its class.

    Attributes:
        iou: 0 … 1, of its mask with the one that the others find in its picture.
        is_odd: whether it is worth a second look, see ``judge_examples``.
    """

    iou: float
    is_odd: bool


def judge_examples(ious: Sequence[float]) -> list[ExampleQuality]:
    """Say which of the examples of a class (at least two) are odd.

    An example is odd if its IoU is under 0.25, and under half of the median of the class: among
    examples that are all hard to find, none stands out. Of two examples that do not find each
    other, both are odd, since nothing tells which of them is wrong.
    """
    if len(ious) == 2:
        return [ExampleQuality(iou, max(ious) < LOW_IOU) for iou in ious]
    usual = median(ious)
    return [ExampleQuality(iou, iou < min(LOW_IOU, LOW_SHARE * usual)) for iou in ious]


@torch.inference_mode()
def leave_one_out(model: FCP, images: Tensor, masks: Tensor) -> list[float]:
    """Find each example by the others of its class, or by those of its group of at most nine.

    Args:
        model: in evaluation mode.
        images: (K, 3, S, S) RGB in 0 … 1, K ≥ 2, on the model's device.
        masks: (K, S, S), 0 or 1.

    Returns:
        K times the IoU, 0 … 1, of its mask with the one that was found.
    """
    groups = ceil(len(images) / MOST_TOGETHER)
    ends = [round(len(images) * number / groups) for number in range(groups + 1)]
    return [
        iou
        for start, end in pairwise(ends)
        for iou in _of_group(model, images[start:end], masks[start:end])
    ]


def _of_group(model: FCP, images: Tensor, masks: Tensor) -> list[float]:
    supports, queries = [], []
    for image, mask in zip(images, masks, strict=True):
        embedding = model.segmenter.encode(image[None])
        supports.append((model.backbone(image[None], mask[None, None]), embedding))
        queries.append(model.prepare_query(model.backbone(image[None]), embedding))
    return [
        _iou_from_others(
            model,
            [support for other, support in enumerate(supports) if other != index],
            torch.stack([mask for other, mask in enumerate(masks) if other != index]),
            query,
            masks[index],
        )
        for index, query in enumerate(queries)
    ]


def _iou_from_others(
    model: FCP,
    others: Sequence[tuple[BackboneFeatures, Embedding]],
    other_masks: Tensor,
    query: QueryFeatures,
    truth: Tensor,
) -> float:
    features = BackboneFeatures(
        mid=torch.cat([seen.mid for seen, _ in others]),
        high=torch.cat([seen.high for seen, _ in others]),
    )
    # Prompts are made from the embedding alone; finer maps serve the query's decoder.
    embedding = Embedding(torch.cat([seen.image for _, seen in others]))
    support = model.prepare_support(features, embedding, other_masks[None])
    found = model.match(support, query).mask_logits[0] > 0
    inside = truth > 0
    return float((found & inside).sum() / (found | inside).sum())
