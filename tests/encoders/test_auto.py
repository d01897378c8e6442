import pytest
import torch
from torch.nn import functional
from transformers import (
    ConvNextConfig,
    ConvNextForImageClassification,
    Dinov2Config,
    Dinov2Model,
    DINOv3ViTConfig,
    DINOv3ViTModel,
    ViTConfig,
    ViTModel,
)

from fcp.config import BackboneConfig
from fcp.encoders import build_backbone
from fcp.encoders.pixels import IMAGENET_MEAN, IMAGENET_STD
from fcp.errors import FcpError

SIZES = {"hidden_size": 24, "num_hidden_layers": 4, "num_attention_heads": 2}


def normalised(images):
    mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
    return (images - mean.view(3, 1, 1)) / std.view(3, 1, 1)


def on_grid(x):
    return functional.interpolate(x, (8, 8), mode="bilinear", align_corners=False)


def as_map(tokens, side):
    return tokens.transpose(1, 2).reshape(len(tokens), -1, side, side)


def saved(model, randomise, folder):
    randomise(model)
    model.eval().save_pretrained(folder)
    return str(folder)


@torch.no_grad()
def test_dinov2_runs_at_a_multiple_of_its_patch(tmp_path, randomise, images):
    model = Dinov2Model(Dinov2Config(**SIZES, image_size=28, patch_size=14))
    backbone = build_backbone(BackboneConfig("auto", saved(model, randomise, tmp_path))).eval()
    resized = functional.interpolate(images, (70, 70), mode="bilinear", antialias=True)
    hidden = model(normalised(resized), output_hidden_states=True).hidden_states
    maps = [on_grid(as_map(model.layernorm(hidden[layer])[:, 1:], 5)) for layer in (2, 3, 4)]
    features = backbone(images)
    torch.testing.assert_close(features.mid, torch.cat(maps[:2], 1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(features.high, maps[2], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_dinov3_leaves_its_registers_out(tmp_path, randomise, images):
    model = DINOv3ViTModel(
        DINOv3ViTConfig(**SIZES, intermediate_size=32, patch_size=8, num_register_tokens=4)
    )
    config = BackboneConfig("auto", saved(model, randomise, tmp_path), {"layers": [1, 3]})
    features = build_backbone(config).eval()(images)
    out = model(normalised(images), output_hidden_states=True)
    assert features.mid.shape == (2, 48, 8, 8)
    torch.testing.assert_close(
        features.high, as_map(out.last_hidden_state[:, 5:], 8), rtol=1e-4, atol=1e-5
    )


@torch.no_grad()
def test_a_plain_vit_runs_at_its_own_size(tmp_path, randomise, images):
    model = ViTModel(ViTConfig(**SIZES, intermediate_size=32, image_size=32, patch_size=8))
    options = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
    config = BackboneConfig("auto", saved(model, randomise, tmp_path), options)
    features = build_backbone(config).eval()(images)
    resized = functional.interpolate(images, (32, 32), mode="bilinear", antialias=True)
    hidden = model(resized * 2 - 1, output_hidden_states=True).hidden_states
    expected = torch.cat([on_grid(as_map(hidden[layer][:, 1:], 4)) for layer in (2, 3)], 1)
    torch.testing.assert_close(features.mid, expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_classifier_gives_stages_2_to_4(tmp_path, randomise, images, mask):
    model = ConvNextForImageClassification(
        ConvNextConfig(hidden_sizes=[8, 12, 16, 24], depths=[1, 1, 1, 1])
    )
    backbone = build_backbone(BackboneConfig("auto", saved(model, randomise, tmp_path))).eval()
    plain, masked = backbone(images), backbone(images, mask)
    assert (backbone.mid_channels, backbone.high_channels) == (12 + 16, 24)
    assert plain.mid.shape == (2, 28, 8, 8)
    assert torch.equal(plain.mid, masked.mid)
    inside = torch.zeros(2, 1, 8, 8)
    inside[0, :, 1:5, 2:7] = 1
    inside[1, :, 4, 2] = 1
    torch.testing.assert_close(masked.high, plain.high * inside)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({}, "give a hub id or folder, or options.config"),
        ({"config": {"model_type": "nonsense"}}, "transformers has no 'nonsense'"),
        ({"config": {"model_type": "bert"}}, "bert: neither a backbone nor a ViT"),
        ({"config": {"model_type": "dinov2", **SIZES}, "layers": [2, 4]}, "layers: expected"),
    ],
)
def test_bad_options(options, complaint):
    with pytest.raises(FcpError, match=complaint):
        build_backbone(BackboneConfig("auto", options=options))
