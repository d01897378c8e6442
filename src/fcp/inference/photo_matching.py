"""Photos and a support → the maps of all classes, whole or tile by tile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from fcp.data.photos import Photo
from fcp.data.transforms import map_to_size, to_canvas, to_square
from fcp.inference.appearance.features import Layer
from fcp.inference.appearance.fitting import Appearance, layers_of
from fcp.inference.networks.base import AnyNetwork
from fcp.inference.prediction import Maps
from fcp.inference.presence import Presence, look_at
from fcp.inference.support import Support
from fcp.inference.tiling import STRIDE, Plan, blend_answers, least_tile, plan_windows


@torch.inference_mode()
def match_pictures(
    network: AnyNetwork,
    support: Support,
    pictures: Sequence[np.ndarray],
    presence: Presence | None,
    turn: AbstractContextManager[object],
) -> list[list[Maps]]:
    """Match all entrants of a support with pictures; each picture is encoded once.

    Args:
        network: Network that encoded the examples.
        support: Encoded examples, on the model's device.
        pictures: RGB photos (H, W, 3), uint8, of any sizes.
        presence: Presence classifier, or None.
        turn: Context that is held while the model works.

    Returns:
        Maps of each entrant for each picture: the classes, and the negatives last.
    """
    squares = torch.stack([to_square(picture, network.square) for picture in pictures])
    with turn:
        query = network.query(squares.to(network.device))
        found = [_match(network, entrant, query, presence) for entrant in support.entrants]
    return [
        _with_appearance(
            network, [of_photos[index] for of_photos in found], support, query, index, p
        )
        for index, p in enumerate(pictures)
    ]


def match_tiles(
    network: AnyNetwork,
    support: Support,
    photo: Photo,
    presence: Presence | None,
    turn: AbstractContextManager[object],
    *,
    threshold: float,
) -> list[Maps]:
    """Match each tile of a photo alone, and blend the tiles' maps.

    Args:
        network: Network that encoded the examples.
        support: Encoded examples, with the side of the tiles.
        photo: Photo to segment.
        presence: Presence classifier, or None.
        turn: Context that is held while the model works.
        threshold: Presence in a tile below which a class gets no pixel of it.

    Raises:
        FcpError: the tile is too small for the photo.
    """
    side, plan = tile_side(network), plan_tiles(network, support, photo.size)
    canvas = to_canvas(photo.pixels, plan.canvas).permute(1, 2, 0).numpy()

    def answers() -> Iterator[list[Maps]]:
        for top, left in plan.corners:
            tile = canvas[top : top + side, left : left + side]
            (found,) = match_pictures(network, support, [tile], presence, turn)
            maps = [_of_size(one, side) for one in found]
            classes = len(support.classes)
            yield [one.without_absent(threshold) for one in maps[:classes]] + maps[classes:]

    return blend_answers(answers(), plan, square=side)


def _match(
    network: AnyNetwork,
    support: Any,  # noqa: ANN401  (any network's support)
    query: Any,  # noqa: ANN401  (and its query)
    presence: Presence | None,
) -> list[Maps]:
    """Match one class with B photos: its maps in each."""
    answer = network.match(support, query)
    likely: Sequence[float | None] = [None] * len(answer.logits)
    if presence is not None:
        known, looks = network.known(support), look_at(network.cells(query), answer)
        likely = [presence.judge(known, look) for look in looks]
    # Copies: a view of the batch's map would keep and pickle those of all its photos.
    return [
        Maps(
            answer.logits[index].clone().float().cpu(),
            answer.pseudo_mask[index].clone().float().cpu(),
            answer.conventional_mask[index].clone().float().cpu(),
            likely[index],
        )
        for index in range(len(answer.logits))
    ]


def tile_side(network: AnyNetwork) -> int:
    """Return the side of a tile on the canvas, px."""
    return network.square // STRIDE * STRIDE


def plan_tiles(network: AnyNetwork, support: Support, size: tuple[int, int]) -> Plan:
    """Plan the tiles of a photo.

    Args:
        network: Network that encoded the examples.
        support: Encoded examples, with the side of the tiles.
        size: Size of the photo (H, W), px.

    Raises:
        FcpError: the tile is too small for the photo.
    """
    side = tile_side(network)
    least = least_tile(size, side) if support.tile_was_chosen else 1
    return plan_windows(size, max(support.tile or 1, least), square=side, stride=STRIDE)


def _of_size(maps: Maps, side: int) -> Maps:
    """Bring the answer for a tile from the network's square to the tile's side, if they differ."""
    return replace(maps, logits=map_to_size(maps.logits, (side, side)))


def _with_appearance(
    network: AnyNetwork,
    maps: list[Maps],
    support: Support,
    query: Any,  # noqa: ANN401  (any network's query)
    index: int,
    picture: np.ndarray,
) -> list[Maps]:
    """Mix in the appearance of the entrants that have one."""
    appearances = support.appearances
    if not any(one is not None and one.classifier is not None for one in appearances):
        return maps
    layers = layers_of(picture, network.maps(query), index, network.square)
    size = (picture.shape[0], picture.shape[1])
    return [
        one if own is None else _mixed(one, own, layers, size)
        for one, own in zip(maps, appearances, strict=True)
    ]


def _mixed(maps: Maps, own: Appearance, layers: Sequence[Layer], size: tuple[int, int]) -> Maps:
    logits = own.mix(maps.logits, layers, size)
    return replace(maps, logits=logits, by_appearance=own.decision.by_appearance)
