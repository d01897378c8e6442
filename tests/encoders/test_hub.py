import json

import pytest
import torch
from transformers import Dinov2Config, Dinov2Model, MobileNetV2Config, MobileNetV2Model
from transformers.utils import logging

from fcp.config import BackboneConfig, SegmenterConfig
from fcp.encoders import build_backbone, build_segmenter
from fcp.encoders.hub import load_model
from fcp.errors import FcpError

BUILDS = [
    (build_backbone, BackboneConfig, "mobilenet_v2"),
    (build_backbone, BackboneConfig, "auto"),
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
def test_a_hub_that_does_not_answer(build, config, name):
    with pytest.raises(FcpError, match="check the name and the connection") as error:
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
