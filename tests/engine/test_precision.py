"""A precision that is slow on this device is said, no other; ``no`` needs no quotation marks."""

import pytest
import torch

from fcp.engine import precision
from fcp.engine.precision import bf16_slowdown, warn_of_slow_bf16

CPU = torch.device("cpu")


def test_slowdown_is_measured_on_a_cpu_alone():
    assert 0.1 < bf16_slowdown(CPU) < 10_000
    assert bf16_slowdown(torch.device("meta")) == 1


@pytest.mark.parametrize(
    ("asked", "slowdown", "said"), [("bf16", 20.4, True), ("bf16", 0.6, False), ("no", 20.4, False)]
)
def test_only_what_is_slow_is_said(monkeypatch, asked, slowdown, said):
    monkeypatch.setattr(precision, "bf16_slowdown", lambda device: slowdown)
    lines = []
    warn_of_slow_bf16(asked, CPU, lines.append)
    assert len(lines) == said
    assert all("20 times as long" in line and "optim.precision=no" in line for line in lines)
