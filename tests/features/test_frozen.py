"""Frozen features: the encoders' own, made once a picture, found by content and weights."""

import shutil
from collections import Counter
from dataclasses import fields

import pytest
import torch
from torch.utils.data._utils.pin_memory import pin_memory

from fcp.config import BackboneConfig, HeadConfig, ModelConfig, SegmenterConfig
from fcp.data.dataset import ClassExample, Picture
from fcp.data.pascal import PascalVOC
from fcp.encoders import build_backbone, build_segmenter
from fcp.errors import FcpError
from fcp.features.cache import FeatureCache
from fcp.features.frozen import Encoders, FeatureIndex, FrozenEncoders, LiveEncoders
from fcp.method.fcp.model import FCP

SIZE = 64
CONFIG = ModelConfig(
    head=HeadConfig(width=16, tokens=3),
    backbone=BackboneConfig("mobilenet_v2"),
    segmenter=SegmenterConfig("tiny", options={"width": 16, "image_size": SIZE}),
    image_size=SIZE,
)


@torch.no_grad()
def make_model(seed=0):
    torch.manual_seed(seed)
    model = FCP(CONFIG, build_backbone(CONFIG.backbone), build_segmenter(CONFIG.segmenter)).eval()
    for weight in (p for p in model.backbone.parameters() if p.ndim == 4):
        torch.nn.init.kaiming_normal_(weight)  # as they come, nothing reaches the last blocks
    return model


@pytest.fixture(scope="module")
def model():
    return make_model()


@pytest.fixture
def calls(model, monkeypatch):
    """Count how often each encoder runs."""
    counted = Counter()
    encode = model.segmenter.encode
    monkeypatch.setattr(
        model.segmenter, "encode", lambda images: (counted.update(["G"]), encode(images))[1]
    )
    hook = model.backbone.register_forward_hook(lambda *_: counted.update(["F"]))
    yield counted
    hook.remove()


@pytest.fixture
def store(tmp_path):
    return FeatureCache(tmp_path / "store", 1 << 26)


def encoders(model, store, precision="no"):
    return FrozenEncoders(Encoders.of(model), FeatureIndex(Encoders.of(model), store, precision))


def query(model, store, one):
    """Return features and embedding of a picture."""
    both = encoders(model, store)
    return both.features(one), both.embed(one)


def picture(root, name="val_01_0"):
    return Picture(PascalVOC(root), name, SIZE)


def example(root, name="val_01_1", class_id=1):
    return ClassExample(PascalVOC(root), name, SIZE, class_id)


def close(found, expected):
    assert found.std() > 0.01
    torch.testing.assert_close(found, expected.half().float(), rtol=0, atol=0)


def test_features_are_the_encoders_own_in_16_bit(model, store, mini_voc):
    features = encoders(model, store).features(picture(mini_voc))
    embedding = encoders(model, store).embed(picture(mini_voc))
    with torch.no_grad():
        image = picture(mini_voc).image()[None]
        close(features.mid, model.backbone(image).mid)
        close(features.high, model.backbone(image).high)
        expected = model.segmenter.encode(image)
        close(embedding.image, expected.image)
        assert len(embedding.high_resolution) == len(expected.high_resolution) > 0
        for found, finer in zip(embedding.high_resolution, expected.high_resolution, strict=True):
            close(found, finer)

        features, mask = encoders(model, store).example(example(mini_voc))
        image, expected_mask = example(mini_voc).image()[None], example(mini_voc).mask()[None]
        close(features.high, model.backbone(image, expected_mask[:, None]).high)
        close(features.mid, model.backbone(image).mid)
        assert torch.equal(mask, expected_mask)
        live = LiveEncoders(Encoders.of(model))
        close(features.high, live.example(example(mini_voc))[0].high)
        close(embedding.image, live.embed(picture(mini_voc)).image)
        close(
            encoders(model, store).features(picture(mini_voc)).mid,
            live.features(picture(mini_voc)).mid,
        )


def test_each_picture_is_encoded_once_also_by_a_later_run(model, store, calls, mini_voc):
    first = query(model, store, picture(mini_voc))
    assert calls == {"F": 1, "G": 1}
    again = query(model, store, picture(mini_voc))
    assert calls == {"F": 1, "G": 1}
    assert torch.equal(first[0].mid, again[0].mid)  # made and found: the same bits
    assert torch.equal(first[1].image, again[1].image)
    encoders(model, store).example(example(mini_voc, "val_01_0"))
    encoders(model, store).embed(example(mini_voc, "val_01_0"))
    assert calls == {"F": 2, "G": 1}  # only stage 4 under the mask was missing


