"""Points and scribbles → the outlines of what they are on, by the model's promptable segmenter.

Marks are taken to be on one object or each on its own (``_on_one_object``), and each object is
asked for by its points. The segmenters that ship often answer points with a place beside them,
since they were trained on boxes above all. Then the points are asked with an estimate of the box
around the object: of n points spread evenly over it, (n + 1) / (n - 1) times their extent, which is
unbiased. What this gains stands in docs/examples.md.

Letters: H, W size of a picture in px; h, w size of the decoder's mask; D channels that presence
compares, on a grid of h', w' cells.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial import distance_matrix
from torch import Tensor

from fcp.data.prompts import Box, Point, Points, Scribble
from fcp.data.transforms import map_to_size, to_square
from fcp.encoders.base import PromptableSegmenter
from fcp.errors import FcpError
from fcp.inference.networks.base import AnyNetwork
from fcp.structures import Embedding

Size = tuple[int, int]

OF_ONE_POINT = 1 / 4  # side of the box around a point alone, of the picture's longer side
LEAST_SIDE = 1 / 16  # least side of the box around several points, of the same
WIDER = (1.0, 2**0.5)  # factors of the estimated box; the masks of both are averaged
OF_NEAREST = 0.7  # most of that side, of the distance to the nearest point on another object
CLOSE = 1 / 256  # of the picture's longer side; of nearer points one counts, as of a double click
MOST_OBJECTS = 32  # number of objects that are outlined one by one
ALONG_SCRIBBLE = 8  # number of points along a scribble that prompt
EPSILON = 1e-6  # px


@dataclass(frozen=True)
class Prompt:
    """What a promptable segmenter is asked, in px of the picture.

    Attributes:
        points: Points (x, y) on the object.
        against: Points outside the object.
        box: Box around the object; None if there is none.
    """

    points: Sequence[Point] = ()
    against: Sequence[Point] = ()
    box: Box | None = None


class EncodedPicture:
    """A picture that a promptable segmenter has encoded, to be asked for objects.

    Args:
        network: Network with a promptable segmenter.
        pixels: Picture (H, W, 3) uint8.

    Raises:
        FcpError: the network has no promptable segmenter.
    """

    def __init__(self, network: AnyNetwork, pixels: np.ndarray) -> None:
        if network.promptable is None:
            raise FcpError("this model takes no boxes and points; use another --model")
        self.size: Size = (pixels.shape[0], pixels.shape[1])
        self._segmenter: PromptableSegmenter = network.promptable
        self._device = network.device
        square = to_square(pixels, network.square)[None].to(self._device)
        self._embedding: Embedding = self._segmenter.encode(square)

    def draw(self, prompt: Prompt) -> Tensor:
        """Draw what a box, points or both mark: logits (h, w) on the CPU; > 0 is the object."""
        scale = torch.tensor([self.size[1], self.size[0]], dtype=torch.float32)
        given: dict[str, Tensor] = {}
        if prompt.box is not None:
            box = prompt.box
            corners = torch.tensor([[box.x0, box.y0, box.x1, box.y1]], dtype=torch.float32)
            given["boxes"] = (corners / scale.repeat(2)).to(self._device)
        if prompt.points or prompt.against:
            points = torch.tensor([[*prompt.points, *prompt.against]], dtype=torch.float32)
            labels = [1] * len(prompt.points) + [0] * len(prompt.against)
            given["points"] = (points / scale).to(self._device)
            given["point_labels"] = torch.tensor([labels], device=self._device)
        prompts = self._segmenter.embed_prompts(**given)
        return self._segmenter.decode(self._embedding, *prompts).logits[0].float().cpu()

    def draw_points(self, prompt: Prompt, others: Sequence[Point] = ()) -> Tensor:
        """Draw the object that points are on, with the help of likely boxes where needed.

        Args:
            prompt: Points on the object, at least one, and points outside it.
            others: Points on other objects that are marked too.

        Returns:
            Logits (h, w), without pieces that none of the points is on.
        """
        points = thinned(prompt.points, CLOSE * max(self.size))
        prompt = replace(prompt, points=points)
        alone = self._at(prompt.points, self.draw(prompt))
        if all(self._on(prompt.points, alone)) and not any(self._on(others, alone)):
            return alone
        drawn = []
        for wider in WIDER:
            box = likely_box(prompt.points, self.size, others, wider)
            drawn.append(self.draw(replace(prompt, box=box)))
        return self._at(prompt.points, torch.stack(drawn).mean(0))

    def to_mask(self, logits: Tensor) -> np.ndarray:
        """Bring a mask (h, w) of logits to the picture's size: (H, W) bool."""
        mask: np.ndarray = (map_to_size(logits, self.size) > 0).numpy()
        return mask

    def _at(self, points: Sequence[Point], logits: Tensor) -> Tensor:
        """Remove the pieces of a mask (h, w) of logits that none of the points is on."""
        pieces, _ = ndimage.label(logits.numpy() > 0)
        kept = [pieces[_cell(point, self.size, pieces.shape)] for point in points]
        others = torch.from_numpy((pieces > 0) & ~np.isin(pieces, kept))
        return logits.masked_fill(others, -float(logits.abs().max()))

    def _on(self, points: Sequence[Point], logits: Tensor) -> list[bool]:
        """Return of each point whether it is on a mask (h, w) of logits."""
        return [bool(logits[_cell(point, self.size, logits.shape)] > 0) for point in points]


