"""Fit the appearance of each class to its examples, and mix it into the answer for a photo."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fcp.config import Fusion
from fcp.data.transforms import map_to_size
from fcp.inference.appearance.classifier import Classifier, Pool, fit_classifier
from fcp.inference.appearance.features import Layer, filter_picture, penalties_of, read_at
from fcp.inference.appearance.gate import Decision, Trial, decide_by_halves, decide_by_others
from fcp.inference.appearance.samples import Samples, draw_samples
from fcp.inference.encoding import square
from fcp.inference.networks.base import AnyNetwork, Seen
from fcp.inference.tiling import Marked
from fcp.method.fusion import DEFAULT_FUSION

# Half the penalty of a squared weight, in losses of pixels. Coarse features overfit to the example
# more easily and have a higher one.
FILTERS, FINE, COARSE = 20.0, 60.0, 300.0
FINE_STRIDE = 8  # px of the model's square per cell, from which on a level counts as coarse
MOST_EXAMPLES = 9  # examples to learn from at most, which bounds memory and time
MOST_PIXELS = 1 << 21  # of an answer: 8 MB
COPY_SIDE = (0.7, 0.9)  # side of the changed copy, as a share of the picture's
COPY_GAMMA = (0.75, 1.33)


@dataclass(frozen=True)
class Appearance:
    """Pixel classifier of a class, and its share in the answer.

    Attributes:
        classifier: Classifier of the pixels; None where it has no share in the answer.
        decision: Share of the classifier in the answer, and the reason.
    """

    classifier: Classifier | None
    decision: Decision

    def mix(self, logits: Tensor, layers: Sequence[Layer], size: tuple[int, int]) -> Tensor:
        """Mix its log-odds of a photo with those of the network.

        Args:
            logits: Log-odds of the network (S, S).
            layers: Pixel features of the photo.
            size: Size of the photo (H, W), px.

        Returns:
            Log-odds (H', W') of the photo's size, or of ``kept_size`` where that is smaller.
        """
        if self.classifier is None:
            return logits
        kept, share = kept_size(size), self.decision.share
        own = map_to_size(self.classifier.of_picture(layers), kept)
        return torch.lerp(map_to_size(logits, kept), own, share)


def layers_of(picture: np.ndarray, seen: Sequence[Tensor], index: int, square: int) -> list[Layer]:
    """Return all pixel features of a photo: filters, and the network's maps.

    Args:
        picture: RGB picture (H, W, 3), uint8.
        seen: Network's maps (B, C, h, w) of a batch of photos that contains this one.
        index: Index of the photo in the batch.
        square: Side S of the square that the model reads, px.
    """
    return [Layer(maps, FILTERS) for maps in filter_picture(picture)] + [
        Layer(maps[index].float().cpu(), FINE if square <= FINE_STRIDE * maps.shape[-1] else COARSE)
        for maps in seen
    ]


@dataclass(frozen=True)
class Learnt:
    """An example as pixels and as the network's features.

    Attributes:
        picture: RGB picture (H, W, 3), uint8.
        mask: Mask of the object (H, W), bool.
        seen: The example, encoded by the network.
        samples: Pixels drawn from the example.
        penalties: Penalty of each of their features' weights (D,).
    """

    picture: np.ndarray
    mask: np.ndarray
    seen: Seen[Any, Any]
    samples: Samples
    penalties: Tensor

    def odds(self, network: AnyNetwork, examples: Sequence[Any], fusion: Fusion) -> Tensor:
        """Return the network's log-odds (n,) of its sampled pixels, from other examples."""
        answer = network.match(network.join(examples, fusion), self.seen.query)
        return _at(answer.logits, self.samples)


@torch.inference_mode()
def learn(network: AnyNetwork, example: Marked, seen: Seen[Any, Any]) -> Learnt:
    """Draw pixels of an encoded example.

    Args:
        network: Network that encodes the examples.
        example: Picture (H, W, 3) with its mask (H, W), which has background.
        seen: The example, encoded by the network, with the finer maps of its picture.
    """
    picture, mask = example
    layers = layers_of(picture, network.maps(seen.query), 0, network.square)
    samples = draw_samples(layers, mask, _generator(picture))
    return Learnt(picture, mask, seen, samples, penalties_of(layers))


@torch.inference_mode()
def fit_appearances(
    network: AnyNetwork, entrants: Sequence[Sequence[Learnt]], fusion: Fusion = DEFAULT_FUSION
) -> list[Appearance | None]:
    """Fit the appearance of each entrant of a task.

    Args:
        network: Network that encodes the examples.
        entrants: Examples of each entrant to learn from (``choose_learnt``), maybe none.
        fusion: Rule by which the network's examples become one answer.

    Returns:
        Appearance of each entrant; None without examples.
    """
    found: list[Appearance | None] = []
    for index, own in enumerate(entrants):
        against = [
            one.samples.as_background()
            for place, of in enumerate(entrants)
            if place != index
            for one in of
        ]
        found.append(_fit_one(network, own, against, fusion) if own else None)
    return found


def _fit_one(
    network: AnyNetwork, own: Sequence[Learnt], against: Sequence[Samples], fusion: Fusion
) -> Appearance:
    if len(own) > 1:
        return _fit_several(network, own, against, fusion)
    return _fit_single(network, own[0], against, fusion)


