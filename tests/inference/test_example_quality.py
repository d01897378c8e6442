"""Leave-one-out: the same as asking the segmenter by hand; who is odd, and who is only hard."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fcp.data.images import read_image, read_labels
from fcp.data.transforms import to_square
from fcp.errors import FcpError
from fcp.inference.example_quality import MOST_TOGETHER, Found, even_groups, judge_examples
from fcp.inference.networks.base import Answer
from fcp.inference.presence import Presence, look_at
from fcp.inference.segmenter import FewShotSegmenter


@pytest.fixture(scope="module")
def segmenter(model_folder):
    return FewShotSegmenter.from_pretrained(model_folder, device="cpu")


@pytest.fixture(scope="module")
def small():
    return FewShotSegmenter.from_pretrained("small", device="cpu")


@pytest.fixture(scope="module")
def tiny():
    return FewShotSegmenter.from_pretrained("tiny", device="cpu")


def example(seed, size=64):
    rng = np.random.default_rng(seed)
    mask = np.zeros((size, size), dtype=bool)
    top, left = rng.integers(0, size // 2, 2)
    mask[top : top + size // 2, left : left + size // 2] = True
    return rng.integers(0, 256, (size, size, 3), dtype=np.uint8), mask


def iou_by_hand(segmenter, examples, index):
    image, mask = examples[index]
    others = [one for number, one in enumerate(examples) if number != index]
    found = segmenter.fit(others, appearance="off").predict(image).mask
    return (found & mask).sum() / (found | mask).sum()


def test_each_example_is_asked_for_by_the_others(segmenter):
    examples = [example(seed) for seed in range(4)]
    quality = segmenter.check_examples(examples)["thing"]
    for index, one in enumerate(quality):
        assert one.iou == pytest.approx(iou_by_hand(segmenter, examples, index), abs=0.01)


def test_the_fitted_examples_stay(segmenter):
    segmenter.fit([example(0)])
    kept = segmenter.support
    segmenter.check_examples([example(1), example(2)])
    assert segmenter.support is kept


@given(count=st.integers(0, 200))
def test_groups_are_even_and_never_of_one_example(count):
    groups = even_groups(count)
    assert [place for group in groups for place in group] == list(range(count))
    sizes = [len(group) for group in groups]
    assert all(size <= MOST_TOGETHER for size in sizes)
    assert max(sizes, default=0) - min(sizes, default=0) <= 1
    assert count < 2 or min(sizes) >= 2


def test_small_things_are_judged_in_their_tiles(segmenter, monkeypatch):
    seen = []

    def watched(network, examples, judge, fusion):
        seen.append(torch.stack([one.mask.mean() for one in examples]))
        return [Found(0.5, None)] * len(examples)

    monkeypatch.setattr("fcp.inference.class_encoding.leave_one_out", watched)
    examples = []
    for seed in range(2):
        image, mask = example(seed, size=400)
        small = np.zeros_like(mask)
        small[100:110, 100:110] = True
        examples.append((image, small))
    segmenter.check_examples(examples, tile=40)
    segmenter.check_examples(examples, tile="auto")
    assert len(seen) == 2
    assert all((share > 0.02).all() for share in seen)  # 10 px of 40 or of 64, not of 400


def test_what_is_checked_comes_with_the_support(segmenter):
    examples = [example(seed) for seed in range(3)]
    support = segmenter.encode(examples, checks=True)
    assert support.quality == segmenter.check_examples(examples)
    assert segmenter.encode(examples).quality == {}


def test_a_class_with_one_example_says_nothing(segmenter):
    asked = {"one": [example(0)], "two": [example(1), example(2)]}
    assert list(segmenter.check_examples(asked)) == ["two"]


@pytest.mark.parametrize(
    ("ious", "odd"),
    [
        ([0.8, 0.7, 0.1], [2]),
        ([0.8, 0.7, 0.3], []),
        ([0.2, 0.2, 0.01], []),  # all are hard to find
        ([0.1, 0.1], []),
        ([0.9, 0.05], [1]),
        ([0.9, 0.8, 0.0, 0.02, 0.85], [2, 3]),
    ],
)
def test_examples_that_the_others_do_not_find_are_odd(ious, odd):
    judged = judge_examples([Found(iou, None) for iou in ious])
    assert [one.iou for one in judged] == ious
    assert [index for index, one in enumerate(judged) if one.is_odd] == odd


def test_what_is_hardly_the_same_kind_of_thing_is_odd():
    judged = judge_examples([Found(0.8, 0.9), Found(0.7, 0.01), Found(0.1, 0.9)])
    assert [one.is_odd for one in judged] == [False, True, True]


def test_the_mask_itself_is_what_is_judged(segmenter, monkeypatch):
    levels = (*segmenter.model.head.levels, segmenter.model.backbone.high_channels)
    weights = torch.zeros(8 * len(levels) + 1)
    weights[0] = 1.0  # inside with the foreground, first level
    judge = Presence(levels, torch.zeros(2, sum(levels)), weights, 0.0, 0.5, {})
    examples = [example(seed) for seed in range(3)]
    monkeypatch.setattr(segmenter, "presence", judge)
    quality = segmenter.check_examples(examples)["thing"]
    for index, one in enumerate(quality):
        others = [shown for number, shown in enumerate(examples) if number != index]
        support = segmenter.fit(others).support.classes["thing"]
        query = segmenter.network.query(to_square(examples[index][0], 64)[None])
        mask = torch.tensor(examples[index][1])
        certain = torch.where(mask, 99.0, -99.0)[None]
        look = look_at(segmenter.network.cells(query), Answer(certain, certain, certain))[0]
        known = segmenter.network.known(support)
        assert one.presence == pytest.approx(judge.judge(known, look), abs=1e-4)


def test_an_unreadable_example_is_named(segmenter, tmp_path):
    with pytest.raises(FcpError, match=r"nowhere\.png"):
        segmenter.check_examples([(tmp_path / "nowhere.png", example(0)[1]), example(1)])


def test_what_a_mask_leaves_out_is_compared_where_it_looks_inverted(segmenter):
    examples = [example(seed) for seed in range(4)]
    plain = segmenter.check_examples(examples)["thing"]
    assert [one.inverse_iou for one in plain] == [None] * 4
    image, mask = examples[1]
    examples[1] = image, ~mask
    quality = segmenter.check_examples(examples)["thing"]
    assert [one.inverse_iou is None for one in quality] == [True, False, True, True]
    assert quality[1].inverse_iou == pytest.approx(plain[1].iou, abs=1e-6)


@pytest.mark.parametrize(
    ("found", "inverted"),
    [
        ([(0.3, None), (0.02, 0.2), (0.1, None), (0.2, None)], [1]),
        ([(0.5, None), (0.3, 0.2), (0.5, None)], []),  # it is large indeed
        ([(0.3, 0.4), (0.3, 0.4), (0.3, 0.4), (0.3, None)], []),  # so are most of them
        ([(0.0, None), (0.0, 0.9)], [1]),
        ([(0.0, 0.9), (0.0, 0.9)], []),  # nobody can tell
    ],
)
def test_a_mask_whose_inverse_the_others_find_is_inverted(found, inverted):
    judged = judge_examples([Found(iou, None, inverse) for iou, inverse in found])
    assert [index for index, one in enumerate(judged) if one.is_inverted] == inverted
    assert [index for index, one in enumerate(judged) if one.is_odd] == inverted


# Four pictures of VOC's cats that are found well from each other.
CAT, CATS = 8, ("2008_001433", "2007_002470", "2009_004721", "2008_001078")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_of_four_photos_the_inverted_mask_alone_is_named(data_root, small):
    folder = data_root / "VOC2012"
    examples = [
        (
            read_image(folder / "JPEGImages" / f"{name}.jpg"),
            read_labels(folder / "SegmentationClassAug" / f"{name}.png") == CAT,
        )
        for name in CATS
    ]
    assert [one.is_odd for one in small.check_examples(examples)["thing"]] == [False] * 4
    image, mask = examples[2]
    examples[2] = image, ~mask
    judged = small.check_examples(examples)["thing"]
    assert [one.is_odd for one in judged] == [False, False, True, False]
    assert judged[2].is_inverted


def test_of_four_drawn_pictures_the_inverted_mask_alone_is_named(tiny):
    examples = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        field = Image.fromarray(rng.integers(90, 160, (6, 6), dtype=np.uint8))
        image = np.stack([np.asarray(field.resize((160, 160)))] * 3, axis=-1).copy()
        y, x = rng.integers(50, 110, 2)
        rows, columns = np.ogrid[:160, :160]
        mask = (rows - y) ** 2 + (columns - x) ** 2 < 30**2
        image[mask] = (200, 40, 30)
        examples.append((image, mask))
    assert not any(one.is_odd for one in tiny.check_examples(examples)["thing"])
    image, mask = examples[3]
    examples[3] = image, ~mask
    judged = tiny.check_examples(examples)["thing"]
    assert [one.is_inverted for one in judged] == [False, False, False, True]
    assert [one.is_odd for one in judged] == [False, False, False, True]
