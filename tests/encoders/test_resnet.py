import pytest
import torch
from torch.nn import functional
from transformers import ResNetConfig, ResNetModel

from fcp.config import BackboneConfig
from fcp.encoders import build_backbone
from fcp.encoders.resnet import DilatedResNet
from fcp.errors import FcpError

BLOCKS = (2, 1, 3, 2)


@pytest.fixture
def backbone(randomise):
    def make(stem):
        backbone = DilatedResNet(BLOCKS, stem=stem)
        randomise(backbone)
        return backbone.eval()

    return make


def reference(state):
    """Another library's ResNet with the 7×7 stem and the same weights, dilated from outside."""
    model = ResNetModel(ResNetConfig(depths=list(BLOCKS))).eval()
    renamed = {}
    for name, tensor in state.items():
        stage, rest = name.split(".", 1)
        for part, place in (("0.", "convolution."), ("1.", "normalization.")):
            if stage == "layer0" and rest.startswith(part):
                renamed["embedder.embedder." + place + rest.removeprefix(part)] = tensor
        if stage != "layer0":
            name = f"encoder.stages.{int(stage[-1]) - 1}.layers." + rest
            for index in (1, 2, 3):
                name = name.replace(f".conv{index}.", f".layer.{index - 1}.convolution.")
                name = name.replace(f".bn{index}.", f".layer.{index - 1}.normalization.")
            name = name.replace(".downsample.0.", ".shortcut.convolution.")
            renamed[name.replace(".downsample.1.", ".shortcut.normalization.")] = tensor
    model.load_state_dict(renamed)
    for stage, dilation in ((2, 2), (3, 4)):
        for block in model.encoder.stages[stage].layers:
            middle = block.layer[1].convolution
            middle.stride, middle.dilation, middle.padding = (
                (1, 1),
                (dilation,) * 2,
                (dilation,) * 2,
            )
            if hasattr(block.shortcut, "convolution"):
                block.shortcut.convolution.stride = (1, 1)
    return model


@torch.no_grad()
def test_stages_match_another_library(backbone, images):
    ours = backbone("7x7")
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    pixels = (images - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    hidden = reference(ours.state_dict())(pixels, output_hidden_states=True).hidden_states
    features = ours(images)
    torch.testing.assert_close(
        features.mid, torch.cat([hidden[3], hidden[2]], 1), rtol=1e-4, atol=1e-4
    )
    torch.testing.assert_close(features.high, hidden[4], rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_three_conv_stem_is_what_its_names_say(backbone, images):
    ours = backbone("3conv")
    state = ours.state_dict()
    x = images
    for conv, norm, stride in ((0, 1, 2), (3, 4, 1), (6, 7, 1)):
        x = functional.conv2d(x, state[f"layer0.{conv}.weight"], stride=stride, padding=1)
        entries = ("running_mean", "running_var", "weight", "bias")
        x = functional.batch_norm(x, *(state[f"layer0.{norm}.{entry}"] for entry in entries))
        x = functional.relu(x)
    expected = functional.max_pool2d(x, 3, stride=2, padding=1)
    assert expected.shape == (2, 128, 16, 16)
    torch.testing.assert_close(ours.layer0(images), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("side", "grid"), [(64, 8), (104, 13), (100, 13)])
@torch.no_grad()
def test_one_stride_8_grid(backbone, side, grid):
    features = backbone("3conv")(torch.rand(1, 3, side, side))
    assert features.mid.shape == (1, 1536, grid, grid)
    assert features.high.shape == (1, 2048, grid, grid)


@torch.no_grad()
def test_mask_changes_the_last_stage_alone(backbone, images, mask):
    ours = backbone("3conv")
    plain, masked = ours(images), ours(images, mask)
    assert torch.equal(plain.mid, masked.mid)
    stage3 = plain.mid[:, :1024]
    on_grid = torch.zeros(2, 1, 8, 8)
    on_grid[0, :, 1:5, 2:7] = 1
    on_grid[1, :, 4, 2] = 1  # the pixel's own cell, although nearest neighbour misses it
    torch.testing.assert_close(masked.high, ours.layer4(stage3 * on_grid))


def torchvision_names(state):
    """Names of torchvision's and PSPNet's files: the stem's parts stand at the top."""
    stem = {0: "conv1", 1: "bn1", 3: "conv2", 4: "bn2", 6: "conv3", 7: "bn3"}
    renamed = {"fc.weight": torch.ones(1000, 2048), "fc.bias": torch.ones(1000)}
    for name, tensor in state.items():
        part, index, *rest = name.split(".")
        renamed[".".join([stem[int(index)], *rest]) if part == "layer0" else name] = tensor
    return renamed


@pytest.mark.parametrize("stem", ["3conv", "7x7"])
@pytest.mark.parametrize("style", ["own", "torchvision", "parallel", "old"])
def test_published_key_names_load(tmp_path, randomise, stem, style):
    options = {"stem": stem}
    source = build_backbone(BackboneConfig("resnet50", options=options))
    randomise(source)
    state = source.state_dict() if style == "own" else torchvision_names(source.state_dict())
    if style == "parallel":
        state = {"epoch": 1, "state_dict": {f"module.{k}": v for k, v in state.items()}}
    if style == "old":
        state = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "resnet.pth")
    loaded = build_backbone(
        BackboneConfig("resnet50", weights=str(tmp_path / "resnet.pth"), options=options)
    )
    torch.testing.assert_close(loaded.state_dict(), source.state_dict())


def test_wrong_files_are_named(tmp_path):
    path = tmp_path / "resnet.pth"
    wide = build_backbone(BackboneConfig("resnet50", options={"stem": "7x7"}))
    torch.save(torchvision_names(wide.state_dict()), path)
    with pytest.raises(FcpError, match=r"resnet\.pth: has the 7x7 stem; .*stem: 7x7"):
        build_backbone(BackboneConfig("resnet50", weights=str(path)))
    with pytest.raises(FcpError, match=r"resnet\.pth.*layer3\.6\.conv1\.weight is missing"):
        build_backbone(BackboneConfig("resnet101", weights=str(path), options={"stem": "7x7"}))
    with pytest.raises(FcpError, match="stem: expected one of 3conv, 7x7"):
        build_backbone(BackboneConfig("resnet50", options={"stem": "5x5"}))
