"""The examples of one class, each encoded once for support, appearance and checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from fcp.config import Fusion
from fcp.inference.appearance.fitting import Learnt, choose_learnt, learn
from fcp.inference.encoding import closer_cuts, cut_example, square
from fcp.inference.example_quality import (
    ExampleQuality,
    Found,
    even_groups,
    judge_examples,
    leave_one_out,
)
from fcp.inference.examples import Given
from fcp.inference.networks.base import AnyNetwork
from fcp.inference.presence import Presence


@dataclass(frozen=True)
class EncodedClass:
    """Encoded examples of one class.

    Attributes:
        support: Support made of the examples.
        learnt: Examples that the appearance is learnt from.
        quality: Result of finding each example by the others; empty where the check was not
            requested, or for a single example.
    """

    support: Any
    learnt: Sequence[Learnt]
    quality: Sequence[ExampleQuality]


@torch.inference_mode()
def encode_class(
    network: AnyNetwork,
    given: Given,
    tile: int | None,
    fusion: Fusion,
    *,
    learns: bool,
    checks: bool,
    presence: Presence | None,
) -> EncodedClass:
    """Encode the examples of a class.

    Args:
        network: Network that encodes them.
        given: Examples of the class, at least one.
        tile: Side in px of the tiles cut from the examples; None for whole pictures.
        fusion: Rule by which the examples become one answer.
        learns: Whether an appearance will be learnt from the examples.
        checks: Whether each example is to be found by means of the others.
        presence: Presence classifier for that check, or None.
    """
    examples = [cut_example(example, tile) for example in given.pairs]
    chosen = choose_learnt(examples, given.exact) if learns else []
    as_query = set(range(len(examples)) if checks and len(examples) > 1 else chosen)
    shown: list[Any] = []
    found: list[Found] = []
    learnt: dict[int, Learnt] = {}
    for group in even_groups(len(examples)):  # few query features are held at a time
        seen = {
            place: network.see(*square(network, examples[place]))
            for place in group
            if place in as_query
        }
        if checks:
            found += leave_one_out(network, list(seen.values()), presence, fusion)
        learnt |= {p: learn(network, examples[p], seen[p]) for p in set(group) & set(chosen)}
        shown += [
            seen[place].shown if place in seen else network.show(*square(network, examples[place]))
            for place in group
        ]
    closer = closer_cuts(network, given.pairs, tile, fusion)
    shown += [network.show(*square(network, cut)) for cut in closer]
    return EncodedClass(
        support=network.join(shown, fusion),
        learnt=[learnt[place] for place in chosen],
        quality=judge_examples(found) if found else [],
    )
