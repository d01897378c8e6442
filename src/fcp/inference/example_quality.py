"""How good are the examples? Each one is looked for by means of the others.

A mask that marks the wrong thing, or a picture that shows another thing than the others do, is
found badly from them, and is of little use for finding them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from math import ceil
from statistics import median

import torch
from torch import Tensor

from fcp.config import Fusion
from fcp.data.mask_values import looks_inverted
from fcp.inference.encoding import Seen, join
from fcp.inference.presence import Presence, look_at
from fcp.method.fcp.model import FCP
from fcp.method.fusion import DEFAULT_FUSION

LOW_IOU = 0.25
LOW_SHARE = 0.5
USUAL_IOU = 0.4
UNLIKELY = 0.1
CERTAIN = 20.0
MOST_TOGETHER = 9  # examples at a time, so that neither memory nor time grows with their square


@dataclass(frozen=True)
class Found:
    """How the others of its class see an example.

    Attributes:
        iou: 0 … 1, of its mask with the one that they find in its picture.
        presence: 0 … 1, how likely what its own mask shows is the same kind of thing; None of a
            model that cannot judge that.
        inverse_iou: 0 … 1, of what its mask leaves out with the one that they find, where its mask
            looks inverted (``looks_inverted``); None elsewhere.
    """

    iou: float
    presence: float | None
    inverse_iou: float | None = None


@dataclass(frozen=True, kw_only=True)
class ExampleQuality(Found):
    """The same, and what is to be thought of it.

    Attributes:
        is_odd: whether it is worth a second look, see ``judge_examples``.
        is_inverted: whether its mask is likely to mark all but the thing; it is odd then.
    """

    is_odd: bool
    is_inverted: bool


def judge_examples(found: Sequence[Found]) -> list[ExampleQuality]:
    """Say which of the examples of a class (at least two) are odd.

    An example is odd if it is badly found where the others are found well: its IoU is under 0.25
    and under half of the median of the class, which is 0.4 or more. Among examples that are all
    hard to find, none stands out. It is odd, too, if what it marks is hardly the same kind of
    thing (a presence under 0.1). The figures are chosen on fold 3 (docs/presence.md).

    And it is odd if its mask looks inverted, as at most half of the class's do, and the others find
    what it leaves out better than what it marks. Its IoU alone does not tell: shown to the others,
    it makes them be found badly too.
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
    """Say of each example of a class whether its mask is likely to be inverted."""
    few = 2 * sum(one.inverse_iou is not None for one in found) <= len(found)
    return [few and one.inverse_iou is not None and one.inverse_iou > one.iou for one in found]


def even_groups(count: int) -> list[range]:
    """Split K examples into groups of at most nine, as even as can be."""
    groups = max(1, ceil(count / MOST_TOGETHER))
    ends = [round(count * number / groups) for number in range(groups + 1)]
    return [range(start, end) for start, end in pairwise(ends)]


@torch.inference_mode()
def leave_one_out(
    model: FCP,
    seen: Sequence[Seen],
    judge: Presence | None = None,
    fusion: Fusion = DEFAULT_FUSION,
) -> list[Found]:
    """Find each example by the others of its group.

    Those whose masks are likely to be inverted are shown to none of the others, where two are left.

    Args:
        model: Model in evaluation mode.
        seen: Examples of a group of ``even_groups``; of one alone nothing can be said.
        judge: Judge of presence, if the model has one.
        fusion: Rule by which the other examples become one answer.

    Returns:
        An answer for each, none for a single example.
    """
    if len(seen) < 2:
        return []
    found = list(_find_each(model, seen, judge, fusion))
    inverted = _are_inverted(found)
    rest = [one for one, wrong in zip(seen, inverted, strict=True) if not wrong]
    if not 2 <= len(rest) < len(seen):
        return found
    anew = _find_each(model, rest, judge, fusion)
    return [one if wrong else next(anew) for one, wrong in zip(found, inverted, strict=True)]


def _find_each(
    model: FCP, seen: Sequence[Seen], judge: Presence | None, fusion: Fusion
) -> Iterator[Found]:
    for index, one in enumerate(seen):
        shown = [other.shown for other in (*seen[:index], *seen[index + 1 :])]
        others = join(model, shown, fusion)
        output = model.match(others, one.query)
        found = output.mask_logits[0] > 0
        marked = one.shown.mask > 0
        # A mask as log-odds of certainty, so that it is looked at as if it had been found.
        certain = torch.where(marked, CERTAIN, -CERTAIN)[None]
        look = look_at(one.query, certain, output.correlation)[0]
        suspect = looks_inverted(marked.cpu().numpy())
        yield Found(
            _iou(found, marked),
            judge.judge(others, look) if judge else None,
            _iou(found, ~marked) if suspect else None,
        )


def _iou(one: Tensor, other: Tensor) -> float:
    """Return the IoU of two masks (S, S) bool; 0 of two empty ones."""
    return float((one & other).sum() / (one | other).sum().clamp(min=1))
