"""The examples of a task as the model keeps them, made once for any number of photos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from fcp.appearance.fitting import Appearance
from fcp.appearance.gate import Decision
from fcp.data.photos import MOST_DRAWN
from fcp.structures import SupportSet
from fcp.tiling import MOST_CANVAS


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
