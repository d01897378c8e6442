"""Training episodes: reproducible, support never the query, masks of the class that was drawn."""

import numpy as np
import pytest
import torch
from PIL import Image

from fcp.config import BackboneConfig, HeadConfig, ModelConfig, SegmenterConfig
from fcp.data.dataset import Picture
from fcp.data.lists import train_lists
from fcp.data.pascal import PascalVOC
from fcp.data.region_store import RegionSource
from fcp.encoders import build_backbone, build_segmenter
from fcp.engine import episode_batches
from fcp.engine.draws import make_draw
from fcp.engine.episode_batches import (
    EpisodeBatches,
    EpisodeSource,
    SeenBatches,
    draw_crop_with,
)
from fcp.engine.episodic import answer_pixels, answer_seen
from fcp.engine.share import Share
from fcp.engine.train_head import region_pictures
from fcp.errors import FcpError
from fcp.features.cache import FeatureCache
from fcp.features.frozen import Encoders, FeatureIndex, FrozenEncoders
from fcp.method.fcp.model import FCP


def _source(root, fold=0, draw="class"):
    data = PascalVOC(root)
    lists = train_lists(data, fold)
    return EpisodeSource(data, lists, draw=draw, batch=6, image_size=64, seed=3)


def _batches(root, **options):
    return EpisodeBatches(_source(root), **options)


def test_a_step_gives_the_same_batch_again(mini_voc):
    first, again = _batches(mini_voc)[Share(2)], _batches(mini_voc)[Share(2)]
    for name, tensor in first.items():
        torch.testing.assert_close(tensor, again[name], rtol=0, atol=0)
    assert not torch.equal(first["query_images"], _batches(mini_voc)[Share(3)]["query_images"])


def test_shapes_and_values(mini_voc):
    batch = _batches(mini_voc)[Share(0)]
    assert batch["support_images"].shape == (6, 1, 3, 64, 64)
    assert batch["support_masks"].shape == (6, 1, 64, 64)
    assert set(batch["support_masks"].unique().tolist()) <= {0.0, 1.0}
    assert set(batch["query_masks"].unique().tolist()) <= {0.0, 1.0, 255.0}
    assert (batch["support_masks"].flatten(1).sum(1) > 0).all()
    assert ((batch["query_masks"] == 1).flatten(1).sum(1) > 0).all()


@pytest.mark.parametrize("parts", [2, 3, 6])
def test_the_parts_of_a_step_are_its_batch(mini_voc, parts):
    batches = _batches(mini_voc, distractor_share=0.5)
    whole = batches[Share(4)]
    shares = [batches[Share(4, part, parts)] for part in range(parts)]
    for name, tensor in whole.items():
        assert torch.equal(torch.cat([share[name] for share in shares]), tensor)


@pytest.mark.parametrize("draw", ["class", "query"])
def test_whole_views_are_the_pictures_as_they_are(mini_voc, draw):
    source = _source(mini_voc, draw=draw)
    batch = EpisodeBatches(source, views="whole")[Share(1)]
    for position in range(6):
        rng = source.rng(1, position)
        rng.random()
        task = make_draw(draw, source.lists, 3)(6 + position, rng)
        picture = Picture(source.data, task.query, 64)
        assert torch.equal(batch["query_images"][position], picture.image())
        labels = source.data.labels(task.query)
        rows = np.arange(64) * labels.shape[0] // 64
        columns = np.arange(64) * labels.shape[1] // 64
        labels = labels[rows][:, columns]
        expected = np.where(labels == 255, 255, labels == task.class_id)
        np.testing.assert_array_equal(batch["query_masks"][position], expected)


def test_seen_episodes_are_those_of_whole_views(mini_voc, tmp_path):
    torch.manual_seed(0)
    config = ModelConfig(
        head=HeadConfig(width=16, tokens=3),
        backbone=BackboneConfig("mobilenet_v2"),
        segmenter=SegmenterConfig("tiny", options={"width": 16, "image_size": 64}),
        image_size=64,
    )
    model = FCP(config, build_backbone(config.backbone), build_segmenter(config.segmenter)).eval()
    source = _source(mini_voc, draw="query")
    index = FeatureIndex(Encoders.of(model), FeatureCache(tmp_path, 1 << 26))
    pixels, seen = EpisodeBatches(source, views="whole"), SeenBatches(source, index)
    assert pixels.samples_per_epoch == seen.samples_per_epoch == len(source.lists.rows)
    for share in (Share(0), Share(1, 1, 3)):
        batch = pixels[share]
        with torch.no_grad():
            expected = answer_pixels(model, batch)
            for _ in ("made", "found"):
                stored = seen[share]
                output = answer_seen(model, FrozenEncoders(Encoders.of(model), index), stored)
                assert torch.equal(stored["query_masks"], batch["query_masks"])
                torch.testing.assert_close(
                    output.attention_masks, expected.attention_masks, atol=0.02, rtol=0
                )
                torch.testing.assert_close(output.prompts, expected.prompts, atol=0.02, rtol=0)
        assert all(item.backbone for item in seen[share]["queries"])


