"""The head of FCP and of VRP-SAM as its equations stand in the paper: Figure 3 in one screen.

One query, one shot, nothing saved and nothing shared: all cells meet all cells, the guidance
convolution runs on the concatenated tensor, and attention is torch's own. It reads the weights of a
head of the package by name. Tests hold the package's head to it, ``benchmarks/head.py`` times both.

Letters: L cells (of all pictures, if the support has several), N tokens, C channels.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fcp.config import HeadConfig


@dataclass(frozen=True)
class Maps:
    """Raw features of a picture: F (L, Cm), G (L, C) and stage 4 (L, Ch)."""

    backbone: Tensor
    sam: Tensor
    high: Tensor


@dataclass
class Found:
    """Everything on the way to the prompts (N, C)."""

    prior: Tensor
    support: list[Tensor] = field(default_factory=list)
    query: list[Tensor] = field(default_factory=list)
    attention: list[Tensor] = field(default_factory=list)
    masks: list[Tensor] = field(default_factory=list)
    prompts: Tensor = field(default_factory=lambda: torch.empty(0))


@dataclass(frozen=True)
class PlainHead:
    """The equations with the weights of a head.

    Attributes:
        weights: State of the head, by name.
        config: Its switches.
        grid: (h, w) of a picture.
    """

    weights: Mapping[str, Tensor]
    config: HeadConfig
    grid: tuple[int, int]

    def pair(self, support: Maps, query: Maps, mask: Tensor) -> Found:
        """Run one query with one shot, whose mask (L,) is 0 or 1 on the grid."""
        key, value = ("G" if "G" in self.config.features else "F"), self.config.features[0]
        means = {name: self.mean(name, support, mask) for name in (key, value)}
        own = [self.contrast(maps.backbone, support.backbone, mask) for maps in (support, query)]
        key_of_support = self.guide(key, support, means[key], mask, own[0])  # Eq. 1
        value_of_support = self.guide(value, support, means[value], mask, own[0])  # Eq. 3
        found = Found(prior(support.high, query.high, mask))  # Eq. 5
        self.read_support(found, key_of_support, value_of_support, mask)  # Eq. 2, 4

        tokens, pseudo = found.support[-1], found.prior
        if self.config.matching == "pixel":
            pixels = self.guide(key, query, means[key], pseudo, own[1])
            asking = self.attend_itself("matching.support_attention", tokens)
            matched, attention = self.attend("matching.cross_attention", asking, pixels, pixels)
            found.attention.append(attention)
        else:
            answers = self.weights["query.tokens"]
            for step in range(self.config.steps):
                last = step == self.config.steps - 1
                guiding = pseudo if self.config.refresh_guidance else found.prior
                keys = values = self.guide(key, query, means[key], guiding, own[1])  # Eq. 6
                if last and value != key:
                    values = self.guide(value, query, means[value], pseudo, own[1])  # Eq. 10
                layer = f"query.layers.{step}"
                answers, attention = self.attend(layer, answers, keys, values)  # Eq. 7, 11
                found.query.append(answers)
                found.attention.append(attention)
                if self.config.pseudo_mask == "attention" and not last:
                    pseudo = pseudo_mask(attention)  # Eq. 8
                    found.masks.append(pseudo)
            matched, _ = self.block("matching.cross_attention", tokens, answers, answers)  # Eq. 12
        found.prompts = self.attend_itself("matching.self_attention", matched)
        return found

    def read_support(self, found: Found, keys: Tensor, last: Tensor, mask: Tensor) -> None:
        """Let the support's tokens gather its foreground, VRP-SAM's once and everything."""
        pixels = self.config.matching == "pixel"
        steps, outside = (1, None) if pixels else (self.config.steps, mask == 0)
        tokens = self.weights["support.tokens"]
        for step in range(steps):
            values = last if step == steps - 1 else keys
            tokens, _ = self.attend(f"support.layers.{step}", tokens, keys, values, outside)
            found.support.append(tokens)

    def guide(self, name: str, maps: Maps, mean: Tensor, mask: Tensor, contrast: Tensor) -> Tensor:
        """Guide a feature: ReLU(Conv1x1(concat(X, p, 10·M, 10·D)))."""
        projected = self.project(name, maps)
        parts = [projected, mean.expand_as(projected), 10 * mask[:, None], 10 * contrast]
        return F.relu(torch.cat(parts, 1) @ self.weights[f"features.{name}.merge.weight"].T)

    def project(self, name: str, maps: Maps) -> Tensor:
        """Project F or G to C channels."""
        raw = maps.backbone if name == "F" else maps.sam
        return F.relu(raw @ self.weights[f"features.{name}.project.0.weight"].T)

    def mean(self, name: str, support: Maps, mask: Tensor) -> Tensor:
        """Average under the mask: F after its projection, G before."""
        cells = self.project("F", support) if name == "F" else support.sam
        return (cells * mask[:, None]).sum(0) / (mask.sum() + 5e-4)

    def contrast(self, cells: Tensor, support: Tensor, mask: Tensor) -> Tensor:
        """Compare each level of cells with the mean unit of the fore- and background (ours)."""
        levels = list(self.config.contrast_levels)
        if not levels:
            return cells[:, :0]
        maps = []
        for own, theirs in zip(cells.split(levels, 1), support.split(levels, 1), strict=True):
            for side in (mask > 0, mask == 0):
                mean = F.normalize(F.normalize(theirs, dim=1)[side].sum(0), dim=0)
                maps.append(F.normalize(own, dim=1) @ mean)
        return torch.stack(maps, 1)

    def attend(
        self,
        name: str,
        tokens: Tensor,
        keys: Tensor,
        values: Tensor,
        outside: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Let tokens read cells, whose keys carry the position code."""
        code = position(self.config.width, self.grid).to(keys)
        placed = keys + code.repeat(len(keys) // len(code), 1)
        return self.block(name, tokens, placed, values, outside)

    def attend_itself(self, name: str, tokens: Tensor) -> Tensor:
        """Let tokens read each other."""
        return self.block(name, tokens, tokens, tokens)[0]

    def block(
        self, name: str, asking: Tensor, keys: Tensor, values: Tensor, outside: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Run ``LayerNorm(x + Attn(x, K, V))`` with torch's attention; the map (N, L) too."""
        width = self.config.width
        layer = nn.MultiheadAttention(width, self.config.heads, batch_first=True, device="meta")
        own = f"{name}."
        state = {k.removeprefix(own): v for k, v in self.weights.items() if k.startswith(own)}
        norm = {k: state.pop(f"norm.{k}") for k in ("weight", "bias")}
        layer.eval().load_state_dict(state, assign=True)
        answer, attention = layer(
            asking[None],
            keys[None],
            values[None],
            key_padding_mask=None if outside is None else outside[None],
        )
        return F.layer_norm(asking + answer[0], (width,), **norm), attention[0]


def prior(support: Tensor, query: Tensor, mask: Tensor) -> Tensor:
    """Return each query cell's best cosine to the support's foreground, at least 0 (L,)."""
    units = [cells / (cells.norm(dim=1, keepdim=True) + 1e-7) for cells in (support, query)]
    return ((units[0] * mask[:, None]) @ units[1].T).amax(0).clamp(min=0)


def pseudo_mask(attention: Tensor) -> Tensor:
    """Stretch each token's attention (N, L) to 0 … 1; a cell keeps its best token (L,)."""
    low, top = attention.amin(1, keepdim=True), attention.amax(1, keepdim=True)
    return ((attention - low) / (top - low + 1e-9)).amax(0)


@functools.cache
def position(width: int, grid: tuple[int, int]) -> Tensor:
    """Return the sine code (L, C), float64: the first half of the channels from y, then x."""
    codes = [
        _axis(y, grid[0], width // 2) + _axis(x, grid[1], width // 2)
        for y in range(grid[0])
        for x in range(grid[1])
    ]
    return torch.tensor(codes, dtype=torch.float64)


def _axis(at: int, length: int, channels: int) -> list[float]:
    code = []
    for pair in range(channels // 2):
        angle = 2 * math.pi * (at + 1) / (length + 1e-6) / 10000 ** (2 * pair / channels)
        code += [math.sin(angle), math.cos(angle)]
    return code
