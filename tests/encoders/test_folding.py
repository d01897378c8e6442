import copy

import pytest
import torch
from torch import nn

from fcp.config import BackboneConfig, SegmenterConfig
from fcp.encoders import BACKBONES, build_backbone, build_segmenter
from fcp.encoders.base import Backbone
from fcp.encoders.folding import fold_norms
from fcp.structures import BackboneFeatures

RESNET = {"model_type": "resnet", "embedding_size": 8, "hidden_sizes": [8, 16, 24, 32]}
RESNET |= {"depths": [1, 2, 1, 1]}
OPTIONS = [(name, {}) for name in BACKBONES if name != "auto"] + [
    ("resnet50", {"stem": "7x7"}),
    ("mobilenet_v2", {"output_stride": 8}),
    ("efficientnet_lite", {"size": 0, "output_stride": 16}),
    ("auto", {"config": RESNET}),
]


def norms(module):
    return sum(isinstance(part, nn.BatchNorm2d) for part in module.modules())


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


@pytest.mark.parametrize(("name", "options"), OPTIONS)
@torch.no_grad()
def test_a_folded_backbone_sees_the_same(name, options, images, mask, randomise):
    backbone = build_backbone(BackboneConfig(name, options=options)).eval()
    randomise(backbone)
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    folded = fold_norms(backbone)
    assert norms(backbone) > 0
    assert norms(folded) == 0
    odd = images[:1, :, :61, :53]
    for given in (None, mask[:1, :, :61, :53]):
        expected, found = backbone(odd, given), folded(odd, given)
        close(found.mid, expected.mid)
        close(found.high, expected.high)
    after = backbone.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[key], value) for key, value in before.items())


@torch.no_grad()
def test_a_folded_tiny_segmenter_sees_the_same(images, randomise):
    options = {"width": 16, "image_size": 64, "decoder_width": 16}
    segmenter = build_segmenter(SegmenterConfig("tiny", options=options)).eval()
    randomise(segmenter)
    folded = fold_norms(segmenter)
    assert norms(segmenter) > 0
    assert norms(folded) == 0
    expected, found = segmenter.encode(images), folded.encode(images)
    for one, other in zip(
        (found.image, *found.high_resolution),
        (expected.image, *expected.high_resolution),
        strict=True,
    ):
        close(one, other)


def test_without_batch_norms_nothing_is_copied(sam_configs):
    config = SegmenterConfig("sam", options={"config": sam_configs["sam"]})
    segmenter = build_segmenter(config).eval()
    assert fold_norms(segmenter) is segmenter


class NormFirst(Backbone):
    """Lists the convolution before the norm, and uses the norm before the convolution."""

    mid_channels = high_channels = 3

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(3, 3, 1)
        self.norm = nn.BatchNorm2d(3)

    def forward(self, images, mask=None):
        maps = self.convolution(self.norm(images).relu())
        return BackboneFeatures(mid=maps, high=maps)


def test_a_backbone_of_another_order_stays_as_it_is(randomise):
    backbone = NormFirst().eval()
    randomise(backbone)
    assert fold_norms(backbone) is backbone


def test_training_goes_on_as_if_nothing_was_folded(randomise):
    backbone = build_backbone(BackboneConfig("efficientnet_lite", options={"size": 0})).eval()
    randomise(backbone)
    twin = copy.deepcopy(backbone)
    fold_norms(backbone)
    for one in (backbone, twin):
        one.train()(torch.linspace(0, 1, 2 * 3 * 64 * 64).view(2, 3, 64, 64)).mid.sum().backward()
    pairs = zip(backbone.parameters(), twin.parameters(), strict=True)
    assert all(a.grad is None or torch.equal(a.grad, b.grad) for a, b in pairs)
    assert torch.equal(backbone._bn0.running_mean, twin._bn0.running_mean)
