"""Is the thing in the picture at all? A calibrated probability, from what was seen anyway.

The head always answers, so its mask says little. What tells a present thing from an absent one is
whether the cells under the mask look like the examples' foreground, at each level of the backbone,
and how much of that likeness is shared by the rest of the picture and by the examples' background:
the sea looks like a boat's picture also where there is no boat. These cosines, as they are and
after the mean over many pictures has been taken off, go into one logistic regression, fitted on
classes of training (``engine.calibrate``; docs/presence.md has the measurements).

Letters: D = Cm + Ch, the channels of all levels, stage 4 being the last one.
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

from fcp.config import MOST_CHANNELS, check, from_dict
from fcp.documents import load_json
from fcp.errors import FcpError
from fcp.files import write_atomically
from fcp.layers.masked import mask_to_share
from fcp.models.files import PRESENCE_FILE
from fcp.structures import CorrelationOutput, QueryFeatures, SupportSet

FORMAT = "fcp-presence-1"
SOFT_WEIGHT = 1e-3  # of the probability beside the mask: it decides where the mask is empty
EPSILON = 1e-6
FEATURES = 8  # of each level; see ``features``
LARGEST = 1e6  # of any number in a file; cosines and their weights are near 1


@dataclass(frozen=True)
class Look:
    """What a picture looks like under a mask and beside it: sums over its cells.

    Attributes:
        sums: (2, D) inside and outside, each level of a cell being of length 1.
        cells: (2,) how many cells these are, in parts.
        logit: of a head with correlation, which judges presence itself; else None.
    """

    sums: Tensor
    cells: Tensor
    logit: float | None = None

    @property
    def means(self) -> Tensor:
        """(2, D) of inside and outside."""
        return self.sums / (self.cells[:, None] + EPSILON)


def look_at(
    query: QueryFeatures, mask_logits: Tensor, correlation: CorrelationOutput | None = None
) -> list[Look]:
    """See what is under the masks found in B pictures and what is beside them.

    Args:
        query: Features of B pictures.
        mask_logits: (B, S, S).
        correlation: with them, of a head that has it; the mean over the shots counts.

    Returns:
        B looks, on the CPU.
    """
    units = query.level_units
    cells = torch.cat([units.float(), F.normalize(query.high.float(), dim=1)], 1)  # (B, D, L)
    probability = mask_to_share(mask_logits.sigmoid(), query.grid)
    inside = mask_to_share((mask_logits > 0).float(), query.grid) + SOFT_WEIGHT * probability
    weights = torch.stack([inside, 1 - probability], 1)  # (B, 2, L)
    sums = weights @ cells.mT
    logits: list[float | None] = [None] * len(sums)
    if correlation is not None:
        logits = correlation.presence.float().unflatten(0, (len(sums), -1)).mean(1).tolist()
    return [Look(*one) for one in zip(sums.cpu(), weights.sum(2).cpu(), logits, strict=True)]


def look_of_examples(support: SupportSet) -> Tensor:
    """Return what the examples of one class look like: foreground and background (2, D), CPU.

    Stage 4 ran under the mask, so that its background is 0.
    """
    levels = support.level_means[0].float().mean(0)  # (2, Cm)
    cells = support.high[0].flatten(0, 1).float()  # (K·n, Ch), zeros where padded
    count = (cells.square().sum(1) > EPSILON).sum().clamp(min=1)
    high = torch.stack([cells.sum(0) / count, torch.zeros_like(cells[0])])
    return torch.cat([levels, high], 1).cpu()


def compare(look: Tensor, examples: Tensor, levels: Sequence[int]) -> Tensor:
    """Compare both regions of a picture with foreground and background of the examples.

    Args:
        look: (2, D) inside, outside.
        examples: (2, D) foreground, background.
        levels: channels of each level, D in all.

    Returns:
        (levels · 4,) cosines, by level: inside and outside with the foreground, then with the
        background.
    """
    parts = zip(look.split(list(levels), 1), examples.split(list(levels), 1), strict=True)
    cosines = [F.normalize(theirs, dim=1) @ F.normalize(ours, dim=1).mT for ours, theirs in parts]
    return torch.cat([one.flatten() for one in cosines])


@dataclass(frozen=True)
class Presence:
    """A logistic regression over the cosines, and what it is known to get wrong.

    Attributes:
        levels: channels of each level, stage 4 last; they sum to D.
        centres: (2, D) means of regions over many pictures: of queries, of examples.
        weights: (n,) of the features, see ``features``.
        bias: of the sum.
        threshold: probability from which on a class is taken for present.
        facts: how it was fitted, and its error rates there.
    """

    levels: tuple[int, ...]
    centres: Tensor
    weights: Tensor
    bias: float
    threshold: float
    facts: dict[str, Any]

    def judge(self, support: SupportSet, look: Look) -> float:
        """Return the probability, 0 … 1, that what the examples show is in the picture.

        It takes it for granted that half of the pictures show it.
        """
        return self.judge_looks(look, look_of_examples(support), support.grid_mask.shape[1])

    def judge_looks(self, look: Look, examples: Tensor, shots: int) -> float:
        """Do the same from what K = ``shots`` examples look like, (2, D)."""
        seen = features(look, examples, levels=self.levels, centres=self.centres, shots=shots)
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


def features(
    look: Look, examples: Tensor, *, levels: Sequence[int], centres: Tensor, shots: int
) -> Tensor:
    """Return what the regression reads: cosines as they are, centred ones, log2 of the examples.

    Args:
        look: of the picture.
        examples: (2, D) means of foreground and background.
        levels: channels of each level.
        centres: (2, D) means over many pictures: of ``look``, of ``examples``.
        shots: K.

    Returns:
        (levels · 8 + 1,), and one more where the head judges presence itself.
    """
    means = look.means
    known = examples.abs().sum(1, keepdim=True) > 0  # a background that is 0 stays 0
    centred = compare(means - centres[0], (examples - centres[1]) * known, levels)
    count = torch.tensor([float(shots)]).log2()
    own = torch.tensor([] if look.logit is None else [look.logit])
    return torch.cat([compare(means, examples, levels), centred, count, own])


def load_presence(folder: Path, levels: Sequence[int]) -> Presence | None:
    """Read a model folder's ``presence.json``; None where it has none.

    Args:
        folder: of the model.
        levels: channels of its backbone's levels, without stage 4.

    Raises:
        FcpError: damaged, of another format, or of another model.
    """
    path = folder / PRESENCE_FILE
    if not path.is_file():
        return None
    try:
        content = from_dict(_Content, load_json(path), str(path))
        if content.levels[:-1] != list(levels):
            raise FcpError(f"fitted to a backbone of {content.levels} channels")
    except FcpError as error:
        reason = str(error).removeprefix(str(path)).lstrip(":. ")
        raise FcpError(
            f"{path}: damaged, or of another model ({reason}); make it again with `fcp calibrate`"
        ) from error
    return Presence(
        levels=tuple(content.levels),
        centres=torch.tensor([content.query_centre, content.example_centre]),
        weights=torch.tensor(content.weights),
        bias=content.bias,
        threshold=content.threshold,
        facts=content.facts,
    )


@dataclass(frozen=True)
class _Content:
    """What ``presence.json`` holds; see ``Presence``."""

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
