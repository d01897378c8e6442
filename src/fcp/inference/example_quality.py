"""Quality of the examples: each one is segmented by means of the others.

An example whose mask marks the wrong object, or whose picture shows another object than the others,
is segmented badly by them, and is of little use for segmenting them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from math import ceil
from statistics import median
from typing import Any

import torch
from torch import Tensor

from fcp.config import Fusion
from fcp.data.mask_values import looks_inverted
from fcp.inference.networks.base import Answer, AnyNetwork, Seen
from fcp.inference.presence import Presence, look_at
from fcp.method.fusion import DEFAULT_FUSION

LOW_IOU = 0.25
LOW_SHARE = 0.5
USUAL_IOU = 0.4
UNLIKELY = 0.1
CERTAIN = 20.0
MOST_TOGETHER = 9  # examples in a group, since memory and time grow with the square of the number


@dataclass(frozen=True)
class Found:
    """Result of segmenting an example by the others of its class.

    Attributes:
        iou: IoU of its mask and the mask that the others predict in its picture, 0 … 1.
        presence: Probability that its own mask shows the same kind of object as the others, 0 … 1;
            None for a model without a presence classifier.
        inverse_iou: IoU of its mask's background and the mask that the others predict, 0 … 1, where
            its mask looks inverted (``looks_inverted``); None elsewhere.
    """

    iou: float
    presence: float | None
    inverse_iou: float | None = None


@dataclass(frozen=True, kw_only=True)
class ExampleQuality(Found):
    """Result of segmenting an example by the others, with its verdict.

    Attributes:
        is_odd: Whether a person should check the example, see ``judge_examples``.
        is_inverted: Whether its mask is likely to mark the background and not the object; it is odd
            then.
    """

    is_odd: bool
    is_inverted: bool


def judge_examples(found: Sequence[Found]) -> list[ExampleQuality]:
    """Judge which examples of a class (at least two) are odd.

    An example is odd if one of these holds:

    - It is segmented badly where the others are segmented well: its IoU is under 0.25 and under
      half of the median of the class, which is 0.4 or more. Where all examples are hard, none is
      odd by this rule.
    - Its marked object is hardly of the same kind: its presence is under 0.1.
    - Its mask looks inverted, as at most half of the class's masks do, and the others predict its
      background better than its foreground. The IoU alone would not show this, since an inverted
      example makes the others be segmented badly too.

    The thresholds are chosen on fold 3 (docs/presence.md).
    """
    usual = median(one.iou for one in found)
    low = min(LOW_IOU, LOW_SHARE * usual) if usual >= USUAL_IOU else 0.0
    judged = []
    for one, inverted in zip(found, _are_inverted(found), strict=True):
        unlike = one.presence is not None and one.presence < UNLIKELY
        odd = inverted or unlike or one.iou < low
        judged.append(ExampleQuality(**asdict(one), is_odd=odd, is_inverted=inverted))
    return judged


def _are_inverted(found: Sequence[Found]) -> list[bool]:
    """Return for each example of a class whether its mask is likely to be inverted."""
    few = 2 * sum(one.inverse_iou is not None for one in found) <= len(found)
    return [few and one.inverse_iou is not None and one.inverse_iou > one.iou for one in found]


def even_groups(count: int) -> list[range]:
    """Split K examples into groups of at most nine, as even as possible."""
    groups = max(1, ceil(count / MOST_TOGETHER))
    ends = [round(count * number / groups) for number in range(groups + 1)]
    return [range(start, end) for start, end in pairwise(ends)]


@torch.inference_mode()
def leave_one_out(
    network: AnyNetwork,
    seen: Sequence[Seen[Any, Any]],
    judge: Presence | None = None,
    fusion: Fusion = DEFAULT_FUSION,
) -> list[Found]:
    """Segment each example by the others of its group.

    Examples whose masks are likely to be inverted are not used to segment the others, as long as
    two others are left.

    Args:
        network: Network that encoded them.
        seen: Examples of a group of ``even_groups``; a single one cannot be judged.
        judge: Presence classifier, if the model has one.
        fusion: Rule by which the other examples become one answer.

    Returns:
        A result for each example; an empty list for a single example.
    """
    if len(seen) < 2:
        return []
    found = list(_find_each(network, seen, judge, fusion))
    inverted = _are_inverted(found)
    rest = [one for one, wrong in zip(seen, inverted, strict=True) if not wrong]
    if not 2 <= len(rest) < len(seen):
        return found
    anew = _find_each(network, rest, judge, fusion)
    return [one if wrong else next(anew) for one, wrong in zip(found, inverted, strict=True)]


def _find_each(
    network: AnyNetwork,
    seen: Sequence[Seen[Any, Any]],
    judge: Presence | None,
    fusion: Fusion,
) -> Iterator[Found]:
    for index, one in enumerate(seen):
        shown = [other.shown for other in (*seen[:index], *seen[index + 1 :])]
        others = network.join(shown, fusion)
        answer = network.match(others, one.query)
        found = answer.logits[0] > 0
        marked = one.mask > 0
        # The given mask as certain log-odds, so that it is measured like a predicted one.
        certain = torch.where(marked, CERTAIN, -CERTAIN)[None]
        suspect = looks_inverted(marked.cpu().numpy())
        yield Found(
            _iou(found, marked),
            _judged(network, judge, others, one, replace(answer, logits=certain)),
            _iou(found, ~marked) if suspect else None,
        )


def _judged(
    network: AnyNetwork,
    judge: Presence | None,
    others: Any,  # noqa: ANN401  (any network's support)
    one: Seen[Any, Any],
    answer: Answer,
) -> float | None:
    if judge is None:
        return None
    look = look_at(network.cells(one.query), answer)[0]
    return judge.judge(network.known(others), look)


def _iou(one: Tensor, other: Tensor) -> float:
    """Return the IoU of two masks (S, S) bool; 0 of two empty ones."""
    return float((one & other).sum() / (one | other).sum().clamp(min=1))
