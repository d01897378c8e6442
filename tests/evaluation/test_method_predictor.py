"""Evaluation of methods with doors against a naive loop over whole episodes."""

import numpy as np
import pytest
import torch

from fcp.config import BackboneConfig, SegmenterConfig
from fcp.data.benchmarks import open_benchmark
from fcp.data.dataset import ClassExample, Picture
from fcp.data.episodes import sample_episodes
from fcp.data.lists import val_lists
from fcp.encoders import build_backbone, build_segmenter
from fcp.evaluation.evaluate import count_at_square, evaluate, truth_of
from fcp.evaluation.method_predictor import MethodPredictor
from fcp.evaluation.metrics import Counts
from fcp.features.cache import FeatureCache
from fcp.features.frozen import Encoders, open_encoders
from fcp.method.registry import build_on
from fcp.method.trained import build_trained
from fcp.structures import Episode

SIZE = 64
OPTIONS = {
    "pfenet": {"width": 8, "bins": [1.0, 0.5]},
    "hdmnet": {"width": 8, "learner_width": 4},
    "cyctr": {"width": 16, "keys_per_shot": 8},
}


@pytest.fixture(params=OPTIONS)
def model(request, small_backbone):
    torch.manual_seed(0)
    return build_trained(request.param, backbone=small_backbone, **OPTIONS[request.param]).eval()


def episode_of(data, spec):
    examples = [ClassExample(data, id, SIZE, spec.class_id) for id in spec.supports]
    return Episode(
        support_images=torch.stack([one.image() for one in examples])[None],
        support_masks=torch.stack([one.mask() for one in examples])[None],
        query_images=Picture(data, spec.query, SIZE).image()[None],
    )


@pytest.mark.parametrize("shots", [1, 2])
@torch.inference_mode()
def test_counts_are_those_of_a_loop_over_episodes(model, shots, mini_voc):
    data = open_benchmark("pascal5i", mini_voc)
    episodes = sample_episodes(val_lists(data, 0), shots=shots, episodes=4, seed=0)
    encoders = Encoders(model.backbone, ["small", {}], model.support_view)
    predictors = {
        "encoders": MethodPredictor(model, image_size=SIZE, encoders=open_encoders(encoders, None)),
        "doors alone": MethodPredictor(model, image_size=SIZE),
        "hardly any memory": MethodPredictor(model, image_size=SIZE, cache_bytes=100),
    }
    expected: dict[int, Counts] = {}
    for spec in episodes:
        probability = model(episode_of(data, spec)).mask_logits[0].sigmoid()
        counts = count_at_square(probability, truth_of(data, spec.query, spec.class_id))
        expected[spec.class_id] = expected.get(spec.class_id, Counts()) + counts
    for name, predictor in predictors.items():
        result = evaluate(predictor, data, episodes, image_size=SIZE)
        for class_id, counts in expected.items():
            own = result.square.class_iou[data.classes[class_id]]
            assert own == pytest.approx(counts.iou, abs=1e-9), name


@torch.inference_mode()
def test_unknown_pixels_of_an_example_are_neither_object_nor_rest(
    small_backbone, mini_voc, tmp_path, monkeypatch
):
    """As in training; of the methods only SSP reads the rest (table1.md, section 1)."""
    torch.manual_seed(0)
    model = build_trained("ssp", backbone=small_backbone).eval()
    data = open_benchmark("pascal5i", mini_voc)
    (spec, *_) = sample_episodes(val_lists(data, 0), shots=1, episodes=1, seed=0)
    unknown = np.zeros((72, 96), bool)
    unknown[40:] = True
    monkeypatch.setattr(type(data), "ignored", lambda *_: unknown)
    example = ClassExample(data, spec.supports[0], SIZE, spec.class_id)
    truth = example.truth()
    assert (truth == 255).any()
    assert torch.equal(truth == 1, example.mask() == 1)
    query, image = Picture(data, spec.query, SIZE), example.image()[None, None]

    def answer(mask):
        seen = model.encode_query(query.image()[None])
        support = model.encode_support(image, mask[None, None])
        return model.match(support, seen).mask_logits[0].sigmoid()

    assert not torch.allclose(answer(truth), answer(example.mask()), atol=1e-3)
    encoders = Encoders(model.backbone, ["small", {}], model.support_view)
    stored = open_encoders(encoders, FeatureCache(tmp_path, 1 << 30))
    for kept in (None, open_encoders(encoders, None), stored):
        predictor = MethodPredictor(model, image_size=SIZE, encoders=kept)
        torch.testing.assert_close(
            predictor([example], query)["mask"], answer(truth), atol=2e-3, rtol=0
        )


