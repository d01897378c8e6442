"""The split guidance against the convolution of the concatenated tensor."""

import pytest
import torch
import torch.nn.functional as F

from fcp.method.fcp.prototypes.guidance import GuidedFeature

CIN, C, H, W = 6, 4, 3, 5


def plain_guide(feature, projected, mean, mask):
    """ReLU(Conv1x1(concat(X, p expanded, 10·M))), all (B, ·, h, w)."""
    stacked = torch.cat([projected, mean[:, :, None, None].expand_as(projected), 10 * mask], 1)
    return F.relu(F.conv2d(stacked, feature.merge.weight[:, :, None, None]))


def plain_project(feature, maps):
    return F.relu(F.conv2d(maps, feature.project[0].weight[:, :, None, None]))


@pytest.mark.parametrize("mean_of_projected", [True, False])
def test_support_equals_the_plain_form(mean_of_projected):
    cin = CIN if mean_of_projected else C  # G comes in with C channels
    feature = GuidedFeature(cin, C, dropout=0.5, mean_of_projected=mean_of_projected).eval()
    maps, mask = torch.randn(2, cin, H, W), (torch.rand(2, 1, H, W) > 0.4).float()
    projected = plain_project(feature, maps)
    averaged = projected if mean_of_projected else maps
    mean = (averaged * mask).sum((2, 3)) / (mask.sum((2, 3)) + 5e-4)
    guided, found_mean = feature.guide_support(maps.flatten(2), mask.flatten(1).bool())
    torch.testing.assert_close(found_mean, mean)
    expected = plain_guide(feature, projected, mean, mask).flatten(2)
    torch.testing.assert_close(guided, expected, atol=1e-5, rtol=1e-5)


def test_query_shares_its_part_between_shots():
    feature = GuidedFeature(CIN, C, dropout=0.5, mean_of_projected=True).eval()
    maps, means, masks = torch.randn(2, CIN, H, W), torch.randn(2, 3, C), torch.rand(2, 3, H * W)
    share = feature.query_share(maps.flatten(2))
    found = feature.guide(share[:, None], feature.bias(means), masks)
    for k in range(3):
        mask = masks[:, k].view(2, 1, H, W)
        expected = plain_guide(feature, plain_project(feature, maps), means[:, k], mask)
        torch.testing.assert_close(found[:, k], expected.flatten(2), atol=1e-5, rtol=1e-5)


def test_dropout_takes_whole_channels_and_only_in_training():
    feature = GuidedFeature(CIN, C, dropout=0.5, mean_of_projected=True)
    with torch.no_grad():
        feature.project[0].weight.abs_()
    cells = torch.rand(64, CIN, 7) + 0.1
    dropped = feature.project(cells) == 0
    assert torch.equal(dropped.all(2), dropped.any(2))
    assert 0.3 < dropped.float().mean() < 0.7
    assert not (feature.eval().project(cells) == 0).any()
