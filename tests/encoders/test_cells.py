"""Cells of a ViT before and after its final norm, on its own grid; and of our backbones."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional
from transformers import (
    Dinov2Config,
    Dinov2Model,
    DINOv3ViTConfig,
    DINOv3ViTModel,
    ViTConfig,
    ViTModel,
)

from fcp.encoders.cells import BackboneCells, build_cells
from fcp.encoders.mobilenet import build_mobilenet_v2

SIZES = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2}
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


def normalised(images):
    return (images - MEAN.view(3, 1, 1)) / STD.view(3, 1, 1)


def as_map(tokens, side):
    return tokens.transpose(1, 2).reshape(len(tokens), -1, side, side)


def saved(model, randomise, folder):
    randomise(model)
    model.eval().save_pretrained(folder)
    return str(folder)


@torch.no_grad()
def test_dinov2_before_and_after_its_final_norm(tmp_path, randomise, images):
    model = Dinov2Model(Dinov2Config(**SIZES, image_size=70, patch_size=14))
    folder = saved(model, randomise, tmp_path)
    resized = functional.interpolate(images, (70, 70), mode="bilinear", antialias=True)
    out = model(normalised(resized), output_hidden_states=True)
    after = build_cells(folder, image_size=70, final_norm=True).eval()
    before = build_cells(folder, image_size=75, final_norm=False).eval()
    assert (after.image_size, before.image_size, after.channels) == (70, 70, 24)
    for encoder, tokens in ((after, out.last_hidden_state), (before, out.hidden_states[-1])):
        torch.testing.assert_close(encoder(images), as_map(tokens[:, 1:], 5), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        model.layernorm(out.hidden_states[-1]), out.last_hidden_state, rtol=1e-4, atol=1e-5
    )
    assert not torch.allclose(after(images), before(images))


@torch.no_grad()
def test_dinov3_without_class_token_and_registers(tmp_path, randomise, images):
    model = DINOv3ViTModel(
        DINOv3ViTConfig(**SIZES, intermediate_size=32, patch_size=16, num_register_tokens=4)
    )
    encoder = build_cells(saved(model, randomise, tmp_path), image_size=64, final_norm=True).eval()
    expected = model(normalised(images)).last_hidden_state[:, 5:]
    torch.testing.assert_close(encoder(images), as_map(expected, 4), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_plain_vit_leaves_its_trained_size(tmp_path, randomise, images):
    model = ViTModel(ViTConfig(**SIZES, intermediate_size=32, image_size=32, patch_size=8))
    encoder = build_cells(saved(model, randomise, tmp_path), image_size=64, final_norm=True).eval()
    expected = model(normalised(images), interpolate_pos_encoding=True).last_hidden_state[:, 1:]
    torch.testing.assert_close(encoder(images), as_map(expected, 8), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_our_backbones_give_their_mid_level_map(images):
    backbone = build_mobilenet_v2(None).eval()
    encoder = BackboneCells(backbone, image_size=60)
    assert (encoder.image_size, encoder.channels) == (64, backbone.mid_channels)
    torch.testing.assert_close(encoder(images), backbone(images).mid)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["convnext", "swin"])
def test_hierarchical_backbones_are_taken_too(images, kind):
    sizes = {
        "convnext": {"hidden_sizes": [8, 12, 16, 24], "depths": [1, 1, 1, 1]},
        "swin": {
            "embed_dim": 8,
            "depths": [1, 1, 1, 1],
            "num_heads": [1, 1, 2, 2],
            "window_size": 4,
            "image_size": 64,
        },
    }
    encoder = build_cells(
        None, image_size=64, final_norm=True, config={"model_type": kind, **sizes[kind]}
    ).eval()
    assert isinstance(encoder, BackboneCells)
    assert encoder(images).shape == (2, encoder.channels, 8, 8)
