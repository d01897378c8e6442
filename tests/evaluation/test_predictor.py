"""FCP as a predictor: the cache changes no number, and every picture is encoded once."""

from collections import Counter

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fcp.config import HeadConfig, ModelConfig
from fcp.data.dataset import ClassExample, Picture
from fcp.data.episodes import sample_episodes
from fcp.data.lists import val_lists
from fcp.data.pascal import PascalVOC
from fcp.encoders.base import Backbone, PromptableSegmenter
from fcp.evaluation.evaluate import evaluate
from fcp.evaluation.predictor import FCPPredictor
from fcp.method.fcp.model import FCP
from fcp.structures import BackboneFeatures, Decoded, Embedding, Episode

SIZE = 64


class CountingBackbone(Backbone):
    mid_channels, high_channels = 6, 5

    def __init__(self):
        super().__init__()
        self.conv, self.calls = nn.Conv2d(3, 11, 8, stride=8), Counter()

    def forward(self, images, mask=None):
        self.calls["support" if mask is not None else "query"] += len(images)
        mid, high = self.conv(images).split([6, 5], dim=1)
        if mask is not None:
            high = high * F.interpolate(mask, high.shape[-2:])
        return BackboneFeatures(mid=mid, high=high)


class PlainSegmenter(PromptableSegmenter):
    width = 8

    def __init__(self):
        super().__init__()
        self.conv, self.calls = nn.Conv2d(3, 8, 8, stride=8), 0

    def encode(self, images):
        self.calls += len(images)
        embedding = self.conv(images)
        return Embedding(image=embedding, high_resolution=(embedding[:, :2],))

    def decode(self, embedding, prompts, mask_prompt=None):
        logits = torch.einsum("bnc,bchw->bhw", prompts, embedding.image)
        return Decoded(logits=logits, iou=logits.mean((1, 2)))

    def embed_prompts(self, *, points=None, point_labels=None, boxes=None):
        raise NotImplementedError


@pytest.fixture
def model():
    torch.manual_seed(0)
    head = HeadConfig(width=8, tokens=3, steps=2, heads=2)
    return FCP(ModelConfig(head=head, image_size=SIZE), CountingBackbone(), PlainSegmenter())


@pytest.fixture
def data(mini_voc):
    return PascalVOC(mini_voc)


def as_pictures(data, spec):
    supports = [ClassExample(data, name, SIZE, spec.class_id) for name in spec.supports]
    return supports, Picture(data, spec.query, SIZE)


@pytest.mark.parametrize("shots", [1, 3])
@pytest.mark.parametrize("cache_bytes", [0, 3000, 1 << 20])
def test_maps_are_those_of_the_whole_model(model, data, shots, cache_bytes):
    predictor = FCPPredictor(model, cache_bytes=cache_bytes)
    for spec in sample_episodes(val_lists(data, 0), shots=shots, episodes=12, seed=1):
        supports, query = as_pictures(data, spec)
        maps = predictor(supports, query)
        with torch.no_grad():
            output = model(
                Episode(
                    support_images=torch.stack([s.image() for s in supports])[None],
                    support_masks=torch.stack([s.mask() for s in supports])[None],
                    query_images=query.image()[None],
                )
            )
        shots_own = output.conventional_mask[0]
        low, high = shots_own.amin((1, 2), keepdim=True), shots_own.amax((1, 2), keepdim=True)
        expected = {
            "mask": output.mask_logits[0].sigmoid(),
            "conventional": shots_own.mean(0),
            "conventional_minmax": ((shots_own - low) / (high - low)).mean(0),
            "attention": output.pseudo_mask[0],
        }
        assert set(maps) == set(expected)
        for name, values in expected.items():
            torch.testing.assert_close(maps[name], values, atol=1e-5, rtol=1e-4)
        assert predictor._cache.held <= cache_bytes


def test_each_picture_is_encoded_once(model, data):
    episodes = sample_episodes(val_lists(data, 1), shots=2, episodes=60, seed=0)
    result = evaluate(FCPPredictor(model), data, episodes, image_size=SIZE)
    supports = {(name, spec.class_id) for spec in episodes for name in spec.supports}
    queries = {spec.query for spec in episodes}
    assert model.backbone.calls == {"support": len(supports), "query": len(queries)}
    assert model.segmenter.calls == len({name for name, _ in supports} | queries)
    assert set(result.pseudo_masks) == {"attention", "conventional", "conventional_minmax"}


def test_a_small_cache_still_serves_neighbours(model, data):
    episodes = sample_episodes(val_lists(data, 1), shots=1, episodes=60, seed=0)
    evaluate(FCPPredictor(model, cache_bytes=40_000), data, episodes, image_size=SIZE)
    assert model.backbone.calls["query"] < len(episodes) / 3


def test_a_single_step_has_no_attention_mask(data):
    head = HeadConfig(width=8, tokens=3, steps=1, heads=2)
    model = FCP(ModelConfig(head=head, image_size=SIZE), CountingBackbone(), PlainSegmenter())
    spec = sample_episodes(val_lists(data, 0), shots=1, episodes=1, seed=1)[0]
    maps = FCPPredictor(model)(*as_pictures(data, spec))
    assert set(maps) == {"mask", "conventional", "conventional_minmax"}
