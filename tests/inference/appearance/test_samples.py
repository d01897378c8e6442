"""Drawn pixels stand for the picture: their shares, what they show, and the IoU that they tell."""

import numpy as np
import pytest
import torch

from fcp.inference.appearance.features import Layer
from fcp.inference.appearance.samples import ANYWHERE, FOREGROUND, draw_samples


def mask(share=0.1, side=100):
    drawn = np.zeros((side, side), bool)
    drawn[:, : round(share * side)] = True
    return drawn


def drawn(share=0.1):
    marked = mask(share)
    layers = [Layer(torch.from_numpy(marked).float()[None], 1.0), Layer(torch.rand(3, 10, 10), 1.0)]
    return draw_samples(layers, marked, np.random.default_rng(0))


@pytest.mark.parametrize("share", [0.01, 0.3, 0.9])
def test_counts_and_weights(share):
    samples = drawn(share)
    inside = samples.truth > 0
    assert len(samples.truth) == ANYWHERE + FOREGROUND
    assert samples.shares.sum() == pytest.approx(ANYWHERE, rel=1e-4)
    assert samples.shares[inside].sum() == pytest.approx(ANYWHERE * share, rel=1e-4)
    lifted = ANYWHERE * (share * (1 - share)) ** 0.5
    assert samples.weights[inside].sum() == pytest.approx(lifted, rel=1e-4)
    assert samples.weights[~inside].sum() == pytest.approx(ANYWHERE * (1 - share), rel=1e-4)


def test_values_are_those_of_the_layers():
    samples = drawn()
    assert samples.values.shape[1] == 4
    assert torch.allclose(samples.values[:, 0], samples.truth, atol=1e-4)


def test_overlap_is_that_of_the_whole_picture():
    samples = drawn(0.2)
    found = samples.places[:, 0] < 0.3  # half as much again as the object
    assert samples.overlap(found.float() - 0.5) == pytest.approx(0.2 / 0.3, abs=0.03)
    assert samples.overlap(-torch.ones(len(found))) == 0
    assert samples.overlap(samples.truth - 0.5) == 1


def test_the_foreground_of_one_class_is_background_of_another():
    own = drawn(0.2)
    other = own.as_background()
    assert len(other.truth) == own.truth.sum()
    assert not other.truth.any()
    assert other.weights.sum() == pytest.approx(ANYWHERE * 0.2, rel=1e-4)


def test_halves_share_the_foreground():
    samples = drawn(0.4)
    half = samples.in_first_half()
    inside = samples.truth > 0
    assert samples.truth[half].sum() == pytest.approx(inside.sum().item() / 2, rel=0.1)
