"""A 1×1 convolution is a matrix product."""

import torch
import torch.nn.functional as F

from fcp.layers.pointwise import Pointwise


def test_equals_a_convolution():
    layer, maps = Pointwise(6, 4), torch.randn(2, 6, 3, 5)
    expected = F.conv2d(maps, layer.weight[:, :, None, None])
    torch.testing.assert_close(layer(maps.flatten(2)), expected.flatten(2))


def test_starts_as_torchs_convolution_does():
    torch.manual_seed(0)
    layer = Pointwise(6, 4)
    torch.manual_seed(0)
    assert torch.equal(layer.weight, torch.nn.Conv2d(6, 4, 1, bias=False).weight[:, :, 0, 0])