@pytest.mark.parametrize("name", ["contrast", "insid3", "gf-sam", "persam"])
@torch.inference_mode()
def test_examples_of_a_method_without_training_are_encoded_once(small_backbone, mini_voc, name):
    torch.manual_seed(0)
    backbone = build_backbone(BackboneConfig(small_backbone, options={"width": 8}))
    segmenter = build_segmenter(SegmenterConfig("tiny", options={"width": 32, "image_size": SIZE}))
    method = build_on(name, backbone.eval(), segmenter.eval(), image_size=SIZE)
    data = open_benchmark("pascal5i", mini_voc)
    specs = sample_episodes(val_lists(data, 0), shots=2, episodes=3, seed=0)
    whole = [method(episode_of(data, spec)).mask_logits[0].sigmoid() for spec in specs]
    shown, encode = [], method.encode_support
    method.encode_support = lambda images, masks: (
        shown.append(len(images[0])),
        encode(images, masks),
    )[1]
    predictor = MethodPredictor(method, image_size=SIZE)
    for spec, expected in zip(specs, whole, strict=True):
        examples = [ClassExample(data, id, SIZE, spec.class_id) for id in spec.supports]
        found = predictor(examples, Picture(data, spec.query, SIZE))["mask"]
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    reads = 1 if name == "persam" else 2  # PerSAM's paper knows one example
    read = {(spec.class_id, id) for spec in specs for id in spec.supports[:reads]}
    assert shown == [1] * len(read)


@torch.inference_mode()
def test_stored_features_hardly_move_a_prediction(model, mini_voc, tmp_path):
    data = open_benchmark("pascal5i", mini_voc)
    (spec,) = sample_episodes(val_lists(data, 0), shots=2, episodes=1, seed=1)
    encoders = Encoders(model.backbone, ["small", {}], model.support_view)
    stored = open_encoders(encoders, FeatureCache(tmp_path, 1 << 24))
    examples = [ClassExample(data, id, SIZE, spec.class_id) for id in spec.supports]
    query = Picture(data, spec.query, SIZE)
    whole = model(episode_of(data, spec)).mask_logits[0].sigmoid()
    for _ in range(2):  # made, then read
        found = MethodPredictor(model, image_size=SIZE, encoders=stored)(examples, query)
        assert (found["mask"] - whole).abs().max() < 5e-3


def test_only_a_trained_method_goes_on_from_features(small_backbone, mini_voc):
    data = open_benchmark("pascal5i", mini_voc)
    model = build_trained("pfenet", backbone=small_backbone, **OPTIONS["pfenet"]).eval()
    encoders = open_encoders(Encoders(model.backbone, ["small", {}]), None)
    predictor = MethodPredictor(torch.nn.Identity(), image_size=SIZE, encoders=encoders)
    with pytest.raises(TypeError, match="only a trained method"):
        predictor([ClassExample(data, "val_01_0", SIZE, 1)], Picture(data, "val_01_1", SIZE))


def test_a_method_that_draws_at_test_time_draws_the_same_for_an_episode(small_backbone, mini_voc):
    """CyCTR as released draws its keys by the global generator, which goes on untouched."""
    options = {"width": 16, "keys_per_shot": 8, "released": True}
    model = build_trained("cyctr", backbone=small_backbone, **options).eval()
    data = open_benchmark("pascal5i", mini_voc)
    (spec,) = sample_episodes(val_lists(data, 0), shots=2, episodes=1, seed=0)
    query = Picture(data, spec.query, SIZE)
    supports = [ClassExample(data, one, SIZE, spec.class_id) for one in spec.supports]
    predictor, state = MethodPredictor(model, image_size=SIZE), torch.get_rng_state()
    first = predictor(supports, query)["mask"]
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(9)
    assert torch.equal(MethodPredictor(model, image_size=SIZE)(supports, query)["mask"], first)
    assert torch.equal(predictor(supports, query)["mask"], first)
