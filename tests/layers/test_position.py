"""The position code, number by number."""

import math

import torch

from fcp.layers.position import sine_position


def test_equals_a_loop_on_a_grid_that_is_not_square():
    channels, h, w = 8, 3, 5
    code = sine_position(channels, (h, w))
    assert code.shape == (channels, h, w)
    half = channels // 2
    for c in range(channels):
        for y in range(h):
            for x in range(w):
                at, length = (y, h) if c < half else (x, w)
                angle = 2 * math.pi * (at + 1) / (length + 1e-6)
                angle /= 10000 ** (2 * ((c % half) // 2) / half)
                expected = math.sin(angle) if c % 2 == 0 else math.cos(angle)
                assert abs(code[c, y, x] - expected) < 1e-5


def test_cells_differ():
    code = sine_position(16, (4, 4)).flatten(1)
    assert torch.cdist(code.mT, code.mT).fill_diagonal_(1).min() > 0.1
