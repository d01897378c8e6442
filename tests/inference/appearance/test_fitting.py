"""Appearance in the whole: a network that knows nothing, and coloured spots that it must find."""

import numpy as np
import pytest

from fcp.data.prompts import Box, Points, Scribble
from fcp.errors import FcpError
from fcp.inference.appearance.fitting import (
    MOST_EXAMPLES,
    MOST_PIXELS,
    Appearance,
    changed_copy,
    choose_learnt,
    kept_size,
)
from fcp.inference.appearance.gate import Decision
from fcp.inference.segmenter import FewShotSegmenter


def spots(seed, colour=(200, 60, 60), size=(60, 80)):
    """Draw squares of a colour on noise: the picture, and where they are."""
    rng = np.random.default_rng(seed)
    picture = rng.integers(80, 140, (*size, 3), dtype=np.uint8)
    mask = np.zeros(size, bool)
    for top, left in rng.integers(0, (size[0] - 12, size[1] - 12), (5, 2)):
        mask[top : top + 12, left : left + 12] = True
    picture[mask] = np.array(colour) + rng.integers(-20, 20, (int(mask.sum()), 3))
    return picture, mask


def iou(found, truth):
    return (found & truth).sum() / (found | truth).sum()


@pytest.fixture(scope="module")
def segmenter(model_folder):
    return FewShotSegmenter.from_pretrained(model_folder, device="cpu")


@pytest.mark.parametrize("shots", [1, 3])
def test_it_decides_where_the_network_knows_nothing(segmenter, shots):
    segmenter.fit([spots(seed) for seed in range(shots)])
    decision = segmenter.fitted.decisions["thing"]
    assert decision.by_appearance
    assert decision.iou > 0.8 > decision.network_iou
    picture, mask = spots(9)
    found = segmenter.predict(picture, threshold=0)
    assert found.classes["thing"].maps.by_appearance
    assert iou(found.mask, mask) > 0.8


def test_off_leaves_the_network_alone(segmenter):
    picture, _ = spots(9)
    segmenter.fit([spots(0)], appearance="off")
    assert segmenter.fitted.decisions == {}
    off = segmenter.predict(picture).logits
    on = segmenter.fit([spots(0)]).predict(picture).logits
    assert not np.allclose(off, on)


@pytest.mark.parametrize(
    "annotation",
    [
        Box(10, 10, 30, 30),
        Points([(12, 12)]),
        Scribble([(10, 10), (30, 30)]),
        np.ones((60, 80), bool),
    ],
)
def test_what_is_no_mask_leaves_the_network_alone(segmenter, annotation):
    segmenter.fit([(spots(0)[0], annotation)])
    assert segmenter.fitted.appearances == [None]
    assert segmenter.predict(spots(1)[0]).mask.shape == (60, 80)


def test_classes_are_told_apart_by_their_looks(segmenter):
    red, green = (200, 60, 60), (60, 200, 60)
    segmenter.fit(
        {"red": [spots(0, red)], "green": [spots(1, green)]}, negatives=[spots(2, (60, 60, 200))]
    )
    assert list(segmenter.fitted.decisions) == ["red", "green"]
    for name, colour in (("red", red), ("green", green)):
        picture, mask = spots(5, colour)
        assert iou(segmenter.predict(picture, threshold=0).classes[name].mask, mask) > 0.7


def test_tiles_are_looked_at_too(segmenter):
    segmenter.fit([spots(0)], tile=40)
    picture, mask = spots(4)
    found = segmenter.predict(picture, threshold=0).mask
    assert found.shape == mask.shape
    assert iou(found, mask) > 0.6


def test_another_word_is_refused(segmenter):
    with pytest.raises(FcpError, match="appearance: expected auto or off, got 'on'"):
        segmenter.fit([spots(0)], appearance="on")


def test_copies_keep_some_of_the_object():
    for seed in range(20):
        picture, mask = spots(seed)
        changed, marked = changed_copy(picture, mask)
        assert marked.any()
        assert changed.shape[:2] == marked.shape
        assert changed.shape[0] < 60


def test_many_examples_are_learnt_from_evenly():
    examples = [spots(0)] * 30
    assert len(set(choose_learnt(examples, [True] * 30))) == MOST_EXAMPLES
    assert choose_learnt(examples[:4], [True, False, True, True]) == [0, 2, 3]
    everything = spots(0)[0], np.ones((60, 80), bool)
    assert choose_learnt([everything, spots(0)], [True, True]) == [1]


def test_answers_keep_the_photos_size_up_to_a_limit():
    assert kept_size((480, 640)) == (480, 640)
    height, width = kept_size((6000, 8000))
    assert height * width <= MOST_PIXELS * 1.01
    assert height / width == pytest.approx(0.75, abs=0.01)


def test_without_a_say_the_network_s_answer_stays():
    logits = object()
    assert Appearance(None, Decision(0.0, 0.5, 0.5)).mix(logits, [], (10, 10)) is logits


@pytest.mark.parametrize("size", [(60, 1), (1, 60)])
def test_an_example_of_one_pixel_s_width_is_learnt(segmenter, size):
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    mask = np.zeros(size, bool)
    mask.flat[10:30] = True
    found = segmenter.fit([(picture, mask)]).predict(picture)
    assert found.mask.shape == size
