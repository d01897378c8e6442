"""Folders of compared methods and base learners: a round trip, and what a damaged one says."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from fcp.errors import FcpError
from fcp.method.trained import build_trained
from fcp.models.trained import (
    build_learner,
    load_base_learner,
    load_trained,
    save_base_learner,
    save_trained,
)

PICTURES = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
MASKS = (torch.arange(64) < 30).float().expand(1, 1, 64, 64)
OPTIONS = {
    "ssp": {"trained": ["first."], "refine": False},
    "pfenet": {"width": 8, "bins": [4, 0.5]},
    "bam": {"width": 8, "base_classes": 3, "learner_width": 4},
    "hdmnet": {"width": 8, "base_classes": 3, "learner_width": 4, "released": True},
    "cyctr": {"width": 16, "keys_per_shot": 8},
}


@pytest.fixture
def saved(small_backbone, tmp_path):
    """Return a function that writes a method's folder."""

    def save(method="pfenet", dtype=None):
        options = {"backbone": {"name": small_backbone}, **OPTIONS[method]}
        torch.manual_seed(3)
        model = build_trained(method, **options).eval()
        save_trained(model, method, options, 64, tmp_path / method, dtype)
        return model, tmp_path / method

    return save


@pytest.mark.parametrize("method", OPTIONS)
@torch.no_grad()
def test_a_folder_gives_the_same_answer(method, saved):
    model, folder = saved(method)
    loaded = load_trained(folder)
    assert (loaded.method, loaded.image_size) == (method, 64)
    assert loaded.options == {"backbone": {"name": "small"}, **OPTIONS[method]}
    assert not any(module.training for module in loaded.model.modules())
    answers = [
        one.match(one.encode_support(PICTURES[None], MASKS), one.encode_query(PICTURES))
        for one in (model, loaded.model)
    ]
    assert torch.equal(answers[0].logits, answers[1].logits)


def test_half_precision_halves_the_file(saved):
    whole = (saved()[1] / "model.safetensors").stat().st_size
    folder = saved(dtype=torch.float16)[1]
    assert (folder / "model.safetensors").stat().st_size < 0.65 * whole
    assert all(p.dtype == torch.float32 for p in load_trained(folder).model.parameters())


def spoil(folder, **settings):
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"format": "fcp-1"}, "expected a model of format 'fcp-trained-1', got 'fcp-1'"),
        ({"method": "pfnet"}, "method: expected one of ssp"),
        ({"image_size": 3}, "image_size: expected 32"),
        ({"options": {"bins": 3}}, "method 'pfenet': bins: expected list, got 3"),
        ({"options": {"width": 1 << 50}}, "method 'pfenet': cannot be built with these options"),
        ({"options": {"size": 3}}, "unknown option 'size'"),
        ({"colour": 3}, "unknown setting 'colour'"),
    ],
)
def test_wrong_settings_are_named(saved, settings, message):
    _, folder = saved()
    spoil(folder, **settings)
    with pytest.raises(FcpError, match=message) as caught:
        load_trained(folder)
    assert "config.json" in str(caught.value)


@pytest.mark.parametrize("values", [(torch.nan,), (torch.inf,), (torch.inf, -torch.inf)])
def test_weights_that_are_not_finite_are_refused(saved, values):
    _, folder = saved()
    state = load_file(folder / "model.safetensors")
    state["query.weight"].view(-1)[: len(values)] = torch.tensor(values)
    save_file(state, folder / "model.safetensors")
    with pytest.raises(FcpError, match=r"query\.weight holds values that are not finite"):
        load_trained(folder)


def test_finite_weights_whose_sum_overflows_are_read(saved):
    _, folder = saved()
    state = load_file(folder / "model.safetensors")
    state["query.weight"].fill_(torch.finfo(torch.float32).max)
    save_file(state, folder / "model.safetensors")
    assert torch.equal(load_trained(folder).model.query.weight, state["query.weight"])


def test_a_missing_tensor_is_named(saved):
    _, folder = saved()
    state = load_file(folder / "model.safetensors")
    del state["query.weight"]
    save_file(state, folder / "model.safetensors")
    with pytest.raises(FcpError, match=r"query\.weight is missing"):
        load_trained(folder)


@torch.no_grad()
def test_a_base_learner_comes_back(small_backbone, tmp_path):
    model = build_learner(small_backbone, None, 5, 4).eval()
    save_base_learner(model, small_backbone, tmp_path / "learner")
    loaded = load_base_learner(tmp_path / "learner")
    assert loaded.backbone == small_backbone
    assert torch.equal(loaded.model(PICTURES), model(PICTURES))
    with pytest.raises(FcpError, match="format 'fcp-trained-1', got 'fcp-base-learner-1'"):
        load_trained(tmp_path / "learner")
