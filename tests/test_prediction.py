"""Competition of classes against a plain loop, and what a prediction says of one class alone."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fcp.data.transforms import logits_to_size
from fcp.errors import FcpError
from fcp.prediction import Maps, _expected_iou, predict_classes


def maps(seed=0, side=6, logits=None):
    generator = torch.Generator().manual_seed(seed)
    made = torch.randn(side, side, generator=generator) if logits is None else logits
    return Maps(made, *torch.rand(2, 3, 3, generator=generator))


@given(
    seeds=st.lists(st.integers(0, 99), min_size=1, max_size=4),
    against=st.lists(st.integers(100, 199), max_size=2),
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
)
def test_each_pixel_goes_to_the_highest_log_odds_above_zero(seeds, against, size):
    entrants = {f"class {i}": maps(seed) for i, seed in enumerate(seeds)}
    rivals = [maps(seed).logits for seed in against]
    found = predict_classes(entrants, size, rivals)
    large = [logits_to_size(one.logits, size) for one in entrants.values()]
    refused = [logits_to_size(one, size) for one in rivals]
    for y in range(size[0]):
        for x in range(size[1]):
            best, label = 0.0, 0
            for number, one in enumerate(large, start=1):
                if one[y, x] > best:
                    best, label = one[y, x], number
            if any(one[y, x] > best for one in refused):
                label = 0
            assert found.labels[y, x] == label
    masks = [one.mask for one in found.classes.values()]
    assert sum(mask.astype(int) for mask in masks).max() <= 1
    assert (found.mask == np.any(masks, axis=0)).all()


def test_more_than_255_classes_have_labels_of_16_bits():
    few = predict_classes({str(i): maps(i) for i in range(255)}, (4, 4))
    many = predict_classes({str(i): maps(i) for i in range(256)}, (4, 4))
    assert (few.labels.dtype, many.labels.dtype) == (np.uint8, np.uint16)


def test_a_prediction_of_one_class_speaks_for_it():
    found = predict_classes({"cat": maps()}, (9, 5))
    (cat,) = found.classes.values()
    assert found.score == cat.score
    for name in ("mask", "logits", "pseudo_mask", "conventional_mask"):
        assert np.array_equal(getattr(found, name), getattr(cat, name))
        assert getattr(found, name).shape == (9, 5)


def test_a_prediction_of_two_asks_which_is_meant():
    found = predict_classes({"cat": maps(0), "dog": maps(1)}, (9, 5))
    assert found.mask.shape == (9, 5)
    for name in ("score", "logits", "pseudo_mask", "conventional_mask"):
        with pytest.raises(FcpError, match=r"take \.classes\[name\], one of: cat, dog"):
            getattr(found, name)


def test_what_a_class_loses_to_another_lowers_its_score():
    sure = torch.full((4, 4), 5.0)
    alone = predict_classes({"cat": maps(logits=sure)}, (4, 4))
    half = torch.cat([torch.full((2, 4), 9.0), torch.full((2, 4), -9.0)])
    both = predict_classes({"cat": maps(logits=sure), "dog": maps(logits=half)}, (4, 4))
    assert both.classes["cat"].score == pytest.approx(alone.score / 2, abs=0.01)


def test_score_is_the_iou_that_the_probabilities_expect():
    mask = torch.tensor([[True, True], [False, False]])
    probability = torch.tensor([[1.0, 0.5], [0.25, 0.0]])
    assert _expected_iou(mask, probability) == pytest.approx(1.5 / 2.25)
    assert _expected_iou(torch.zeros(2, 2, dtype=torch.bool), probability) == 0
