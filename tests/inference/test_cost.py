"""Measuring a model: in a process of its own, with numbers that can be true."""

from __future__ import annotations

import os

import numpy as np
import pytest

from fcp.errors import FcpError
from fcp.inference import cost
from fcp.inference.cost import measure_cost, measure_here, picture_of_disc


def test_the_picture_shows_its_mask():
    photo, mask = picture_of_disc()
    assert photo.shape == (375, 500, 3)
    inside, outside = (photo[part].mean(0) for part in (mask, ~mask))
    assert np.abs(inside - outside).max() > 50


def test_cost_of_a_model(model_folder):
    found = measure_here(str(model_folder), "cpu")
    assert found.device == "cpu"
    assert 0 < found.seconds_photo < 60
    assert 0 < found.seconds_example < 60
    assert found.peak_gib is None or 0.05 < found.peak_gib < 50


def refuse(model, device):
    raise FcpError(f"{model}: not on {device}")


def test_an_error_of_the_other_process_is_the_same_line(monkeypatch):
    monkeypatch.setattr(cost, "measure_here", refuse)
    with pytest.raises(FcpError, match="tiny: not on cpu"):
        measure_cost("tiny", device="cpu")


def end_as_without_memory(model, device):
    os._exit(137)


def test_a_process_that_is_ended_from_outside_is_one_line(monkeypatch):
    monkeypatch.setattr(cost, "measure_here", end_as_without_memory)
    with pytest.raises(FcpError, match="tiny: the measurement was ended from outside, mostly for"):
        measure_cost("tiny", device="cpu")