@dataclass(frozen=True)
class Likeness:
    """How much alike places of a picture are, by the features that presence compares.

    Attributes:
        units: Features (D, h', w'), less their mean over the picture, of length 1.
        size: Size (H, W) of the picture.
    """

    units: Tensor
    size: Size

    @classmethod
    def of(cls, network: AnyNetwork, pixels: np.ndarray) -> Self:
        """Encode a picture (H, W, 3)."""
        square = to_square(pixels, network.square)[None].to(network.device)
        cells = network.cells(network.query(square))
        units = cells.units[0].float().cpu()
        units = F.normalize(units - units.mean(1, keepdim=True), dim=0)
        return cls(units.unflatten(1, cells.grid), (pixels.shape[0], pixels.shape[1]))

    def halfway(self, a: np.ndarray, b: np.ndarray) -> float:
        """Compare what lies halfway between two places with both.

        Args:
            a: Place (2,), x and y in px.
            b: Another place.

        Returns:
            Mean cosine of the halfway place to both, less that of both to each other.
        """
        one, other, between = (self._unit(place) for place in (a, b, (a + b) / 2))
        return float(between @ (one + other) / 2 - one @ other)

    def _unit(self, place: np.ndarray) -> Tensor:
        row, column = _cell((float(place[0]), float(place[1])), self.size, self.units.shape[1:])
        return self.units[:, row, column]


def likely_box(
    points: Sequence[Point], size: Size, others: Sequence[Point] = (), wider: float = 1.0
) -> Box:
    """Estimate the box around an object from points on it.

    Args:
        points: Points (x, y) in px, at least one.
        size: Size (H, W) of the picture.
        others: Points on other objects; of a point alone, the box stays short of the nearest.
        wider: Factor of the estimated sides.

    Returns:
        A box within the picture.
    """
    count, longer = len(points), max(size)
    low, high = np.min(points, axis=0), np.max(points, axis=0)
    if count > 1:
        sides = np.maximum((count + 1) / (count - 1) * (high - low), LEAST_SIDE * longer)
    else:
        nearest = min((float(np.hypot(*(low - other))) for other in others), default=longer)
        sides = np.full(2, max(1.0, min(OF_ONE_POINT * longer, OF_NEAREST * nearest)))
    corners = np.stack([low + high - wider * sides, low + high + wider * sides]) / 2
    (x0, y0), (x1, y1) = corners.clip(0, [size[1], size[0]]).tolist()
    return Box(x0, y0, x1, y1)


