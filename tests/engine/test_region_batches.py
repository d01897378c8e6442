"""Region batches: drawn from (seed, step, position) alone, prompts in or around their region."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fcp.data.region_store import RegionPicture
from fcp.data.regions import build_region_tree
from fcp.data.strips import resize_nearest
from fcp.engine import region_batches
from fcp.engine.region_batches import (
    RegionBatches,
    coarse_mask,
    draw_crop,
    draw_prompts,
    jittered_box,
    mask_box,
)
from fcp.engine.share import Share


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(0)
    made = []
    for _ in range(3):
        labels = np.zeros((96, 128), np.uint8)
        labels[20:60, 30:90] = 3
        labels[-4:] = 255
        image = (labels[..., None] * 40 + rng.integers(0, 30, (96, 128, 3))).astype(np.uint8)
        tree = build_region_tree(image, np.zeros((1, 48, 64), np.float32))
        made.append(RegionPicture(image, tree, labels[None], background=(0, 255)))
    return made


def _batches(pictures, seed=0, batch=2):
    return RegionBatches(pictures, batch=batch, masks=3, image_size=64, seed=seed)


def test_a_step_gives_the_same_batch_again_and_another_seed_another(pictures):
    first, again = _batches(pictures)[Share(5)], _batches(pictures)[Share(5)]
    assert first["kind"] == again["kind"]
    for name in set(first) - {"kind", "correct"}:
        torch.testing.assert_close(first[name], again[name], rtol=0, atol=0)
    assert not torch.equal(first["images"], _batches(pictures, seed=1)[Share(5)]["images"])


@pytest.mark.parametrize("parts", [2, 4])
def test_the_parts_of_a_step_are_its_batch(pictures, parts):
    batches = _batches(pictures, batch=4)
    whole = batches[Share(3)]
    shares = [batches[Share(3, part, parts)] for part in range(parts)]
    for name in ("kind", "correct"):
        assert {share[name] for share in shares} == {whole[name]}
    for name in set(whole) - {"kind", "correct"}:
        joined = torch.cat([share[name] for share in shares])
        torch.testing.assert_close(joined, whole[name], rtol=0, atol=0)


def test_shapes_and_ranges(pictures):
    batch = _batches(pictures)[Share(0)]
    assert batch["images"].shape == (2, 3, 64, 64)
    assert 0 <= batch["images"].min()
    assert batch["images"].max() <= 1
    assert batch["targets"].shape == batch["valid"].shape == (6, 32, 32)
    assert set(batch["targets"].unique().tolist()) == {0.0, 1.0}
    assert batch["points"].shape == (6, 5, 2)
    assert batch["boxes"].shape == (6, 4)
    assert batch["coarse"].shape[:2] == (6, 1)
    assert (batch["targets"].flatten(1).sum(1) > 0).all()


def test_all_kinds_of_prompts_come_up(pictures):
    kinds = {_batches(pictures)[Share(step)]["kind"] for step in range(40)}
    assert kinds == {"point", "points", "box", "mask", "box+mask"}


@pytest.mark.parametrize("kind", ["point", "points"])
def test_points_lie_where_their_labels_say(kind):
    mask = np.zeros((40, 60), bool)
    mask[10:20, 30:50] = True
    rng = np.random.default_rng(0)
    for _ in range(20):
        drawn = draw_prompts(mask, kind, rng)
        for (x, y), label in zip(drawn["points"], drawn["point_labels"], strict=True):
            if label >= 0:
                assert mask[int(y * 40), int(x * 60)] == bool(label)
    assert (drawn["point_labels"] == 1).sum() == 1 or kind == "points"


def test_the_box_is_tight_and_its_jitter_small():
    mask = np.zeros((40, 60), bool)
    mask[10:20, 30:50] = True
    tight = np.array(mask_box(mask))
    np.testing.assert_allclose(tight, [30 / 60, 10 / 40, 50 / 60, 20 / 40])
    rng = np.random.default_rng(0)
    for _ in range(50):
        moved = jittered_box(mask, rng) - tight
        assert (np.abs(moved) <= 0.05 * np.array([20 / 60, 10 / 40] * 2) + 1e-6).all()


def test_coarse_masks_are_finite_logits_that_still_show_the_region():
    mask = np.zeros((160, 160), bool)
    mask[40:120, 40:120] = True
    rng = np.random.default_rng(0)
    for _ in range(20):
        logits = coarse_mask(mask, rng)
        assert logits.shape == (1, 40, 40)
        assert np.isfinite(logits).all()
        inside = resize_nearest(mask, (40, 40))
        assert logits[0][inside].mean() > logits[0][~inside].mean() + 1


def test_crops_stay_inside_and_keep_most_of_their_aspect():
    rng = np.random.default_rng(0)
    for _ in range(100):
        rows, columns = draw_crop((90, 140), rng)
        height, width = rows.stop - rows.start, columns.stop - columns.start
        assert 0 <= rows.start
        assert rows.stop <= 90
        assert 0 <= columns.start
        assert columns.stop <= 140
        assert 0.25 < height * width / (90 * 140) <= 1
        assert 0.5 < (height / 90) / (width / 140) < 2


def test_pictures_are_drawn_by_their_weights(pictures):
    rare = [replace(p, weight=w) for p, w in zip(pictures, (1.0, 0.0, 3.0), strict=True)]
    batches, rng = _batches(rare), np.random.default_rng(0)
    drawn = [batches._draw_picture(rng) for _ in range(400)]
    counts = [sum(d is p for d in drawn) for p in rare]
    assert counts[1] == 0
    assert 0.65 < counts[2] / 400 < 0.85


def test_a_pasted_thing_is_a_region_and_hides_what_is_under_it(pictures, monkeypatch):
    monkeypatch.setattr(region_batches, "_PASTE_SHARE", 1.0)
    batches = _batches(pictures)
    things = []
    original = batches._draw_pasted
    monkeypatch.setattr(
        batches, "_draw_pasted", lambda rng: things.append(original(rng)) or things[-1]
    )
    for step in range(8):
        things.clear()
        batch = batches[Share(step)]
        for thing, targets in zip(things, batch["targets"].unflatten(0, (2, 3)), strict=False):
            shown = [torch.from_numpy(t.copy()).float() for t in (thing[0], thing[0][:, ::-1])]
            for target in targets:
                whole = any(torch.equal(target, s) for s in shown)
                beside = any((target * s).sum() == 0 for s in shown)
                assert whole or beside
