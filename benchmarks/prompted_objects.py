"""Touching objects drawn anew by a promptable segmenter: one prompt each, all in one batch.

The watershed says where the objects of a piece are, the prompts where they end. No mask leaves the
piece, and one that does not agree with its watershed basin is not taken. With the promptable stages
that ship this is no better than the watershed alone (docs/instances.md), so that it is tried here
and no part of the package.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from fcp.data.pieces import Piece, tight_piece
from fcp.data.transforms import rows_to_size
from fcp.encoders.base import PromptableSegmenter
from fcp.structures import Embedding

AGREES = 0.5  # least IoU of a mask with its basin
SAME = 0.7  # IoU above which two masks are of one object


@torch.inference_mode()
def draw_objects(
    segmenter: PromptableSegmenter, embedding: Embedding, basins: Sequence[Piece]
) -> list[Piece]:
    """Draw the objects of one connected piece anew.

    Args:
        segmenter: Promptable segmenter.
        embedding: Embedding of the photo, of one picture.
        basins: Objects of the piece (``touching_objects``), at least one.

    Returns:
        Objects with all pixels of the piece, each once; see ``settle``.
    """
    size, device = basins[0].size, embedding.image.device
    boxes, points = prompts_of(basins)
    tokens, dense = segmenter.embed_prompts(
        points=points.to(device),
        point_labels=torch.ones(len(points), 1, dtype=torch.long, device=device),
        boxes=boxes.to(device),
    )
    logits, sure = segmenter.decode_candidates(embedding, tokens, dense, multimask=False)
    labels, (left, top) = _painted(basins)
    bottom, right = top + labels.shape[0], left + labels.shape[1]
    masks = (rows_to_size(one, size, top, bottom) for one in logits[:, 0].float().cpu())
    drawn = np.stack([mask[:, left:right].numpy() for mask in masks])
    labels = settle(labels, drawn, sure[:, 0].float().cpu().numpy())
    numbers = np.unique(labels[labels > 0])
    return [tight_piece(labels == number, (left, top), size) for number in numbers]


def prompts_of(basins: Sequence[Piece]) -> tuple[Tensor, Tensor]:
    """Return the box of each basin and its innermost point.

    Args:
        basins: Basins of one photo.

    Returns:
        Boxes (P, 4) and points (P, 1, 2), as fractions of the photo's width and height.
    """
    points = []
    for basin in basins:
        depth = distance_transform_edt(np.pad(basin.mask, 1))[1:-1, 1:-1]
        row, column = np.unravel_index(depth.argmax(), depth.shape)
        points.append([[basin.box[0] + column + 0.5, basin.box[1] + row + 0.5]])
    height, width = basins[0].size
    scale = torch.tensor([width, height], dtype=torch.float32)
    boxes = torch.tensor([basin.box for basin in basins], dtype=torch.float32)
    return boxes / scale.repeat(2), torch.tensor(points, dtype=torch.float32) / scale


def settle(basins: np.ndarray, logits: np.ndarray, sure: np.ndarray) -> np.ndarray:
    """Share out the pixels of a piece between the masks drawn of its objects.

    A pixel goes to the mask with the highest logit there, else to the object of its basin. A basin
    whose mask does not agree with it keeps what no other mask takes; one whose mask is a surer
    one's over again is joined to that.

    Args:
        basins: Basin of each pixel (H, W): 1 … P, 0 outside the piece.
        logits: Mask of each basin (P, H, W), > 0 is foreground.
        sure: Estimate of each mask's IoU (P,).

    Returns:
        Object of each pixel (H, W): number of a basin, 0 outside the piece.
    """
    masks = (logits > 0) & (basins > 0)
    owner, kept = np.arange(len(logits) + 1), list[int]()
    for index in np.argsort(-sure, kind="stable").tolist():
        if _iou(masks[index], basins == index + 1) < AGREES:
            continue
        twin = next((other for other in kept if _iou(masks[index], masks[other]) > SAME), None)
        if twin is None:
            kept.append(index)
        else:
            owner[index + 1] = twin + 1
    if not kept:
        return basins
    best = np.array(kept)[np.where(masks[kept], logits[kept], -np.inf).argmax(0)] + 1
    return np.where(masks[kept].any(0), best, owner[basins])


def _iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / max(1, (one | other).sum()))


def _painted(basins: Sequence[Piece]) -> tuple[np.ndarray, tuple[int, int]]:
    """Return the label map of basins within their common box, and its corner (x, y)."""
    sides = np.array([basin.box for basin in basins])
    left, top = (int(side) for side in sides[:, :2].min(0))
    right, bottom = (int(side) for side in sides[:, 2:].max(0))
    labels = np.zeros((bottom - top, right - left), np.int64)
    for number, basin in enumerate(basins, start=1):
        x0, y0, x1, y1 = basin.box
        labels[y0 - top : y1 - top, x0 - left : x1 - left][basin.mask] = number
    return labels, (left, top)
