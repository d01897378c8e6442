"""Pictures with their masks → the support of one class."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fcp.config import Fusion
from fcp.data.transforms import support_to_square, to_square
from fcp.fusion import DEFAULT_FUSION
from fcp.model import FCP
from fcp.structures import SupportSet
from fcp.tiling import Marked, cut_closer, cut_to_tile


def encode_examples(
    model: FCP,
    examples: Sequence[Marked],
    tile: int | None = None,
    fusion: Fusion = DEFAULT_FUSION,
) -> SupportSet:
    """Encode pictures (H, W, 3) with their masks (H, W) as one class.

    Of small objects a closer cut is one more example, where a head with correlation compares cells
    and those of several examples are pooled.

    Args:
        model: Model in evaluation mode.
        examples: Pictures with their masks, at least one.
        tile: Side in px of the cuts that are taken of them; None for whole pictures.
        fusion: Rule by which the examples become one answer.
    """
    if tile is None and model.head.correlation is not None and fusion == "pooled":
        closer = (cut_closer(*example) for example in examples)
        examples = [*examples, *(cut for cut in closer if cut is not None)]
    device = next(model.parameters()).device
    images, masks = to_squares(examples, tile, model.config.image_size)
    return model.encode_support(images[None].to(device), masks[None].to(device), fusion=fusion)


def to_squares(examples: Sequence[Marked], tile: int | None, size: int) -> tuple[Tensor, Tensor]:
    """Squash K examples, or the tiles around their objects: (K, 3, S, S), masks (K, S, S).

    Args:
        examples: Pictures (H, W, 3) with their masks (H, W).
        tile: Side in px of the tiles; None for whole pictures.
        size: S, side in px of the squares.
    """
    if tile is not None:
        examples = [cut_to_tile(*example, tile) for example in examples]
    images = torch.stack([to_square(image, size) for image, _ in examples])
    return images, torch.stack([support_to_square(mask, size) for _, mask in examples])
