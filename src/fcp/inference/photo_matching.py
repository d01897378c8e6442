"""Photos and a support → the maps of all classes, whole or tile by tile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

import numpy as np
import torch

from fcp.data.photos import Photo
from fcp.data.transforms import to_canvas, to_square
from fcp.inference.appearance.features import Layer
from fcp.inference.appearance.fitting import Appearance, layers_of
from fcp.inference.prediction import Maps
from fcp.inference.presence import Presence, look_at
from fcp.inference.support import Support
from fcp.inference.tiling import STRIDE, blend_answers, least_tile, plan_windows
from fcp.method.fcp.model import FCP
from fcp.structures import QueryFeatures, SupportSet


@torch.inference_mode()
def match_pictures(
    model: FCP,
    support: Support,
    pictures: Sequence[np.ndarray],
    presence: Presence | None,
    turn: AbstractContextManager[object],
) -> list[list[Maps]]:
    """Match all entrants of a support with pictures; each picture is encoded once.

    Args:
        model: Model in evaluation mode.
        support: Encoded examples, on the model's device.
        pictures: RGB photos (H, W, 3), uint8, of any sizes.
        presence: Presence classifier, or None.
        turn: Context that is held while the model works.

    Returns:
        Maps of each entrant for each picture: the classes, and the negatives last.
    """
    device = next(model.parameters()).device
    squares = torch.stack([to_square(picture, model.config.image_size) for picture in pictures])
    with turn:
        query = model.encode_query(squares.to(device))
        found = [_match(model, entrant, query, presence) for entrant in support.entrants]
    return [
        _with_appearance(model, [of_photos[index] for of_photos in found], support, query, index, p)
        for index, p in enumerate(pictures)
    ]


def match_tiles(
    model: FCP,
    support: Support,
    photo: Photo,
    presence: Presence | None,
    turn: AbstractContextManager[object],
    *,
    threshold: float,
) -> list[Maps]:
    """Match each tile of a photo alone, and blend the tiles' maps.

    Args:
        model: Model in evaluation mode.
        support: Encoded examples, with the side of the tiles.
        photo: Photo to segment.
        presence: Presence classifier, or None.
        turn: Context that is held while the model works.
        threshold: Presence in a tile below which a class gets no pixel of it.

    Raises:
        FcpError: the tile is too small for the photo.
    """
    side = model.config.image_size
    least = least_tile(photo.size, side) if support.tile_was_chosen else 1
    plan = plan_windows(photo.size, max(support.tile or 1, least), square=side, stride=STRIDE)
    canvas = to_canvas(photo.pixels, plan.canvas).permute(1, 2, 0).numpy()

    def answers() -> Iterator[list[Maps]]:
        for top, left in plan.corners:
            tile = canvas[top : top + side, left : left + side]
            (maps,) = match_pictures(model, support, [tile], presence, turn)
            classes = len(support.classes)
            yield [one.without_absent(threshold) for one in maps[:classes]] + maps[classes:]

    return blend_answers(answers(), plan, square=side)


def _match(
    model: FCP, support: SupportSet, query: QueryFeatures, presence: Presence | None
) -> list[Maps]:
    """Match one class with B photos: its maps in each."""
    output = model.match(support, query)
    conventional = output.conventional_mask.mean(dim=1)
    likely: Sequence[float | None] = [None] * len(conventional)
    if presence is not None:
        looks = look_at(query, output.mask_logits, output.correlation)
        likely = [presence.judge(support, look) for look in looks]
    return [
        Maps(
            output.mask_logits[index].float().cpu(),
            output.pseudo_mask[index].float().cpu(),
            conventional[index].float().cpu(),
            likely[index],
        )
        for index in range(len(conventional))
    ]


def _with_appearance(
    model: FCP,
    maps: list[Maps],
    support: Support,
    query: QueryFeatures,
    index: int,
    picture: np.ndarray,
) -> list[Maps]:
    """Mix in the appearance of the entrants that have one."""
    appearances = support.appearances
    if not any(one is not None and one.classifier is not None for one in appearances):
        return maps
    layers = layers_of(picture, query, index, model.config.image_size)
    size = (picture.shape[0], picture.shape[1])
    return [
        one if own is None else _mixed(one, own, layers, size)
        for one, own in zip(maps, appearances, strict=True)
    ]


def _mixed(maps: Maps, own: Appearance, layers: Sequence[Layer], size: tuple[int, int]) -> Maps:
    logits = own.mix(maps.logits, layers, size)
    return replace(maps, logits=logits, by_appearance=own.decision.by_appearance)