@pytest.mark.parametrize("views", ["whole", "augmented"])
def test_a_support_whose_object_would_vanish_keeps_it(mini_voc, monkeypatch, views):
    def wide(self, picture):
        return np.zeros((500, 400, 3), np.uint8)

    monkeypatch.setattr(PascalVOC, "class_mask", lambda *_: np.pad([[True]], ((3, 496), (3, 396))))
    monkeypatch.setattr(PascalVOC, "image", wide)
    monkeypatch.setattr(PascalVOC, "ignored", lambda *_: np.zeros((500, 400), bool))
    batch = _batches(mini_voc, views=views)[Share(0)]
    assert batch["support_masks"].flatten(1).any(1).all()
    assert not (batch["query_masks"] == 1).any()  # a query says what the square shows


def test_crops_show_the_mask():
    rng = np.random.default_rng(0)
    mask = np.zeros((50, 80), bool)
    mask[:12, :12] = True
    for _ in range(50):
        crop = draw_crop_with(mask, rng)
        assert mask[crop].mean() >= 0.01
    nothing = np.zeros((50, 80), bool)
    assert draw_crop_with(nothing, rng) == (slice(0, 50), slice(0, 80))


@pytest.mark.parametrize("swap", [0.0, 1.0])
def test_a_second_thing_is_of_another_class_and_never_foreground(mini_voc, monkeypatch, swap):
    monkeypatch.setattr(episode_batches, "_SWAP_SHARE", swap)
    batches, rng = _batches(mini_voc), np.random.default_rng(0)
    class_id = next(iter(batches._members))
    views = []
    original = batches._view

    def view(picture, other, rng):
        views.append((picture, other, original(picture, other, rng)[1]))
        return torch.zeros(3, 64, 64), views[-1][2]

    monkeypatch.setattr(batches, "_view", view)
    image, mask = torch.ones(3, 64, 64), torch.zeros(64, 64)
    mask[44:] = 1
    for _ in range(20):
        views.clear()
        mixed, target = batches._distract(image, mask, class_id, rng)
        if not views:  # the same class was drawn
            continue
        picture, other, other_mask = views[0]
        assert other != class_id
        assert class_id not in batches._present[picture]
        wanted, distractor = mask == 1, other_mask == 1
        if swap:
            assert torch.equal(target == 1, wanted)
            assert torch.equal(target == 255, (other_mask == 255) & ~wanted)
            covered = wanted
        elif (wanted & distractor).sum() > wanted.sum() / 2:
            assert torch.equal(target, mask)
            covered = torch.ones(64, 64)
        else:
            assert torch.equal(target == 1, wanted & ~distractor)
            covered = ~distractor
        assert ((mixed[0] > 0.5) == covered).float().mean() > 0.95


def test_a_region_episode_shows_one_region_twice(mini_voc, tmp_path):
    """Each region has its own colour, which flips, crops and jitter keep apart from the rest."""
    labels = np.zeros((60, 80), np.uint8)
    labels[:, 30:60], labels[40:, 60:] = 1, 2
    image = np.array([(200, 30, 30), (30, 200, 30), (30, 30, 200)], np.uint8)[labels]
    Image.fromarray(image).save(tmp_path / "a.png")
    Image.fromarray(labels).save(tmp_path / "a_1.png")
    source = RegionSource("a", tmp_path / "a.png", (tmp_path / "a_1.png",), ())
    batches = _batches(mini_voc, regions=[source], region_share=1.0)
    for step in range(4):
        batch = batches[Share(step)]
        for views, masks in (
            (batch["support_images"][:, 0], batch["support_masks"][:, 0]),
            (batch["query_images"], batch["query_masks"]),
        ):
            inside = (masks == 1)[:, None]
            assert inside.flatten(1).any(1).all()
            for view, mask in zip(views, inside, strict=True):
                colours = view[:, mask[0]]
                away = (colours - colours.median(1, keepdim=True).values).abs().amax(0)
                assert (away < 0.05).float().mean() > 0.8  # all but the resized contour


def test_without_bsds_region_episodes_name_the_remedy(tmp_path):
    with pytest.raises(FcpError, match="region_share=0"):
        region_pictures(tmp_path)
