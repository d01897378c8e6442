"""Competition of classes against a plain loop, and what a prediction says of one class alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fcp.data.transforms import map_to_size
from fcp.errors import FcpError
from fcp.inference import prediction
from fcp.inference.prediction import Least, Maps, predict_classes


def compete(classes, size, against=None):
    return predict_classes(classes, size, against=against)


def judged(classes, presence):
    """The same classes, each with a presence."""
    pairs = zip(classes.items(), presence, strict=True)
    return {name: replace(one, presence=likely) for (name, one), likely in pairs}


def maps(seed=0, side=6, logits=None):
    generator = torch.Generator().manual_seed(seed)
    made = torch.randn(side, side, generator=generator) if logits is None else logits
    return Maps(made, *torch.rand(2, 3, 3, generator=generator))


@given(
    seeds=st.lists(st.integers(0, 99), min_size=1, max_size=4),
    against=st.none() | st.integers(100, 199),
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
)
def test_each_pixel_goes_to_the_highest_log_odds_above_zero(seeds, against, size):
    entrants = {f"class {i}": maps(seed) for i, seed in enumerate(seeds)}
    rival = None if against is None else maps(against)
    found = compete(entrants, size, rival)
    large = [map_to_size(one.logits, size) for one in entrants.values()]
    refused = [] if rival is None else [map_to_size(rival.logits, size)]
    for y, x in np.ndindex(size):
        best, label = 0.0, 0
        for number, one in enumerate(large, start=1):
            if one[y, x] > best:
                best, label = one[y, x], number
        taken = any(one[y, x] > best for one in refused)
        assert found.labels[y, x] == (0 if taken else label)
    masks = [one.mask for one in found.classes.values()]
    assert sum(mask.astype(int) for mask in masks).max() <= 1
    assert (found.mask == np.any(masks, axis=0)).all()


@given(
    presence=st.lists(st.sampled_from([0.0, 0.01, 0.3, 0.5, 0.8, 1.0]), min_size=3, max_size=3),
    threshold=st.sampled_from([0.0, 0.3, 0.6]),
)
def test_what_is_likelier_to_be_there_has_the_better_claim(presence, threshold):
    entrants = judged({f"class {i}": maps(i) for i in range(2)}, presence[:2])
    against = replace(maps(2), presence=presence[2])
    found = predict_classes(entrants, (7, 5), against=against, threshold=threshold)
    large = [map_to_size(maps(i).logits, (7, 5)) for i in range(3)]
    for y, x in np.ndindex(7, 5):
        best, label = -np.inf, 0
        for number in range(3):
            sure = min(max(presence[number], 1e-4), 1 - 1e-4)
            claim = float(large[number][y, x]) + 2 * np.log(sure / (1 - sure))
            barred = number < 2 and presence[number] < threshold
            if large[number][y, x] > 0 and not barred and claim > best + 1e-5:
                best, label = claim, 0 if number == 2 else number + 1
        assert found.labels[y, x] == label
    assert [one.presence for one in found.classes.values()] == presence[:2]


def test_more_than_255_classes_have_labels_of_16_bits():
    few = compete({str(i): maps(i) for i in range(255)}, (4, 4))
    many = compete({str(i): maps(i) for i in range(256)}, (4, 4))
    assert (few.labels.dtype, many.labels.dtype) == (np.uint8, np.uint16)


def test_a_prediction_of_one_class_speaks_for_it():
    found = compete({"cat": maps()}, (9, 5))
    (cat,) = found.classes.values()
    assert found.score == cat.score
    for name in ("mask", "logits", "pseudo_mask", "conventional_mask"):
        assert np.array_equal(getattr(found, name), getattr(cat, name))
        assert getattr(found, name).shape == (9, 5)


def test_a_prediction_of_two_asks_which_is_meant():
    found = compete({"cat": maps(0), "dog": maps(1)}, (9, 5))
    assert found.mask.shape == (9, 5)
    for name in ("score", "logits", "pseudo_mask", "conventional_mask"):
        with pytest.raises(FcpError, match=r"take \.classes\[name\], one of: cat, dog"):
            getattr(found, name)


def test_what_a_class_loses_to_another_lowers_its_score():
    sure = torch.full((4, 4), 5.0)
    alone = compete({"cat": maps(logits=sure)}, (4, 4))
    half = torch.cat([torch.full((2, 4), 9.0), torch.full((2, 4), -9.0)])
    both = compete({"cat": maps(logits=sure), "dog": maps(logits=half)}, (4, 4))
    assert both.classes["cat"].score == pytest.approx(alone.score / 2, abs=0.01)


def by_appearance(logit=1.0):
    return replace(maps(logits=torch.full((4, 4), logit)), by_appearance=True)


def test_what_appearance_decides_competes_as_if_its_presence_were_even():
    classes = {"cat": by_appearance(), "dog": maps(logits=torch.ones(4, 4))}
    for likely, winner in ((0.9, 2), (0.1, 1)):
        found = predict_classes(judged(classes, [0.3, likely]), (4, 4), threshold=0.05)
        assert (found.labels == winner).all()
        assert found.classes["cat"].presence == 0.3
        assert found.classes["cat"].confidence == found.classes["cat"].score
        assert found.classes["dog"].confidence == likely


def test_what_appearance_decides_is_never_judged_absent():
    classes = {"cat": by_appearance(), "dog": maps(logits=torch.ones(4, 4))}
    classes = judged(classes, [0.01, 0.1])
    assert (predict_classes(classes, (4, 4), threshold=1).labels == 1).all()
    kept = {name: one.without_absent(1).logits.max() for name, one in classes.items()}
    assert kept["cat"] > 0 > kept["dog"]


def test_score_is_the_iou_that_the_probabilities_expect():
    odds = torch.tensor([[9.0, 3.0], [1 / 3, 1e-6]])  # p: 0.9, 0.75, 0.25, 0
    found = compete({"cat": maps(logits=odds.log())}, (2, 2))
    assert found.mask.tolist() == [[True, True], [False, False]]
    assert found.score == pytest.approx(1.65 / 2.25, abs=1e-5)
    nothing = compete({"cat": maps(logits=torch.full((2, 2), -1.0))}, (2, 2))
    assert nothing.score == 0


def test_a_photo_done_in_many_bands_gives_what_one_gives(monkeypatch):
    entrants = {"cat": maps(0), "dog": maps(1)}
    whole = compete(entrants, (31, 17), maps(2))
    monkeypatch.setattr(prediction, "VALUES_AT_ONCE", 2 * 17 * 3)
    banded = compete(entrants, (31, 17), maps(2))
    assert np.array_equal(whole.labels, banded.labels)
    for name in entrants:
        assert whole.classes[name].score == pytest.approx(banded.classes[name].score)


def test_crumbs_are_no_find():
    log_odds = torch.full((20, 20), -9.0)
    log_odds[0, 0] = 9
    answer = {"cat": Maps(log_odds, torch.zeros(5, 5), torch.zeros(5, 5))}
    every = predict_classes(answer, (20, 20))
    assert (int(every.mask.sum()), every.here) == (1, True)
    for least in (Least(), Least(area=2, score=0), Least(area=0.01, score=0)):
        found = predict_classes(answer, (20, 20), least=least)
        assert (int(found.mask.sum()), found.here, found.score) == (0, False, 0)
    assert predict_classes(answer, (20, 20), least=Least(area=1)).here
    assert predict_classes(answer, (20, 20), least=Least(area=0.0025)).here
    log_odds[:] = -0.5
    log_odds[:4, :4] = 0.01  # large enough, and hardly likelier than the rest
    unsure = predict_classes(answer, (20, 20))
    assert 0 < unsure.score < 0.1
    assert not predict_classes(answer, (20, 20), least=Least()).here


@pytest.mark.parametrize("wrong", [{"area": -1}, {"area": float("nan")}, {"score": 1.1}])
def test_what_is_no_least_is_refused(wrong):
    with pytest.raises(FcpError, match="min-"):
        Least(**wrong)


def test_an_answer_that_is_not_finite_is_an_error():
    broken = torch.full((8, 8), float("nan"))
    with pytest.raises(FcpError, match="not finite"):
        predict_classes({"cat": Maps(broken, torch.zeros(2, 2), torch.zeros(2, 2))}, (8, 8))
