"""Labelled pictures of a user, in any layout of ``fcp segment --support``, for calibration."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path

import numpy as np

from fcp.data.dataset import Split
from fcp.data.images import read_image
from fcp.data.prompts import read_support
from fcp.errors import FcpError
from fcp.formats.examples import Example
from fcp.formats.run_lengths import to_runs
from fcp.inference.examples import read_given, with_outlines
from fcp.inference.networks.base import AnyNetwork
from fcp.system.words import counted

LEAST_PICTURES = 20  # in all
LEAST_OF_A_KIND = 5  # that show a class, and that do not


class LabelledPictures:
    """Pictures with the masks of the classes that they show.

    Args:
        classes: Class → its examples, as ``fcp.formats.read.read_examples`` returns them.
        without: Pictures that show none of the classes.

    Attributes:
        title: Name for errors.
        min_pixels: Pixels from which on a picture shows a class.
        asked: Ids of the classes that can be asked about: enough pictures show them, and enough do
            not.

    Raises:
        FcpError: too few pictures, or no class that can be asked about.
    """

    title = "labelled pictures"
    min_pixels = 1

    def __init__(
        self, classes: Mapping[str, Sequence[Example]], without: Iterable[Path] = ()
    ) -> None:
        self._names = [*classes]
        self._masks: dict[str, dict[int, Example]] = {}
        self._pictures: dict[str, Path | np.ndarray] = {}
        for class_id, examples in enumerate(classes.values(), 1):
            for example in examples:
                self._masks[self._keep(example.picture)][class_id] = example
        for picture in without:
            self._keep(picture)
        self.asked = [n for n in range(1, len(classes) + 1) if self._can_be_asked(n)]
        self._refuse_few()

    def _keep(self, picture: Path | np.ndarray) -> str:
        # By name, episodes are drawn: the same in each process.
        name = str(picture.resolve()) if isinstance(picture, Path) else _hash_of(picture)
        self._pictures.setdefault(name, picture)
        self._masks.setdefault(name, {})
        return name

    def _shown(self, class_id: int) -> int:
        return sum(class_id in masks for masks in self._masks.values())

    def _can_be_asked(self, class_id: int) -> bool:
        shown = self._shown(class_id)
        return min(shown, len(self) - shown) >= LEAST_OF_A_KIND

    def _refuse_few(self) -> None:
        if len(self) < LEAST_PICTURES:
            raise FcpError(
                f"presence: {counted(len(self), 'labelled picture')}; at least {LEAST_PICTURES} "
                "are needed"
            )
        if not self.asked:
            counts = [(name, self._shown(n)) for n, name in enumerate(self._names, 1)]
            found = ", ".join(f"{n} of {len(self)} pictures show {name}" for name, n in counts[:5])
            raise FcpError(
                f"presence: at least {LEAST_OF_A_KIND} pictures must show a class and "
                f"{LEAST_OF_A_KIND} others not, but {found}; add pictures, those without any of "
                "the classes by --without"
            )

    def __len__(self) -> int:
        return len(self._masks)

    def areas(self, split: Split) -> Mapping[str, Mapping[int, int]]:
        """Return for each picture the classes that it shows, with the least area that counts."""
        return {name: dict.fromkeys(masks, 1) for name, masks in self._masks.items()}

    def image(self, picture: str) -> np.ndarray:
        """Read a photo: (H, W, 3) uint8 RGB.

        Raises:
            FcpError: missing or damaged.
        """
        return read_image(self._pictures[picture])

    def outlined(self, network: AnyNetwork) -> LabelledPictures:
        """Return the pictures with outlines of what points and scribbles are on, as ``fit`` has.

        Args:
            network: Network whose promptable segmenter draws them.
        """
        twin = copy(self)
        twin._masks = {
            name: {class_id: _outlined(network, one) for class_id, one in shown.items()}
            for name, shown in self._masks.items()
        }
        return twin

    def class_mask(self, picture: str, class_id: int) -> np.ndarray:
        """Read the mask of a class that a picture shows: (H, W) bool.

        Raises:
            FcpError: missing or damaged.
        """
        example = self._masks[picture][class_id]
        return read_support(example.picture, example.annotation)[1]


def _outlined(network: AnyNetwork, example: Example) -> Example:
    if not example.marks:
        return example
    given = read_given([(example.picture, example.given)])
    ((_, mask),) = with_outlines(network, given).pairs
    return replace(example, drawn=to_runs(mask), marks=())


def _hash_of(pixels: np.ndarray) -> str:
    return hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()
