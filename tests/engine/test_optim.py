"""Schedules: against torch's own, and their shapes."""

import math

import pytest
import torch

from fcp.engine.optim import GroupConfig, OptimConfig, rate_factor
from fcp.errors import FcpError


def test_poly_is_torchs_own_schedule():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    schedule = torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=30, power=0.9)
    for step in range(30):
        expected = optimizer.param_groups[0]["lr"]
        assert 0.5 * rate_factor("poly", step, 0, 30) == pytest.approx(expected, rel=1e-9)
        optimizer.step()
        schedule.step()


def test_the_cosine_rises_in_a_line_and_falls_to_nothing():
    rates = [rate_factor("cosine", step, 4, 20) for step in range(20)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert rates[12] == pytest.approx(0.5)
    assert rates[-1] < 0.02


def test_without_warmup_the_rate_starts_at_its_peak():
    rates = [rate_factor("cosine", step, 0, 20) for step in range(21)]
    assert rates == pytest.approx([(1 + math.cos(math.pi * step / 20)) / 2 for step in range(21)])


def test_thirds_divide_by_ten_twice():
    rates = [rate_factor("thirds", step, 0, 9) for step in range(9)]
    assert rates == pytest.approx([1] * 3 + [0.1] * 3 + [0.01] * 3)


def test_a_constant_rate_stays():
    assert {rate_factor("constant", step, 0, 9) for step in range(9)} == {1.0}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"name": "adam"}, "one of adamw, sgd"),
        ({"momentum": 1.0}, "less than 1"),
        ({"weight_decay": -1.0}, "weight_decay: expected at least 0, got -1.0"),
        ({"pretrained_scale": -0.1}, "pretrained_scale: expected at least 0"),
        ({"learning_rate": -1e-3}, "learning_rate: expected at least 0"),
        ({"learning_rate": math.inf}, "learning_rate: expected a finite number, got inf"),
    ],
)
def test_wrong_settings_are_named(wrong, message):
    with pytest.raises(FcpError, match=message):
        OptimConfig(**{"batch": 1, "learning_rate": 1.0, "iterations": 1, **wrong})


def test_a_group_refuses_an_unknown_schedule():
    with pytest.raises(FcpError, match="learning_rate: expected at least 0"):
        GroupConfig(["a."], -1e-3)
    with pytest.raises(FcpError, match="cosine, poly, thirds, constant"):
        GroupConfig(["a."], 1e-3, schedule="steps")
