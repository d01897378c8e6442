"""A warning where the forward pass in bf16 is slower than in 32 bits, as on many older CPUs."""

from __future__ import annotations

import time
from statistics import median

import torch

from fcp.engine.tracking import Report

WORTH_SAYING = 1.5  # times as slow


def bf16_slowdown(device: torch.device) -> float:
    """Measure how many times as long a convolution takes in bf16 as in 32 bits.

    Args:
        device: Device to measure.

    Returns:
        The ratio of the medians of five; 1 for a device that is no CPU, which is not measured.
    """
    if device.type != "cpu":
        return 1.0
    _seconds(bf16=False), _seconds(bf16=True)  # the first of each chooses its kernel
    pairs = [(_seconds(bf16=True), _seconds(bf16=False)) for _ in range(5)]
    half, full = (median(seconds) for seconds in zip(*pairs, strict=True))
    return half / full


@torch.inference_mode()
def _seconds(*, bf16: bool) -> float:
    """Time a convolution."""
    layer, values = torch.nn.Conv2d(64, 64, 3, padding=1), torch.zeros(1, 64, 24, 24)
    started = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        layer(values)
    return time.perf_counter() - started


def warn_of_slow_bf16(precision: str, device: torch.device, report: Report) -> None:
    """Say so where a training's precision makes it slower on this device."""
    slowdown = bf16_slowdown(device) if precision == "bf16" else 1.0
    if slowdown > WORTH_SAYING:
        report(
            f"bf16 takes {slowdown:.0f} times as long as 32 bits on this processor; "
            "optim.precision=no trains in 32 bits"
        )