def _fit_several(
    network: AnyNetwork, own: Sequence[Learnt], against: Sequence[Samples], fusion: Fusion
) -> Appearance:
    """Fit to all examples, and decide by leave-one-out fits."""
    samples, penalties = [one.samples for one in own], own[0].penalties
    pool = Pool.of([*samples, *against])
    classifier = fit_classifier(pool, penalties)
    trials = []
    for index, one in enumerate(own):
        others = [other.seen.shown for other in own if other is not one]
        by_others = fit_classifier(pool.without(index), penalties, classifier)
        odds = one.odds(network, others, fusion)
        trials.append(Trial(one.samples, odds, by_others.of_samples(one.samples.values)))
    return Appearance(classifier, decide_by_others(trials))


def _fit_single(
    network: AnyNetwork, own: Learnt, against: Sequence[Samples], fusion: Fusion
) -> Appearance:
    """Fit to the example and a changed copy of it, and decide by the example's halves."""
    tried = _try_single(network, own, against, fusion)
    decision = decide_by_halves(tried.halves, tried.known)
    return Appearance(tried.classifier if decision.share > 0 else None, decision)


@dataclass(frozen=True)
class Tried:
    """Trial of network and appearance on a single example; see ``decide_by_halves``.

    Attributes:
        classifier: Classifier fitted to the example and a changed copy of it.
        halves: Trial of each half, by the appearance of the other half.
        known: Network's IoU on the example and on the copy, 0 … 1.
    """

    classifier: Classifier
    halves: Sequence[Trial]
    known: Sequence[float]


@torch.inference_mode()
def try_example(
    network: AnyNetwork, picture: np.ndarray, mask: np.ndarray, fusion: Fusion = DEFAULT_FUSION
) -> Tried:
    """Fit to one example (H, W, 3) with its mask (H, W), and test the fit on its halves."""
    return _try_single(network, _see_and_learn(network, (picture, mask)), (), fusion)


def _try_single(
    network: AnyNetwork, own: Learnt, against: Sequence[Samples], fusion: Fusion
) -> Tried:
    copy = _see_and_learn(network, changed_copy(own.picture, own.mask))
    classifier = fit_classifier(Pool.of([own.samples, copy.samples, *against]), own.penalties)
    by_network = [one.odds(network, [own.seen.shown], fusion) for one in (own, copy)]
    known = [one.samples.overlap(odds) for one, odds in zip((own, copy), by_network, strict=True)]
    halves = []
    first = own.samples.in_first_half()
    for half in (first, ~first):
        rest = Pool.of([own.samples.of(~half), *against])
        other = fit_classifier(rest, own.penalties, classifier)
        tried = own.samples.of(half)
        halves.append(Trial(tried, by_network[0][half], other.of_samples(tried.values)))
    return Tried(classifier, halves, known)


def _see_and_learn(network: AnyNetwork, example: Marked) -> Learnt:
    return learn(network, example, network.see(*square(network, example)))


def choose_learnt(examples: Sequence[Marked], usable: Sequence[bool]) -> list[int]:
    """Choose the examples to learn from, evenly spread where there are too many.

    They are sorted by a checksum first, so that the order of the examples has no effect.

    Args:
        examples: Pictures with their masks.
        usable: Whether each example has an exact mask.

    Returns:
        Indices of the chosen examples. Examples without background are left out.
    """
    places = [
        place
        for place, (example, exact) in enumerate(zip(examples, usable, strict=True))
        if exact and not example[1].all()
    ]
    places.sort(key=lambda place: _checksum(examples[place]))
    count = min(len(places), MOST_EXAMPLES)
    return [places[index * len(places) // count] for index in range(count)]


def _checksum(example: Marked) -> int:
    picture, mask = example
    return zlib.crc32(mask.tobytes(), zlib.crc32(picture.tobytes()))


def changed_copy(picture: np.ndarray, mask: np.ndarray) -> Marked:
    """Mirror a picture, crop it and change its brightness."""
    generator = _generator(picture)
    rows, columns = np.nonzero(mask)
    chosen = generator.integers(len(rows))
    windows = []
    for place, length in ((rows[chosen], mask.shape[0]), (columns[chosen], mask.shape[1])):
        side = max(1, round(length * generator.uniform(*COPY_SIDE)))
        low, high = max(0, place - side + 1), min(place, length - side)
        start = int(generator.integers(low, high + 1))  # some foreground stays
        windows.append(slice(start, start + side))
    part = (windows[0], windows[1])
    changed = 255 * (picture[part] / 255.0) ** generator.uniform(*COPY_GAMMA)
    # Copies, not `ascontiguousarray`, which keeps the negative stride of a side of 1 px.
    return changed[:, ::-1].astype(np.uint8).copy(), mask[part][:, ::-1].copy()


def _at(logits: Tensor, samples: Samples) -> Tensor:
    """Read a map (1, S, S) at the places of samples."""
    return read_at(logits.float().cpu(), samples.places)[:, 0]


def _generator(picture: np.ndarray) -> np.random.Generator:
    """Return a generator seeded by the picture, independent of the order of the examples."""
    return np.random.default_rng(zlib.crc32(picture.tobytes()))


def kept_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return the size (H', W') at which the answer for a photo (H, W) is kept."""
    scale = min(1.0, (MOST_PIXELS / (size[0] * size[1])) ** 0.5)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
