"""Published backbones against the ones of FCP, which have tests of their own."""

import pytest
import torch
import torch.nn.functional as F

from fcp.encoders.resnet import DilatedResNet
from fcp.encoders.vgg import VGG16
from fcp.errors import FcpError
from fcp.method.stages import Stages, backbone_settings, build_stage_three, build_stages
from fcp.method.trained import build_trained, import_checkpoint


@torch.no_grad()
def test_stages_are_those_of_the_encoder(episode):
    torch.manual_seed(0)
    trunk = DilatedResNet((1, 1, 1, 1), stem="3conv").eval()
    images = episode(57, 1).query_images
    expected, found = trunk(images), Stages(trunk).eval()(images)
    assert torch.equal(found.mid, expected.mid)
    assert torch.equal(found.high, expected.high)


@torch.no_grad()
def test_mask_of_side_8n_plus_1_reaches_stage_4_as_every_eighth_pixel(episode):
    torch.manual_seed(0)
    stages = Stages(DilatedResNet((1, 1, 1, 1), stem="3conv")).eval()
    task = episode(57, 1)
    found = stages(task.query_images, task.query_masks[:, None])
    cells = (task.query_masks[:, None, ::8, ::8] == 1).float()
    expected = stages.layer4(found.mid[:, :1024] * cells)
    torch.testing.assert_close(found.high, expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_vgg_works_on_the_grid_of_stage_3(episode):
    torch.manual_seed(0)
    trunk = VGG16().eval()
    images = episode(64, 1).query_images
    wide, found = trunk(images), Stages(trunk).eval()(images)
    assert found.mid.shape == (1, 768, 4, 4)
    assert found.high.shape == (1, 512, 4, 4)
    small = F.interpolate(wide.mid[:, 512:], (4, 4), mode="bilinear", align_corners=True)
    torch.testing.assert_close(found.mid[:, 512:], small)


def test_vgg_checkpoint_is_known_by_its_names(write_checkpoint, tmp_path):
    torch.manual_seed(0)
    model = build_trained("pfenet", backbone="vgg16_bn")
    state = {n.removeprefix("backbone."): t for n, t in model.state_dict().items() if "layer" in n}
    path = write_checkpoint(tmp_path / "vgg.pth", state)
    with pytest.raises(FcpError, match=r"vgg\.pth: .*: query\.weight is missing"):
        import_checkpoint("pfenet", path)


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        ("vit", "unknown 'vit'; known: resnet50"),
        ({"name": "resnet50", "weights": "w.pth"}, "backbone.weights: no part of this option"),
        ({"options": {}, "size": 3}, "unknown setting 'size'"),
        (3, "expected a mapping"),
    ],
)
def test_a_wrong_backbone_is_refused(backbone, message):
    with pytest.raises(FcpError, match=message):
        build_stages(backbone, None)


MOBILENET = {"name": "mobilenet_v2", "options": {"layers": [5, 12], "standardise": False}}


@pytest.mark.parametrize("method", ["ssp", "pfenet", "bam", "hdmnet", "cyctr"])
@torch.no_grad()
def test_every_method_takes_any_backbone(method, episode):
    widths = {} if method == "ssp" else {"width": 16}
    model = build_trained(method, backbone=MOBILENET, **widths).eval()
    assert model.backbone.mid_channels == 32 + 96
    assert model(episode(64, 1)).logits.shape == (1, 2, 64, 64)


def test_settings_tell_variants_of_equal_weights_apart():
    kinds = [build_stages("resnet50", None, previous_dilation=dilated) for dilated in (True, False)]
    kinds.append(build_stage_three("resnet50", None))
    settings = [backbone_settings(kind, "resnet50") for kind in kinds]
    assert settings[0] != settings[1] != settings[2] != settings[0]
    mobile = build_stages(MOBILENET, None)
    assert backbone_settings(mobile, MOBILENET) == ["mobilenet_v2", MOBILENET["options"]]
