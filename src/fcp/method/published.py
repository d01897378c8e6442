"""Checkpoints of the compared methods' own programs: their names, turned into ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

State = Mapping[str, Tensor]

# Of PFENet, BAM and HDMNet; see table1.md §0.
BACKBONE_NAMES = {f"layer{stage}.": f"backbone.layer{stage}." for stage in range(5)}


def _no_options(state: State) -> dict[str, Any]:
    del state
    return {}


def _all_used(state: State) -> tuple[str, ...]:
    del state
    return ()


def _as_it_is(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return state


@dataclass(frozen=True)
class Published:
    """How to read the checkpoints of one program.

    Attributes:
        names: Beginnings of its names → ours.
        options_of: Finds the builder's options in a state dict with the program's names.
        unused_of: Finds beginnings of names that the program's forward pass never reads.
        adapt: Changes what has our names where a new name is not enough.
    """

    names: Mapping[str, str]
    options_of: Callable[[State], dict[str, Any]] = _no_options
    unused_of: Callable[[State], tuple[str, ...]] = _all_used
    adapt: Callable[[dict[str, Tensor]], dict[str, Tensor]] = _as_it_is


def renamed(state: State, published: Published) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Give a state dict our names.

    Returns:
        The tensors under our names (an unknown name stays), and the names of those that the
        program itself never reads.
    """
    starts = published.unused_of(state)
    unused = tuple(name for name in state if name.startswith(starts))
    kept = {own_name(n, published.names): t for n, t in state.items() if n not in unused}
    foreign = any(name not in state for name in kept)  # else it is ours, and adapted already
    return published.adapt(kept) if foreign else kept, unused


def own_name(name: str, names: Mapping[str, str]) -> str:
    """Replace the longest known beginning of a name."""
    known = max((start for start in names if name.startswith(start)), key=len, default="")
    return names.get(known, "") + name.removeprefix(known)


def backbone_of(state: State) -> str:
    """Tell the backbone by its names."""
    return "resnet50" if "layer1.0.conv1.weight" in state else "vgg16_bn"


def idle_shot_weights(state: State) -> tuple[str, ...]:
    """Return where the weighting of the shots stands if there is but one shot."""
    return ("kshot_rw.",) if shots_of(state) == 1 else ()


def shots_of(state: State) -> int:
    """Tell the number of shots by the weighting of the shots: 1 where there is none."""
    weighting = state.get("kshot_rw.0.weight")
    return 1 if weighting is None else weighting.shape[1]
