import subprocess
import sys

import pytest
import torch

from fcp.config import BackboneConfig, SegmenterConfig
from fcp.encoders import BACKBONES, SEGMENTERS, build_backbone, build_segmenter
from fcp.errors import FcpError

DINO = {
    "model_type": "dinov2",
    "hidden_size": 24,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "image_size": 28,
}


@pytest.mark.parametrize("name", BACKBONES)
@torch.no_grad()
def test_every_backbone_keeps_the_contract(name, images, mask):
    options = {"config": DINO} if name == "auto" else {}
    backbone = build_backbone(BackboneConfig(name, options=options)).eval()
    plain, masked = backbone(images), backbone(images, mask)
    assert plain.mid.shape == (2, backbone.mid_channels, 8, 8)
    assert plain.high.shape == (2, backbone.high_channels, 8, 8)
    assert torch.equal(plain.mid, masked.mid)
    assert not torch.equal(plain.high, masked.high)
    assert masked.high.isfinite().all()
    everything = backbone(images, torch.ones_like(mask))
    torch.testing.assert_close(everything.high, plain.high)
    assert not any("mean" in key for key in backbone.normalise.state_dict())


@pytest.mark.parametrize("name", SEGMENTERS)
@torch.no_grad()
def test_every_segmenter_keeps_the_contract(name, images, sam_configs):
    options = {} if name == "tiny" else {"config": sam_configs[name]}
    segmenter = build_segmenter(SegmenterConfig(name, options=options)).eval()
    embedding = segmenter.encode(images)
    height, width = embedding.image.shape[-2:]
    assert embedding.image.shape == (2, segmenter.width, height, width)
    prompts, wanted = segmenter.embed_prompts(boxes=torch.tensor([[0.1, 0.1, 0.6, 0.5]] * 2))
    assert prompts.shape[0::2] == (2, segmenter.width)
    for mask_prompt in (None, wanted, torch.randn(2, 1, 7, 7)):
        decoded = segmenter.decode(embedding, prompts, mask_prompt)
        assert decoded.logits.shape == (2, 4 * height, 4 * width)
        assert decoded.iou.shape == (2,)
        assert decoded.logits.isfinite().all()


def test_unknown_names_and_options_are_listed():
    with pytest.raises(FcpError, match=r"backbone\.name: unknown 'resnet18'; known: resnet50, "):
        build_backbone(BackboneConfig("resnet18"))
    with pytest.raises(FcpError, match=r"segmenter\.name: unknown 'sam9'; known: sam, "):
        build_segmenter(SegmenterConfig("sam9"))
    with pytest.raises(FcpError, match="'resnet50': unknown option 'depth'; known: stem"):
        build_backbone(BackboneConfig("resnet50", options={"depth": 50}))
    with pytest.raises(FcpError, match="'vgg16_bn': unknown option 'depth'; known: none"):
        build_backbone(BackboneConfig("vgg16_bn", options={"depth": 50}))


def test_importing_the_registry_is_light():
    code = "import sys, fcp.encoders; print({'torch', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
