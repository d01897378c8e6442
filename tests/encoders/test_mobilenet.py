import pytest
import torch
from torch.nn import functional
from transformers import MobileNetV2Config, MobileNetV2ForImageClassification

from fcp.config import BackboneConfig
from fcp.encoders import build_backbone
from fcp.errors import FcpError


@pytest.fixture(scope="module")
def classifier():
    torch.manual_seed(0)
    return MobileNetV2ForImageClassification(MobileNetV2Config()).eval()


@pytest.fixture(scope="module")
def folder(classifier, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mobilenet")
    classifier.half().save_pretrained(folder)
    classifier.float()
    return str(folder)


def on_grid(x):
    return functional.interpolate(x, (8, 8), mode="bilinear", align_corners=False)


@torch.no_grad()
def test_blocks_are_those_of_transformers(classifier, folder, images):
    backbone = build_backbone(BackboneConfig("mobilenet_v2", weights=folder)).eval()
    model = classifier.mobilenet_v2
    hidden = model(images * 2 - 1, output_hidden_states=True).hidden_states  # blocks 1 … 16
    features = backbone(images)
    expected = torch.cat([on_grid(hidden[block - 1]) for block in (5, 12, 14, 16)], 1)
    assert features.mid.dtype == torch.float32
    assert backbone.mid_channels == 32 + 96 + 160 + 320
    torch.testing.assert_close(features.mid, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(features.high, on_grid(hidden[15]), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_block_0_is_the_stems(classifier, folder, images):
    config = BackboneConfig("mobilenet_v2", folder, {"layers": [0], "standardise": False})
    backbone = build_backbone(config).eval()
    expected = on_grid(classifier.mobilenet_v2.conv_stem(images * 2 - 1))
    torch.testing.assert_close(backbone(images).mid, expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_mask_multiplies_block_13(classifier, folder, images, mask):
    backbone = build_backbone(BackboneConfig("mobilenet_v2", weights=folder)).eval()
    plain, masked = backbone(images), backbone(images, mask)
    model = classifier.mobilenet_v2
    x = model(images * 2 - 1, output_hidden_states=True).hidden_states[12]
    inside = torch.zeros(2, 1, 2, 2)
    inside[0, :, 1, 1] = 1  # nearest neighbour reads rows and columns 0 and 32
    inside[1, :, 1, 0] = 1
    x = x * inside
    for block in model.layer[13:]:
        x = block(x)
    assert torch.equal(plain.mid, masked.mid)
    torch.testing.assert_close(masked.high, on_grid(x), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_statistics_standardise_and_are_saved(folder, images):
    backbone = build_backbone(BackboneConfig("mobilenet_v2", weights=folder)).eval()
    raw = backbone(images).mid
    backbone.set_statistics(raw.mean((0, 2, 3)), raw.std((0, 2, 3), correction=0) + 1e-6)
    mid = backbone(images).mid
    assert mid.mean((0, 2, 3)).abs().max() < 1e-3
    again = build_backbone(BackboneConfig("mobilenet_v2")).eval()
    again.load_state_dict(backbone.state_dict())
    torch.testing.assert_close(again(images).mid, mid)


@pytest.mark.parametrize(("stride", "side"), [(32, 2), (16, 4), (8, 8)])
@torch.no_grad()
def test_output_stride_trades_strides_for_dilation(images, stride, side):
    options = {"output_stride": stride}
    backbone = build_backbone(BackboneConfig("mobilenet_v2", options=options)).eval()
    x = images
    for block in backbone.blocks:
        x = block(x)
    assert x.shape[-2:] == (side, side)
    assert backbone(images).mid.shape[-2:] == (8, 8)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"layers": [5, 17]}, "layers: expected ascending block numbers"),
        ({"layers": [12, 5]}, "layers"),
        ({"layers": []}, "layers"),
        ({"output_stride": 4}, "output_stride: expected 8, 16 or 32"),
        ({"config": {"depth_multiplier": "wide"}}, "options.config"),
        ({"depth": 3}, "unknown option 'depth'"),
    ],
)
def test_bad_options(options, complaint):
    with pytest.raises(FcpError, match=complaint):
        build_backbone(BackboneConfig("mobilenet_v2", options=options))
