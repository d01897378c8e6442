"""Pictures with their masks → squares of the network → the support of one class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from fcp.config import Fusion
from fcp.data.transforms import support_to_square, to_square
from fcp.inference.networks.base import AnyNetwork
from fcp.inference.tiling import Marked, cut_closer, cut_to_tile
from fcp.method.fusion import DEFAULT_FUSION


def encode_examples(
    network: AnyNetwork,
    examples: Sequence[Marked],
    tile: int | None = None,
    fusion: Fusion = DEFAULT_FUSION,
) -> Any:  # noqa: ANN401  (any network's support)
    """Encode pictures (H, W, 3) with their masks (H, W) as one class.

    Args:
        network: Network that encodes them.
        examples: Pictures with their masks, at least one.
        tile: Side in px of the tiles cut from the examples; None for whole pictures.
        fusion: Rule by which the examples become one answer.
    """
    cuts = [cut_example(example, tile) for example in examples]
    marked = (*cuts, *closer_cuts(network, examples, tile, fusion))
    return network.join([network.show(*square(network, one)) for one in marked], fusion)


def cut_example(example: Marked, tile: int | None) -> Marked:
    """Return an example whole, or the tile of it that the object is in."""
    return example if tile is None else cut_to_tile(*example, tile)


def closer_cuts(
    network: AnyNetwork, examples: Sequence[Marked], tile: int | None, fusion: Fusion
) -> list[Marked]:
    """Return a closer cut of each small object, as one more example.

    There are none where photos are cut into tiles, nor for a network that makes no use of them.
    """
    if tile is not None or not network.takes_closer_cuts(fusion):
        return []
    closer = (cut_closer(*example) for example in examples)
    return [cut for cut in closer if cut is not None]


def square(network: AnyNetwork, example: Marked) -> tuple[Tensor, Tensor]:
    """Squash an example to the network's square, on its device: (3, S, S), mask (S, S)."""
    side, device = network.square, network.device
    image, mask = example
    return to_square(image, side).to(device), support_to_square(mask, side).to(device)
