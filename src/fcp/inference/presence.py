"""Presence of a class in a picture: a calibrated probability, from features at hand.

The head always returns a mask, so the mask alone says little about presence. Presence is judged by
the similarity of the cells under the mask to the examples' foreground, at each level of the
backbone, and by how much of that similarity the rest of the picture and the examples' background
share: the sea is similar to a picture of a boat even where there is no boat. These cosines, with
and without the mean over many pictures subtracted, go into one logistic regression, fitted on
training classes (``engine.calibrate``; docs/presence.md has the measurements).

Letters: D, the channels of all levels; FCP's last level is stage 4 (Cm + Ch).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fcp.checks import check, from_dict
from fcp.config import MOST_CHANNELS
from fcp.errors import FcpError
from fcp.inference.networks.base import Answer, Cells, Known
from fcp.layers.masked import mask_to_share
from fcp.models.files import PRESENCE_FILE
from fcp.system.documents import load_json
from fcp.system.files import write_atomically

FORMAT = "fcp-presence-1"
SOFT_WEIGHT = 1e-3  # of the probability outside the mask; it decides where the mask is empty
EPSILON = 1e-6
FEATURES = 8  # of each level; see ``features``
LARGEST = 1e6  # largest number allowed in a file; cosines and their weights are near 1


@dataclass(frozen=True)
class Look:
    """Features of a picture inside and outside a mask: sums over its cells.

    Attributes:
        sums: Sums of the cells inside and outside the mask (2, D), each level of a cell being of
            length 1.
        cells: Number of cells inside and outside, with fractions (2,).
        logit: Presence logit of a network that judges presence itself, such as a head with
            correlation; None for others.
    """

    sums: Tensor
    cells: Tensor
    logit: float | None = None

    @property
    def means(self) -> Tensor:
        """Means inside and outside the mask (2, D)."""
        return self.sums / (self.cells[:, None] + EPSILON)


def look_at(cells: Cells, answer: Answer) -> list[Look]:
    """Sum the features of B pictures inside and outside their predicted masks.

    Args:
        cells: Features of B pictures.
        answer: Predicted masks, and the presence that the network itself judges.

    Returns:
        Sums of each of the B pictures, on the CPU.
    """
    probability = mask_to_share(answer.logits.sigmoid(), cells.grid)
    inside = mask_to_share((answer.logits > 0).float(), cells.grid) + SOFT_WEIGHT * probability
    weights = torch.stack([inside, 1 - probability], 1)  # (B, 2, L)
    sums = weights @ cells.units.mT
    judged = answer.presence
    logits: list[float | None] = [None] * len(sums) if judged is None else judged.tolist()
    return [Look(*one) for one in zip(sums.cpu(), weights.sum(2).cpu(), logits, strict=True)]


def compare(look: Tensor, examples: Tensor, levels: Sequence[int]) -> Tensor:
    """Compare both regions of a picture with foreground and background of the examples.

    Args:
        look: Means inside and outside the mask (2, D).
        examples: Means of the examples' foreground and background (2, D).
        levels: Channels of each level, D in all.

    Returns:
        Cosines (levels · 4,), by level: inside and outside with the foreground, then with the
        background.
    """
    parts = zip(look.split(list(levels), 1), examples.split(list(levels), 1), strict=True)
    cosines = [F.normalize(theirs, dim=1) @ F.normalize(ours, dim=1).mT for ours, theirs in parts]
    return torch.cat([one.flatten() for one in cosines])


@dataclass(frozen=True)
class Presence:
    """A logistic regression over the cosines, and its known error rates.

    Attributes:
        levels: Channels of each level; they sum to D.
        centres: Means of regions over many pictures (2, D): of queries, of examples.
        weights: Weights of the features (n,), see ``features``.
        bias: Constant term of the log-odds.
        threshold: Probability from which on a class counts as present.
        facts: Facts about the fit, and its error rates.
    """

    levels: tuple[int, ...]
    centres: Tensor
    weights: Tensor
    bias: float
    threshold: float
    facts: dict[str, Any]

    def judge(self, known: Known, look: Look) -> float:
        """Return the probability, 0 … 1, that the examples' class is in the picture.

        It holds where half of all pictures show the class.

        Raises:
            FcpError: fitted to a model that judges presence itself where this one does not, or the
                other way round.
        """
        seen = features(look, known, levels=self.levels, centres=self.centres)
        if len(seen) != len(self.weights):
            raise FcpError(f"{PRESENCE_FILE}: of another model; make it again with `fcp calibrate`")
        return float(torch.sigmoid(seen @ self.weights + self.bias))

    def save(self, folder: Path) -> None:
        """Write ``presence.json`` beside the model's weights.

        Raises:
            FcpError: it cannot be written.
        """
        content = {
            "format": FORMAT,
            "levels": list(self.levels),
            "threshold": self.threshold,
            "facts": self.facts,
            "bias": self.bias,
            "weights": _rounded(self.weights),
            "query_centre": _rounded(self.centres[0]),
            "example_centre": _rounded(self.centres[1]),
        }
        write_atomically(folder / PRESENCE_FILE, (json.dumps(content) + "\n").encode())


def features(look: Look, known: Known, *, levels: Sequence[int], centres: Tensor) -> Tensor:
    """Return the regression's inputs: cosines, centred cosines, log2 of the number of examples.

    Args:
        look: Sums over the query picture's cells.
        known: Means of the examples.
        levels: Channels of each level.
        centres: Means over many pictures (2, D): of ``look``, of ``known``.

    Returns:
        Features (levels · 8 + 1,), and one more where the head judges presence itself.
    """
    means, examples = look.means, known.means
    has_cells = examples.abs().sum(1, keepdim=True) > 0  # a background that is 0 stays 0
    centred = compare(means - centres[0], (examples - centres[1]) * has_cells, levels)
    count = torch.tensor([known.shots], dtype=torch.float32).log2()
    own = torch.tensor([] if look.logit is None else [look.logit], dtype=torch.float32)
    return torch.cat([compare(means, examples, levels), centred, count, own])


def load_presence(folder: Path, levels: Sequence[int]) -> Presence | None:
    """Read a model folder's ``presence.json``; None where it has none.

    Args:
        folder: Folder of the model.
        levels: Channels of each level of its network.

    Raises:
        FcpError: the file is damaged, of another format, or of another model.
    """
    path = folder / PRESENCE_FILE
    if not path.is_file():
        return None
    try:
        content = from_dict(_Content, load_json(path), str(path))
        if content.levels != list(levels):
            raise FcpError(f"fitted to a backbone of {content.levels} channels")
    except FcpError as error:
        reason = str(error).removeprefix(str(path)).lstrip(":. ")
        raise FcpError(
            f"{path}: damaged, or of another model ({reason}); make it again with `fcp calibrate`"
        ) from error
    centres = [content.query_centre, content.example_centre]
    return Presence(
        levels=tuple(content.levels),
        centres=torch.tensor(centres, dtype=torch.float32),
        weights=torch.tensor(content.weights, dtype=torch.float32),
        bias=content.bias,
        threshold=content.threshold,
        facts=content.facts,
    )


@dataclass(frozen=True)
class _Content:
    """Content of ``presence.json``; see ``Presence``."""

    format: str
    levels: list[int]
    threshold: float
    facts: dict[str, Any]
    bias: float
    weights: list[float]
    query_centre: list[float]
    example_centre: list[float]

    def __post_init__(self) -> None:
        check(self)
        if self.format != FORMAT:
            raise FcpError(f"format: expected {FORMAT!r}, got {self.format!r}")
        if not self.levels or not all(1 <= channels <= MOST_CHANNELS for channels in self.levels):
            raise FcpError(f"levels: expected channels of each level, got {self.levels}")
        if not 0 <= self.threshold <= 1:
            raise FcpError(f"threshold: expected 0 … 1, got {self.threshold}")
        judged = len(self.weights) == FEATURES * len(self.levels) + 2  # by the head itself, too
        lengths = {
            "weights": FEATURES * len(self.levels) + (2 if judged else 1),
            "query_centre": sum(self.levels),
            "example_centre": sum(self.levels),
        }
        for name, length in lengths.items():
            values = getattr(self, name)
            if len(values) != length:
                raise FcpError(f"{name}: expected {length} numbers, got {len(values)}")
        largest = max(
            map(abs, [self.bias, *self.weights, *self.query_centre, *self.example_centre])
        )
        if largest > LARGEST:
            raise FcpError(f"expected numbers up to {LARGEST:g}, got {largest:g}")


def _rounded(values: Tensor) -> list[float]:
    return [round(value, 6) for value in values.tolist()]