def test_what_is_too_large_to_store_has_the_same_bits(model, store, calls, mini_voc, monkeypatch):
    stored = query(model, store, picture(mini_voc))
    monkeypatch.setattr("fcp.features.cache._LARGEST", 0)
    other = FeatureCache(store.folder / "other", 1 << 26)
    for _ in range(2):
        live = query(model, other, picture(mini_voc))
        assert torch.equal(stored[0].mid, live[0].mid)
        assert torch.equal(stored[1].image, live[1].image)
    assert calls == {"F": 3, "G": 3}


def tensors_of(seen):
    """Return every tensor of what was seen of a picture."""
    parts = [getattr(seen, field.name) for field in fields(seen)]
    inside = [t for part in parts if isinstance(part, dict) for t in part.values()]
    return [part for part in parts if isinstance(part, torch.Tensor)] + inside


def test_the_loader_pins_every_tensor_of_what_was_seen(model, store, mini_voc, monkeypatch):
    index = FeatureIndex(Encoders.of(model), store)
    query(model, store, picture(mini_voc))
    encoders(model, store).example(example(mini_voc, "val_01_0"))
    supports = (index.look_at_example(example(mini_voc, "val_01_0")),)
    queries = (index.look(picture(mini_voc)), index.look(picture(mini_voc, "val_01_1")))
    pinned = []
    monkeypatch.setattr(
        torch.Tensor, "pin_memory", lambda t: pinned.append(t.clone()) or pinned[-1]
    )
    found = pin_memory({"supports": supports, "queries": queries})
    after = [
        tensor for seen in (*found["supports"], *found["queries"]) for tensor in tensors_of(seen)
    ]
    before = [tensor for seen in (*supports, *queries) for tensor in tensors_of(seen)]
    assert {id(tensor) for tensor in after} == {id(tensor) for tensor in pinned}
    assert len(before) == len(after) > 4 + 3  # mask, mid, high, image; and mid, high, image, finer
    assert all(torch.equal(was, now) for was, now in zip(before, after, strict=True))
    assert found["queries"][1] == queries[1]  # nothing was there


def test_a_batch_changes_nothing(model, store, mini_voc):
    index = FeatureIndex(Encoders.of(model), store)
    names = ("val_01_0", "val_02_1", "val_speck")
    seen = [index.look(picture(mini_voc, name)) for name in names]
    together, _ = FrozenEncoders(Encoders.of(model), index).queries(seen)
    for row, name in enumerate(names):
        alone = encoders(model, FeatureCache(store.folder / name, 1 << 26)).features(
            picture(mini_voc, name)
        )
        assert torch.equal(together.mid[row], alone.mid[0])


def test_content_and_weights_count_but_names_do_not(model, store, calls, mini_voc, tmp_path):
    copied = tmp_path / "copy"
    shutil.copytree(mini_voc, copied)
    jpegs = copied / "VOC2012/JPEGImages"
    query(model, store, picture(copied))
    shutil.copy(jpegs / "val_01_0.jpg", jpegs / "val_02_0.jpg")
    query(model, store, picture(copied, "val_02_0"))
    assert calls["F"] == 1
    shutil.copy(jpegs / "val_07_0.jpg", jpegs / "val_01_0.jpg")
    query(model, store, picture(copied))
    assert calls["F"] == 2
    other = query(make_model(seed=1), store, picture(copied))
    mine = query(model, store, picture(copied))
    assert not torch.equal(other[0].mid, mine[0].mid)
    assert calls["F"] == 2


def test_the_callers_precision_does_not_leak_into_the_store(model, store, mini_voc):
    with torch.autocast("cpu", torch.bfloat16):
        inside, _ = query(model, store, picture(mini_voc))
    outside = encoders(model, FeatureCache(store.folder / "b", 1 << 26)).features(picture(mini_voc))
    assert torch.equal(inside.mid, outside.mid)
    assert FeatureIndex(Encoders.of(model), store).look(picture(mini_voc)).backbone is not None
    assert FeatureIndex(Encoders.of(model), store, "bf16").look(picture(mini_voc)).backbone is None


def test_another_mask_is_another_example(model, store, calls, mini_voc):
    both = encoders(model, store)
    first = both.example(example(mini_voc, "val_speck", 1))
    second = both.example(example(mini_voc, "val_speck", 2))
    assert calls == {"F": 3}
    assert not torch.equal(first[0].high, second[0].high)


def test_a_missing_picture_is_named(model, store, mini_voc):
    with pytest.raises(FcpError, match=r"gone\.jpg"):
        query(model, store, picture(mini_voc, "gone"))
