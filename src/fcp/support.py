"""The examples of a task as the model keeps them, made once for any number of photos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fcp.appearance.fitting import Appearance
from fcp.appearance.gate import Decision
from fcp.config import Fusion
from fcp.data.photos import MOST_DRAWN
from fcp.data.transforms import support_to_square, to_square
from fcp.fusion import DEFAULT_FUSION
from fcp.model import FCP
from fcp.structures import SupportSet
from fcp.tiling import MOST_CANVAS, Marked, cut_closer, cut_to_tile


@dataclass(frozen=True)
class Support:
    """Encoded examples, made once for any number of photos.

    Attributes:
        classes: name → its examples, at least one class.
        negatives: examples of what is none of the classes, or None.
        tile: side in px of the tiles that photos are cut into; None for the whole photo.
        tile_was_chosen: by the rule, and not by the user: larger tiles will do where a photo has
            too many.
        appearances: of the entrants, in their order; None where one has none. Empty where
            appearance is off.
    """

    classes: Mapping[str, SupportSet]
    negatives: SupportSet | None = None
    tile: int | None = None
    tile_was_chosen: bool = False
    appearances: Sequence[Appearance | None] = ()

    @property
    def most_pixels(self) -> int:
        """How many pixels of a large photo are looked at."""
        return MOST_DRAWN if self.tile is None else MOST_CANVAS

    @property
    def entrants(self) -> tuple[SupportSet, ...]:
        """All that compete, classes first, as in ``Answer``."""
        last = () if self.negatives is None else (self.negatives,)
        return (*self.classes.values(), *last)

    @property
    def decisions(self) -> dict[str, Decision]:
        """Class → who decides about it, of the classes that have an appearance."""
        pairs = zip(self.classes, self.appearances, strict=False)
        return {name: own.decision for name, own in pairs if own is not None}

    def with_class(self, name: str, other: Support) -> Support:
        """Return the same task with the examples that another one has of a class.

        Args:
            name: of the class, which is the other's only one.
            other: that was made of these examples.
        """
        place = list(self.classes).index(name)
        appearances = list(self.appearances)
        appearances[place : place + 1] = other.appearances
        classes = {**self.classes, name: other.classes[name]}
        return replace(self, classes=classes, appearances=appearances)


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
    """Squash K examples, or the tiles around their things: (K, 3, S, S), masks (K, S, S).

    Args:
        examples: pictures (H, W, 3) with their masks (H, W).
        tile: side in px of the tiles; None for whole pictures.
        size: S.
    """
    if tile is not None:
        examples = [cut_to_tile(*example, tile) for example in examples]
    images = torch.stack([to_square(image, size) for image, _ in examples])
    return images, torch.stack([support_to_square(mask, size) for _, mask in examples])