@torch.inference_mode()
def outline(
    network: AnyNetwork, pixels: np.ndarray, marks: Iterable[Points | Scribble]
) -> np.ndarray:
    """Draw the outline of what points and scribbles on a picture are on.

    Args:
        network: Network with a promptable segmenter.
        pixels: Picture (H, W, 3) uint8.
        marks: Marks, at least one, in px of the picture.

    Returns:
        (H, W) bool; without a pixel if the marks are on more than ``MOST_OBJECTS`` objects, which
        would take seconds and of which the marks alone say enough.

    Raises:
        FcpError: the network has no promptable segmenter.
    """
    encoded = EncodedPicture(network, pixels)
    lines = _lines_of(marks, encoded.size)
    if len(lines) == 1 or _on_one_object(lines, Likeness.of(network, pixels)):
        points = [point for line in lines for point in line]
        return encoded.to_mask(encoded.draw_points(Prompt(points)))
    if len(lines) > MOST_OBJECTS:
        return np.zeros(encoded.size, dtype=bool)
    logits = []
    for place, line in enumerate(lines):
        others = [point for other in (*lines[:place], *lines[place + 1 :]) for point in other]
        logits.append(encoded.draw_points(Prompt(line), others))
    return encoded.to_mask(torch.stack(logits).amax(0))


def _on_one_object(lines: Sequence[Sequence[Point]], likeness: Likeness) -> bool:
    """Return whether lines of points are on one object, and not each on another.

    They are if, on average over the edges between lines of the shortest tree through all points,
    what lies halfway is at least as much like both ends as they are like each other.
    """
    places = np.array([point for line in lines for point in line])
    owner = np.repeat(np.arange(len(lines)), [len(line) for line in lines])
    # Points at one place have no distance, which would be no edge of the tree.
    tree = minimum_spanning_tree(distance_matrix(places, places) + EPSILON).tocoo()
    between = owner[tree.row] != owner[tree.col]
    edges = zip(tree.row[between], tree.col[between], strict=True)
    return float(np.mean([likeness.halfway(places[a], places[b]) for a, b in edges])) >= 0


def _lines_of(marks: Iterable[Points | Scribble], size: Size) -> list[list[Point]]:
    """Return each click by itself, and points along each scribble.

    Args:
        marks: Marks, at least one.
        size: Size (H, W) of the picture.

    Returns:
        Lines of points, of each kind one more than ``MOST_OBJECTS`` at most, so that thousands of
        marks take no longer.
    """
    given, most = list(marks), MOST_OBJECTS + 1
    clicks = [point for one in given if isinstance(one, Points) for point in one.points]
    scribbles = [one.points for one in given if isinstance(one, Scribble)]
    every = max(1, ceil(len(scribbles) / most))
    apart = thinned(clicks, CLOSE * max(size), most)
    return [*([point] for point in apart), *map(_spaced, scribbles[::every])]


def thinned(points: Sequence[Point], close: float, most: int | None = None) -> list[Point]:
    """Choose points that are far from each other, each time the farthest from those chosen.

    Args:
        points: Points, maybe none.
        close: Distance to a chosen point below which another one is left out.
        most: Largest number of points to choose; None for no limit.

    Returns:
        The chosen points, the same for any order of the given ones.
    """
    places = np.unique(np.array(points, dtype=float).reshape(-1, 2), axis=0)
    distance = np.full(len(places), np.inf)
    chosen: list[Point] = []
    while (most is None or len(chosen) < most) and (distance >= close).any():
        x, y = places[distance.argmax()].tolist()
        chosen.append((x, y))
        distance = np.minimum(distance, np.hypot(*(places - (x, y)).T))
    return chosen


def _spaced(corners: Sequence[Point]) -> list[Point]:
    """Return points at even distances along a line; its corner if it has no length."""
    line = np.asarray(corners, dtype=float)
    lengths = np.hypot(*np.diff(line, axis=0).T)
    if not lengths.any():
        return [(float(line[0, 0]), float(line[0, 1]))]
    far = np.concatenate([[0.0], lengths.cumsum()])
    wanted = np.linspace(0, far[-1], ALONG_SCRIBBLE)
    x, y = (np.interp(wanted, far, line[:, axis]) for axis in (0, 1))
    return list(zip(x.tolist(), y.tolist(), strict=True))


def _cell(point: Point, size: Size, grid: Sequence[int]) -> tuple[int, int]:
    """Return the row and column of a point in px on a grid over the picture."""
    (x, y), (height, width) = point, size
    return int(y * grid[0] / height), int(x * grid[1] / width)
