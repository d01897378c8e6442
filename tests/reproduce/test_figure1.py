"""Attention mass against known attention, IoU against a count by hand, plots and refusals."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from fcp.data.dataset import ClassExample, Picture
from fcp.errors import FcpError
from fcp.evaluation.predictor import FCPPredictor
from fcp.method.fcp.model import FCP
from fcp.reproduce.asking import run_episodes
from fcp.reproduce.figure1 import (
    EpisodeLook,
    attention_mass,
    look,
    mass_difference,
    mean_mass,
    plot_iou,
    plot_mass,
)

FOREGROUND = torch.tensor([True, True, False, False, False, False])
BACKGROUND = torch.tensor([False, False, True, True, True, False])  # the last cell is ignored


def some_looks(shift=0.0, count=30):
    generator = np.random.default_rng(3)
    values = generator.uniform(0.1, 0.6, (count, 5))
    return [
        EpisodeLook(f"q{i % 9}", "s", "cat", f, m + shift, before, c, a)
        for i, (f, m, before, c, a) in enumerate(values.tolist())
    ]


@pytest.fixture(scope="module")
def pixel_predictor(predictor):
    config = predictor.model.config
    torch.manual_seed(1)
    head = replace(
        config.head,
        features="F",
        matching="pixel",
        pseudo_mask="conventional",
        mask_prompt=False,
        contrast_levels=[],
    )
    model = FCP(replace(config, head=head), predictor.model.backbone, predictor.model.segmenter)
    return FCPPredictor(model)


def test_even_attention_has_the_share_of_the_foreground():
    assert attention_mass(torch.full((2, 3, 6), 1 / 6), FOREGROUND, BACKGROUND) == pytest.approx(
        2 / 5
    )


def test_all_on_the_foreground_is_one_and_all_on_the_background_none():
    inside = FOREGROUND.float() / 2
    outside = BACKGROUND.float() / 3
    assert attention_mass(inside, FOREGROUND, BACKGROUND) == 1
    assert attention_mass(outside, FOREGROUND, BACKGROUND) == 0
    both = torch.stack([inside, outside])
    assert attention_mass(both, FOREGROUND, BACKGROUND) == pytest.approx(0.5)


def test_mass_is_that_of_a_naive_loop():
    attention = torch.rand(2, 3, 6).softmax(-1)
    shares = []
    for token in attention.flatten(0, 1).tolist():
        own = sum(a for a, f in zip(token, FOREGROUND, strict=True) if f)
        rest = sum(a for a, b in zip(token, BACKGROUND, strict=True) if b)
        shares.append(own / (own + rest))
    assert attention_mass(attention, FOREGROUND, BACKGROUND) == pytest.approx(np.mean(shares))


@pytest.mark.parametrize("matching", ["prototype", "pixel"])
def test_looks_come_in_order_and_agree_with_the_output(
    predictor, pixel_predictor, data, episodes, matching
):
    chosen = predictor if matching == "prototype" else pixel_predictor
    looks = look(chosen, data, episodes)
    assert [one.query for one in looks] == [spec.query for spec in episodes]
    for index, output in run_episodes(chosen, data, episodes, with_maps=True):
        spec, one = episodes[index], looks[index]
        labels = Image.fromarray(data.labels(spec.query))
        side = output.conventional_mask.shape[-1]
        ys, xs = (np.arange(side) * size // side for size in (labels.height, labels.width))
        cells = np.asarray(labels)[np.ix_(ys, xs)].ravel()
        attention = output.query_attention[0, 0, -1].mean(0).numpy()
        counted = attention[cells != 255].sum()
        assert one.foreground == pytest.approx((cells == spec.class_id).sum() / (cells < 255).sum())
        # The ratio's mean over tokens is near the mean's ratio: the ignored row is a small one.
        expected = attention[cells == spec.class_id].sum() / counted
        assert one.mass == pytest.approx(expected, abs=0.02)
        assert (one.attention_iou is None) == (matching == "pixel")
        assert (one.mask_mass is None) == (matching == "pixel")
        if one.mask_mass is not None:
            before = output.query_attention[0, 0, 1].mean(0).numpy()  # step 2 of 3
            expected = before[cells == spec.class_id].sum() / before[cells != 255].sum()
            assert one.mask_mass == pytest.approx(expected, abs=0.02)


def test_ious_are_those_of_the_masks_at_512(predictor, data, episodes):
    spec, size = episodes[0], predictor.model.config.image_size
    (one,) = look(predictor, data, [spec])
    supports = [ClassExample(data, id, size, spec.class_id) for id in spec.supports]
    maps = predictor(supports, Picture(data, spec.query, size))
    labels = np.asarray(data.labels(spec.query))
    rows, columns = (np.arange(512) * side // 512 for side in labels.shape)
    labels = labels[np.ix_(rows, columns)]
    for kind, iou in (
        ("conventional_minmax", one.conventional_iou),
        ("attention", one.attention_iou),
    ):
        resized = Image.fromarray(maps[kind].numpy()).resize((512, 512), Image.Resampling.BILINEAR)
        found, true = np.asarray(resized) >= 0.5, labels == spec.class_id
        found, true = found & (labels != 255), true & (labels != 255)
        assert iou == pytest.approx((found & true).sum() / (found | true).sum(), abs=0.01)


def test_difference_is_paired():
    looks, others = some_looks(0.1), some_looks()
    found = mass_difference(looks, others)
    assert (found.value, found.low, found.high) == pytest.approx((0.1, 0.1, 0.1))
    assert mean_mass(looks).value == pytest.approx(np.mean([one.mass for one in looks]))
    with pytest.raises(FcpError, match="figure 1a: the two models saw other episodes"):
        mass_difference(looks, others[::-1])


def test_plots_are_drawn(tmp_path, assert_drawn):
    pixel = [replace(one, mask_mass=None) for one in some_looks()]
    plot_mass({"FCP": some_looks(0.1), "VRP-SAM": pixel}, tmp_path / "a.png")
    plot_iou(some_looks(), tmp_path / "b.png")
    assert_drawn(tmp_path / "a.png")
    assert_drawn(tmp_path / "b.png")


def test_plots_refuse_what_they_cannot_show(tmp_path):
    for names in ("", "abcde"):
        with pytest.raises(FcpError, match=f"figure 1a: expected 1 … 4 models, got {len(names)}"):
            plot_mass(dict.fromkeys(names, some_looks()), tmp_path / "a.png")
    with pytest.raises(FcpError, match="saw other episodes"):
        plot_mass({"a": some_looks(), "b": some_looks()[:5]}, tmp_path / "a.png")
    without = [replace(one, attention_iou=None) for one in some_looks()]
    for looks in (without, []):
        with pytest.raises(FcpError, match="figure 1b: needs episodes of a model with attention"):
            plot_iou(looks, tmp_path / "b.png")
    assert not list(tmp_path.iterdir())
