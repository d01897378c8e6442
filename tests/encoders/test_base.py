"""What the base classes give a backbone and a segmenter that define no more than they must."""

import pytest
import torch
from torch import nn

from fcp.encoders.base import Backbone, PromptableSegmenter
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
