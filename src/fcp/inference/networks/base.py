"""A model of any method as the segmenter uses it: examples and photos in, maps of a class out.

The rest of ``fcp.inference`` knows models only by this interface; each family of methods has a file
beside this one.

Letters: S side of the square that pictures are squashed to, D channels that presence compares.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor, nn

from fcp.config import Fusion
from fcp.encoders.base import PromptableSegmenter
from fcp.errors import FcpError
from fcp.method.fusion import RULES

ShownT = TypeVar("ShownT")
SupportT = TypeVar("SupportT")
QueryT = TypeVar("QueryT")
SPAN = 1e-7  # least range of the cosines in ``similarity_map``


@dataclass(frozen=True)
class Seen(Generic[ShownT, QueryT]):
    """An example, encoded as a support and as a query.

    Attributes:
        mask: Mask of the object (S, S), 0 or 1.
        shown: The example as a support.
        query: Features of its picture, made without the mask.
    """

    mask: Tensor
    shown: ShownT
    query: QueryT


@dataclass(frozen=True)
class Answer:
    """Maps of one class in B photos.

    Attributes:
        logits: Log-odds of foreground (B, S, S).
        pseudo_mask: Last attention-based mask (B, h, w) in 0 … 1, or the conventional one of a
            method without such masks.
        conventional_mask: Similarity to the examples' object (B, h, w) in 0 … 1.
        presence: Logit (B,) of whether the class is in the photo; None of a method that does not
            judge it.
    """

    logits: Tensor
    pseudo_mask: Tensor
    conventional_mask: Tensor
    presence: Tensor | None = None


@dataclass(frozen=True)
class Cells:
    """Features of B photos on a grid, as presence compares them.

    Attributes:
        units: Cells (B, D, h·w), each level's part of length 1.
        grid: Size (h, w) of the grid.
    """

    units: Tensor
    grid: tuple[int, int]


@dataclass(frozen=True)
class Known:
    """Features of the examples of one class, as presence compares them.

    Attributes:
        means: Means of the examples' foreground and background (2, D), on the CPU; zeros where the
            background is not known.
        shots: Number K of examples, with the closer cuts of small objects among them.
    """

    means: Tensor
    shots: int


class Network(abc.ABC, Generic[ShownT, SupportT, QueryT]):
    """A model in evaluation mode, as the segmenter uses it.

    Args:
        model: Model that is saved.
        square: Side S of the square that pictures are squashed to, px.
        levels: Number of channels of each level that presence compares; they sum to D.

    Attributes:
        fusions: Rules that the model can join examples by.
    """

    fusions: ClassVar[tuple[Fusion, ...]] = tuple(RULES)

    def __init__(self, model: nn.Module, *, square: int, levels: Sequence[int]) -> None:
        self.model: Any = model.eval()  # parts of a model are for those who know its family
        self.square = square
        self.levels = tuple(levels)

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        device: torch.device = next(self.model.parameters()).device
        return device

    def to(self, device: torch.device) -> None:
        """Move the model to a device."""
        self.model.to(device)

    @property
    def promptable(self) -> PromptableSegmenter | None:
        """Segmenter that takes boxes and points; None of a model without one."""
        return None

    def check_fusion(self, fusion: Fusion) -> Fusion:
        """Return the rule as it is, if the model can join examples by it.

        Raises:
            FcpError: it cannot.
        """
        if fusion not in self.fusions:
            known = " or ".join(self.fusions)
            raise FcpError(f"fusion: this model joins examples by {known}, not by {fusion}")
        return fusion

    def takes_closer_cuts(self, fusion: Fusion) -> bool:
        """Return whether a closer cut of a small object is worth being one more example."""
        return False

    @property
    @abc.abstractmethod
    def fingerprint(self) -> str:
        """Hash of all that the model's supports depend on."""

    @abc.abstractmethod
    def save(self, folder: Path) -> None:
        """Write a model folder.

        Raises:
            FcpError: the folder cannot be written.
        """

    @abc.abstractmethod
    def see(self, image: Tensor, mask: Tensor) -> Seen[ShownT, QueryT]:
        """Encode an example as a support and as a query.

        Args:
            image: RGB picture (3, S, S) in 0 … 1, on the model's device.
            mask: Mask of the object (S, S), 0 or 1, not empty.
        """

    @abc.abstractmethod
    def show(self, image: Tensor, mask: Tensor) -> ShownT:
        """Encode an example as a support alone; see ``see``."""

    @abc.abstractmethod
    def query(self, images: Tensor) -> QueryT:
        """Encode photos (B, 3, S, S), RGB in 0 … 1, on the model's device."""

    @abc.abstractmethod
    def join(self, shown: Sequence[ShownT], fusion: Fusion) -> SupportT:
        """Join examples that were encoded one by one into the support of one class."""

    @abc.abstractmethod
    def match(self, support: SupportT, query: QueryT) -> Answer:
        """Segment B photos by the support of one class."""

    @abc.abstractmethod
    def cells(self, query: QueryT) -> Cells:
        """Return the features of photos that presence compares."""

    @abc.abstractmethod
    def known(self, support: SupportT) -> Known:
        """Return the features of a class's examples that presence compares."""

    def maps(self, query: QueryT) -> Sequence[Tensor]:
        """Return feature maps (B, C, h, w) that the appearance is learnt from; maybe none.

        A method's wide features would be fitted too well to the few pixels of few examples; the
        appearance then has its filters alone.
        """
        return ()


AnyNetwork = Network[Any, Any, Any]


def masked_means(units: Tensor, shares: Tensor) -> Tensor:
    """Average cells over foreground and background of all examples.

    Args:
        units: Cells (K, D, L) of the examples.
        shares: Foreground share (K, L) of each cell, 0 … 1.

    Returns:
        (2, D), on the CPU; zeros for a region without any cell.
    """
    weights = torch.stack([shares, 1 - shares]).to(units.dtype)  # (2, K, L)
    sums = torch.einsum("gkl,kdl->gd", weights, units)
    return (sums / weights.sum((1, 2)).clamp(min=1e-6)[:, None]).cpu()


def similarity_map(cells: Cells, foreground: Tensor) -> Tensor:
    """Compare photos with the mean of the examples' foreground, for methods without own maps.

    Args:
        cells: Features of B photos.
        foreground: Mean (D,) of the examples' foreground.

    Returns:
        Cosines (B, h, w), each photo's stretched to 0 … 1 as in the conventional pseudo mask
        (Eq. 5).
    """
    cosine = torch.einsum("bdl,d->bl", cells.units, foreground.to(cells.units))
    low, high = cosine.amin(1, keepdim=True), cosine.amax(1, keepdim=True)
    return ((cosine - low) / (high - low + SPAN)).unflatten(1, cells.grid)
