"""Pictures with their masks → features of both encoders → the support of one class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fcp.config import Fusion
from fcp.data.transforms import support_to_square, to_square
from fcp.inference.tiling import Marked, cut_closer, cut_to_tile
from fcp.method.fcp.model import FCP
from fcp.method.fusion import DEFAULT_FUSION
from fcp.structures import BackboneFeatures, Embedding, QueryFeatures, SupportSet


@dataclass(frozen=True)
class EncodedSupport:
    """An example as a support: its mask and the features of both encoders.

    Attributes:
        mask: Mask of the object (S, S), 0 or 1.
        features: Features of the backbone, whose last stage ran under the mask.
        embedding: Embedding of the promptable segmenter, without finer maps.
    """

    mask: Tensor
    features: BackboneFeatures
    embedding: Embedding


@dataclass(frozen=True)
class EncodedExample:
    """An example as a support and as a query.

    Attributes:
        shown: The example as a support.
        query: Features of its picture as a query, made without the mask.
    """

    shown: EncodedSupport
    query: QueryFeatures


def see(model: FCP, image: Tensor, mask: Tensor) -> EncodedExample:
    """Encode an example as a support and as a query.

    Args:
        model: Model in evaluation mode.
        image: RGB picture (3, S, S) in 0 … 1, on the model's device.
        mask: Mask of the object (S, S), 0 or 1.
    """
    embedding = model.segmenter.encode(image[None])
    query = model.head.prepare_query(model.backbone(image[None]), embedding)
    features = model.backbone(image[None], mask[None, None])
    return EncodedExample(EncodedSupport(mask, features, Embedding(embedding.image)), query)


def show(model: FCP, image: Tensor, mask: Tensor) -> EncodedSupport:
    """Encode an example as a support alone; see ``see``."""
    features = model.backbone(image[None], mask[None, None])
    return EncodedSupport(mask, features, Embedding(model.segmenter.encode(image[None]).image))


def join(
    model: FCP, shown: Sequence[EncodedSupport], fusion: Fusion = DEFAULT_FUSION
) -> SupportSet:
    """Join examples that were encoded one by one into the support of one class."""
    return model.head.prepare_support(
        BackboneFeatures.cat([one.features for one in shown]),
        Embedding.cat([one.embedding for one in shown]),
        torch.stack([one.mask for one in shown])[None],
        fusion=fusion,
    )


def encode_examples(
    model: FCP,
    examples: Sequence[Marked],
    tile: int | None = None,
    fusion: Fusion = DEFAULT_FUSION,
) -> SupportSet:
    """Encode pictures (H, W, 3) with their masks (H, W) as one class.

    Args:
        model: Model in evaluation mode.
        examples: Pictures with their masks, at least one.
        tile: Side in px of the tiles cut from the examples; None for whole pictures.
        fusion: Rule by which the examples become one answer.
    """
    cuts = [cut_example(example, tile) for example in examples]
    squares = [square(model, one) for one in (*cuts, *closer_cuts(model, examples, tile, fusion))]
    return join(model, [show(model, *one) for one in squares], fusion)


def cut_example(example: Marked, tile: int | None) -> Marked:
    """Return an example whole, or the tile of it that the object is in."""
    return example if tile is None else cut_to_tile(*example, tile)


def closer_cuts(
    model: FCP, examples: Sequence[Marked], tile: int | None, fusion: Fusion
) -> list[Marked]:
    """Return a closer cut of each small object, as one more example.

    There are none where photos are cut into tiles, nor for a head that compares no cells
    (``correlation``) or does not pool the cells of several examples.
    """
    if tile is not None or model.head.correlation is None or fusion != "pooled":
        return []
    closer = (cut_closer(*example) for example in examples)
    return [cut for cut in closer if cut is not None]


def square(model: FCP, example: Marked) -> tuple[Tensor, Tensor]:
    """Squash an example to the model's square, on its device: (3, S, S), mask (S, S)."""
    side, device = model.config.image_size, next(model.parameters()).device
    image, mask = example
    return to_square(image, side).to(device), support_to_square(mask, side).to(device)
