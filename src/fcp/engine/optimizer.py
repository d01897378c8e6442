"""The optimiser that a recipe describes: groups of parameters, each with its rule and schedule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from fcp.engine.optim import OptimConfig
from fcp.errors import FcpError


def make_optimizer(
    model: nn.Module,
    fresh_and_pretrained: tuple[Sequence[nn.Parameter], Sequence[nn.Parameter]],
    optim: OptimConfig,
) -> torch.optim.Optimizer:
    """Build the optimiser of a stage.

    Each group holds its peak rate as ``peak`` and its schedule as ``schedule``; the loop sets the
    rate of each step.

    Args:
        model: Model that holds the parameters, for their names.
        fresh_and_pretrained: Trainable parameters, split by how they were initialised.
        optim: Settings of the optimiser.

    Raises:
        FcpError: no parameter is trainable, or a group of the settings names none.
    """
    groups = parameter_groups(model, fresh_and_pretrained, optim)
    if not groups:
        raise FcpError("the recipe trains no parameter; let it train a part of the model")
    rules = {group["rule"] for group in groups}
    if rules == {"adamw"}:
        return torch.optim.AdamW(groups)
    if rules == {"sgd"}:
        return torch.optim.SGD(groups, momentum=optim.momentum)
    return MixedOptimizer(groups, momentum=optim.momentum)


def parameter_groups(
    model: nn.Module,
    fresh_and_pretrained: tuple[Sequence[nn.Parameter], Sequence[nn.Parameter]],
    optim: OptimConfig,
) -> list[dict[str, Any]]:
    """Sort the trainable parameters by rule, rate, schedule and decay; see ``make_optimizer``."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    left = [list(part) for part in fresh_and_pretrained]
    named: list[dict[str, Any]] = []
    for number, own in enumerate(optim.groups):
        chosen, left = _split(left, names, tuple(own.parameters))
        if not chosen:
            raise FcpError(
                f"optim.groups[{number}].parameters: no trained parameter's name starts with "
                f"{' or '.join(own.parameters)}"
            )
        shared = {"rule": own.name, "schedule": own.schedule, "peak": own.learning_rate}
        named += _by_decay(chosen, shared, own.weight_decay)
    rest: list[dict[str, Any]] = []
    for parameters, scale in zip(left, (1.0, optim.pretrained_scale), strict=True):
        peak = optim.learning_rate * scale
        shared = {"rule": optim.name, "schedule": optim.schedule, "peak": peak}
        rest += _by_decay(parameters, shared, optim.weight_decay)
    return rest + named


def _split(
    parts: list[list[nn.Parameter]], names: dict[int, str], starts: tuple[str, ...]
) -> tuple[list[nn.Parameter], list[list[nn.Parameter]]]:
    """Return the parameters whose names start so, and the parts without them."""
    chosen = [p for part in parts for p in part if names[id(p)].startswith(starts)]
    others = [[p for p in part if not names[id(p)].startswith(starts)] for part in parts]
    return chosen, others


def _by_decay(
    parameters: Sequence[nn.Parameter], shared: dict[str, Any], weight_decay: float
) -> list[dict[str, Any]]:
    """Make two groups, since biases, norms and single vectors are not decayed."""
    groups = []
    for decay in (True, False):
        members = [p for p in parameters if (p.ndim > 1) == decay]
        groups.append({"params": members, **shared, "weight_decay": weight_decay if decay else 0.0})
    return [group for group in groups if group["params"]]


class MixedOptimizer(torch.optim.Optimizer):
    """AdamW for some groups and SGD with momentum for others, with one state.

    Args:
        groups: Groups of parameters, each with its ``rule``: "adamw" or "sgd".
        momentum: Momentum of SGD.
    """

    def __init__(self, groups: Sequence[dict[str, Any]], *, momentum: float) -> None:
        parts = {
            "adamw": torch.optim.AdamW([g for g in groups if g["rule"] == "adamw"]),
            "sgd": torch.optim.SGD([g for g in groups if g["rule"] == "sgd"], momentum=momentum),
        }
        super().__init__([g for part in parts.values() for g in part.param_groups], {})
        self._parts = parts

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # noqa: ANN401
        """Do one step of each rule on its groups; a closure is not taken."""
        del closure
        for rule, part in self._parts.items():
            part.param_groups = [g for g in self.param_groups if g["rule"] == rule]
            part.state = self.state
            part.step()
