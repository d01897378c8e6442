import json
from functools import partial

import pytest
import torch
from huggingface_hub import hf_hub_download
from safetensors.torch import save_file
from transformers import Dinov2Config, Dinov2Model, MobileNetV2Config, MobileNetV2Model
from transformers.utils import logging

from fcp.config import BackboneConfig, SegmenterConfig
from fcp.encoders import build_backbone, build_segmenter, hub
from fcp.encoders.hub import load_model
from fcp.errors import FcpError

BUILDS = [
    (build_backbone, BackboneConfig, "mobilenet_v2"),
    (build_backbone, BackboneConfig, "auto"),
    (build_backbone, BackboneConfig, "resnet50"),
    (build_backbone, BackboneConfig, "vgg16_bn"),
    (build_segmenter, SegmenterConfig, "sam"),
    (build_segmenter, SegmenterConfig, "sam2"),
    (build_segmenter, SegmenterConfig, "sam_hq"),
]


@pytest.fixture
def toy(tmp_path):
    config = Dinov2Config(hidden_size=8, num_hidden_layers=4, num_attention_heads=2, image_size=28)
    Dinov2Model(config).save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("build", "config", "name"), BUILDS)
def test_no_such_path(build, config, name, tmp_path):
    for weights in (str(tmp_path / "nothing"), "weights/sam_vit_b.pth"):
        with pytest.raises(FcpError, match="no such file or folder; check the path"):
            build(config(name, weights=weights))


@pytest.mark.parametrize(("build", "config", "name"), BUILDS)
def test_what_only_a_hub_that_is_switched_off_has(build, config, name):
    with pytest.raises(FcpError, match="not on this machine, and ") as error:
        build(config(name, weights="nobody/no-such-model"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("build", "config", "name"), BUILDS)
def test_folders_of_another_architecture(build, config, name, toy):
    changed = json.loads((toy / "config.json").read_text()) | {"hidden_size": 12}
    if name == "auto":
        (toy / "config.json").write_text(json.dumps(changed))
    with pytest.raises(FcpError, match=toy.name) as error:
        build(config(name, weights=str(toy)))
    assert "\n" not in str(error.value)


def timm_state(backbone, name):
    """Give a backbone's weights the names and the classifier that timm's file on the hub has."""
    if name == "resnet50":
        top = {"layer0.0.": "conv1.", "layer0.1.": "bn1."}
        classifier = {"fc.weight": torch.ones(1000, 2048), "fc.bias": torch.ones(1000)}
    else:
        starts = (0, 7, 14, 24, 34)
        pairs = {key.rpartition(".")[0] for key in backbone.state_dict()}
        numbers = {pair: pair.removeprefix("layer").split(".") for pair in pairs}
        top = {f"{p}.": f"features.{starts[int(s)] + int(i)}." for p, (s, i) in numbers.items()}
        classifier = {
            f"{part}.{field}": torch.ones(2)
            for part in ("pre_logits.fc1", "pre_logits.fc2", "head.fc")
            for field in ("weight", "bias")
        }
    state = dict(classifier)
    for key, tensor in backbone.state_dict().items():
        start = next((old for old in top if key.startswith(old)), "")
        state[top.get(start, "") + key.removeprefix(start)] = tensor
    return state


@pytest.mark.parametrize(
    ("name", "options", "hub_id"),
    [
        ("resnet50", {"stem": "7x7"}, "timm/resnet50.tv_in1k"),
        ("vgg16_bn", {}, "timm/vgg16_bn.tv_in1k"),
    ],
)
def test_timms_weights_come_from_the_hub_or_a_folder(name, options, hub_id, tmp_path, monkeypatch):
    source = build_backbone(BackboneConfig(name, options=options))
    organisation, repository = hub_id.split("/")
    commit = "a" * 40
    cached = tmp_path / f"models--{organisation}--{repository}"  # as the hub's cache lays it out
    (cached / "refs").mkdir(parents=True)
    (cached / "refs/main").write_text(commit)
    snapshot = cached / "snapshots" / commit
    snapshot.mkdir(parents=True)
    save_file(timm_state(source, name), snapshot / "model.safetensors")
    monkeypatch.setattr(hub, "hf_hub_download", partial(hf_hub_download, cache_dir=tmp_path))
    for weights in (hub_id, str(snapshot)):
        loaded = build_backbone(BackboneConfig(name, weights=weights, options=options))
        torch.testing.assert_close(loaded.state_dict(), source.state_dict())


def test_a_folder_without_a_weight_file_is_named(tmp_path):
    with pytest.raises(FcpError, match=r"has no model\.safetensors; give the weight file itself"):
        build_backbone(BackboneConfig("vgg16_bn", weights=str(tmp_path)))


def test_damaged_folder(toy):
    (toy / "model.safetensors").write_bytes(b"{}")
    with pytest.raises(FcpError, match="cannot be loaded"):
        load_model(Dinov2Model, str(toy))


def test_architecture_beside_weights_is_refused(toy):
    for name in ("auto", "mobilenet_v2"):
        with pytest.raises(FcpError, match="bring their own"):
            build_backbone(BackboneConfig(name, weights=str(toy), options={"config": {}}))


def test_loading_is_quiet_and_leaves_the_settings(tmp_path, capfd):
    MobileNetV2Model(MobileNetV2Config()).half().save_pretrained(tmp_path)
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    capfd.readouterr()
    model = load_model(MobileNetV2Model, str(tmp_path))
    assert capfd.readouterr() == ("", "")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
