"""What the base classes give a backbone and a segmenter that define no more than they must."""

import pytest
import torch
from torch import nn

from fcp.config import BackboneConfig
from fcp.encoders import build_backbone
from fcp.encoders.base import Backbone, PromptableSegmenter, SharingBackbone
from fcp.errors import FcpError
from fcp.structures import BackboneFeatures


class Doubling(Backbone):
    """Mid-level map: the picture itself and its double, or both as levels of their own."""

    mid_channels, high_channels = 6, 3

    def __init__(self, *, levels=False):
        super().__init__()
        self.level_channels = (3, 3) if levels else ()
        self.keep_statistics()

    def forward(self, images, mask=None):
        levels = (images, 2 * images[..., ::2, ::2]) if self.level_channels else ()
        mid = self.standardised(torch.cat([images, 2 * images], 1))
        return BackboneFeatures(mid=mid, high=images, levels=levels)


def test_fitted_statistics_bring_the_channels_to_mean_0_and_deviation_1():
    torch.manual_seed(0)
    backbone, pictures = Doubling().train(), [torch.rand(1, 3, 8, 8) for _ in range(5)]
    backbone.fit_statistics(picture for picture in pictures)
    assert not backbone.training  # norms must not learn from what is measured
    mids = torch.cat([backbone(picture).mid for picture in pictures])
    torch.testing.assert_close(mids.mean((0, 2, 3)), torch.zeros(6), atol=1e-5, rtol=0)
    torch.testing.assert_close(mids.std((0, 2, 3)), torch.ones(6))
    assert {"mid_mean", "mid_std"} <= set(backbone.state_dict())


def test_levels_are_measured_each_on_its_own_grid():
    torch.manual_seed(0)
    backbone, pictures = Doubling(levels=True), [torch.rand(1, 3, 8, 8) for _ in range(5)]
    backbone.fit_statistics(pictures)
    coarse = 2 * torch.cat(pictures)[..., ::2, ::2]
    torch.testing.assert_close(backbone.mid_mean[3:], coarse.mean((0, 2, 3)))
    torch.testing.assert_close(backbone.mid_std[3:], coarse.std((0, 2, 3)))


class Silent(PromptableSegmenter):
    """A segmenter without any training of its own."""

    width = 4
    encode = decode = embed_prompts = nn.Module.forward


def test_a_segmenter_cannot_start_unless_it_says_so(tmp_path):
    with pytest.raises(FcpError, match=r"cannot start from the weights .*start\.safetensors"):
        Silent().load_start(tmp_path / "start.safetensors")


class Pooled(SharingBackbone):
    """Mid-level map: the picture; high-level map: its mean over the cells, on each of them."""

    mid_channels = high_channels = 3

    def __init__(self):
        super().__init__()
        self.asked = 0

    def whole(self, images):
        self.asked += 1
        return BackboneFeatures(mid=images, high=self.pooled(images)), images

    def under(self, mask, stage_input):
        return self.pooled(stage_input * mask)

    @staticmethod
    def pooled(x):
        return x.mean((2, 3), keepdim=True).expand_as(x)


def test_an_example_is_encoded_once_where_the_backbone_can():
    torch.manual_seed(0)
    pictures, masks = torch.rand(2, 3, 8, 8), (torch.rand(2, 1, 8, 8) > 0.5).float()
    backbone = Pooled()
    query, support = backbone.both(pictures, masks)
    assert backbone.asked == 1
    torch.testing.assert_close(query.high[0, :, 3, 4], pictures[0].mean((1, 2)))
    torch.testing.assert_close(support.high[1, :, 0, 0], (pictures[1] * masks[1]).mean((1, 2)))
    for one, alone in ((query, backbone(pictures)), (support, backbone(pictures, masks))):
        assert torch.equal(one.mid, alone.mid)
        assert torch.equal(one.high, alone.high)


def test_another_backbone_is_asked_twice():
    pictures, masks = torch.rand(1, 3, 8, 8), torch.ones(1, 1, 8, 8)
    given = []

    class Watched(Doubling):
        def forward(self, images, mask=None):
            given.append(mask)
            return super().forward(images, mask)

    Watched().both(pictures, masks)
    assert [mask is None for mask in given] == [True, False]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("efficientnet_lite", {"size": 0, "output_stride": 16}),
        ("mobilenet_v2", {}),
        ("resnet50", {}),
        ("vgg16_bn", {}),
    ],
)
def test_both_answers_of_a_published_backbone_are_its_two(name, options):
    torch.manual_seed(0)
    backbone = build_backbone(BackboneConfig(name=name, options=options)).eval()
    pictures, masks = torch.rand(1, 3, 64, 64), torch.zeros(1, 1, 64, 64)
    masks[..., 20:50, 10:40] = 1
    with torch.inference_mode():
        query, support = backbone.both(pictures, masks)
        assert not torch.equal(query.high, support.high)
        for one, alone in ((query, backbone(pictures)), (support, backbone(pictures, masks))):
            assert torch.equal(one.mid, alone.mid)
            assert torch.equal(one.high, alone.high)
            assert all(map(torch.equal, one.levels, alone.levels))
