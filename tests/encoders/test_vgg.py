import pytest
import torch
from torch import nn
from torch.nn import functional

from fcp.config import BackboneConfig
from fcp.encoders import build_backbone
from fcp.errors import FcpError


def torchvision_features():
    """``features`` of VGG-16-BN, spelled out from its published layout "D"."""
    layers, inputs = [], 3
    for width in [64, 64, "M", 128, 128, "M", *[256] * 3, "M", *[512] * 3, "M", *[512] * 3, "M"]:
        if width == "M":
            layers.append(nn.MaxPool2d(2, 2))
        else:
            layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
            inputs = width
    return nn.Sequential(*layers).eval()


@pytest.fixture
def features(randomise):
    features = torchvision_features()
    randomise(features)
    return features


@pytest.fixture
def backbone(features, tmp_path):
    state = {f"features.{name}": tensor for name, tensor in features.state_dict().items()}
    state["classifier.0.weight"] = torch.ones(2, 2)
    torch.save(state, tmp_path / "vgg16_bn.pth")
    config = BackboneConfig("vgg16_bn", weights=str(tmp_path / "vgg16_bn.pth"))
    return build_backbone(config).eval()


@torch.no_grad()
def test_stages_match_torchvisions_layout(features, backbone, images, mask):
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    stage2 = features[:24]((images - mean.view(3, 1, 1)) / std.view(3, 1, 1))
    stage3 = features[24:34](stage2)

    def on_grid(x):
        return functional.interpolate(x, (8, 8), mode="bilinear", align_corners=True)

    plain, masked = backbone(images), backbone(images, mask)
    expected = torch.cat([on_grid(stage3), stage2], 1)
    torch.testing.assert_close(plain.mid, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(plain.high, on_grid(features[34:43](stage3)), rtol=1e-4, atol=1e-4)
    inside = torch.zeros(2, 1, 4, 4)
    inside[0, :, 1:3, 1:4] = 1  # rows 16, 32 and columns 16, 32, 48 of the box
    inside[1, :, 2, 1] = 1
    expected = on_grid(features[34:43](stage3 * inside))
    assert torch.equal(plain.mid, masked.mid)
    torch.testing.assert_close(masked.high, expected, rtol=1e-4, atol=1e-4)


def test_own_names_load_and_wrong_files_are_named(backbone, tmp_path):
    path = tmp_path / "own.pth"
    torch.save(backbone.state_dict(), path)
    again = build_backbone(BackboneConfig("vgg16_bn", weights=str(path)))
    torch.testing.assert_close(again.state_dict(), backbone.state_dict())
    torch.save({"features.0.weight": torch.ones(64, 3, 3, 3)}, path)
    with pytest.raises(FcpError, match=r"own\.pth.*layer0\.0\.bias is missing"):
        build_backbone(BackboneConfig("vgg16_bn", weights=str(path)))
