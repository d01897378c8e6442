"""A compared method behind the segmenter: the same as its own doors; its support in a file."""

import numpy as np
import pytest
import torch
from noise import mask, photo

from fcp.inference.networks.trained import TrainedNetwork
from fcp.inference.segmenter import FewShotSegmenter
from fcp.inference.support import Support
from fcp.method.trained import build_trained


def test_examples_joined_one_by_one_are_those_of_the_method_itself(pfenet):
    pictures, masks = torch.rand(1, 3, 3, 64, 64), torch.zeros(1, 3, 64, 64)
    for shot in range(3):
        masks[:, shot, 8 * shot : 30 + 8 * shot, 16:40] = 1
    photos = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        shown = [pfenet.show(pictures[0, k], masks[0, k]) for k in range(3)]
        support = pfenet.join(shown, "pooled")
        answer = pfenet.match(support, pfenet.query(photos))
        own = pfenet.model.match(
            pfenet.model.encode_support(pictures, masks), pfenet.model.encode_query(photos)
        )
    torch.testing.assert_close(answer.logits, own.mask_logits, atol=1e-5, rtol=1e-5)
    assert answer.conventional_mask.shape == (2, 8, 8)
    assert answer.presence is None


OPTIONS = {
    "ssp": {"trained": ["first."], "refine": True},
    "pfenet": {"width": 8, "bins": [4, 0.5]},
    "bam": {"width": 8, "base_classes": 3, "learner_width": 4, "shots": 2},
    "hdmnet": {"width": 8, "base_classes": 3, "learner_width": 4, "shots": 2},
    "cyctr": {"width": 16, "keys_per_shot": 8},
}


@pytest.mark.parametrize("fusion", TrainedNetwork.fusions)
@pytest.mark.parametrize("method", OPTIONS)
def test_the_methods_own_rule_joins_examples_whatever_the_fusion(method, fusion, small_backbone):
    torch.manual_seed(0)
    options = {"backbone": small_backbone, **OPTIONS[method]}
    model = build_trained(method, **options).eval()
    own = TrainedNetwork(model, method=method, options=options, image_size=64)
    pictures, masks = torch.rand(1, 2, 3, 64, 64), torch.zeros(1, 2, 64, 64)
    masks[:, 0, 8:40, 16:40] = 1
    masks[:, 1, 30:60, 16:60] = 1
    photos = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        together = model.encode_support(pictures, masks)
        expected = model.match(together, model.encode_query(photos)).mask_logits
        joined = own.join([own.show(pictures[0, k], masks[0, k]) for k in range(2)], fusion)
        found = own.match(joined, own.query(photos)).logits
        first = own.match(
            own.join([own.show(pictures[0, 0], masks[0, 0])], fusion), own.query(photos)
        )
    weight = (first.logits - found).abs().max()  # of the second example
    assert (found - expected).abs().max() < weight / 10


def test_presence_compares_the_mid_level_map(pfenet):
    image, marked = torch.rand(3, 64, 64), torch.zeros(64, 64)
    marked[8:40, 16:48] = 1  # whole cells of 8 px
    with torch.inference_mode():
        seen = pfenet.see(image, marked)
        known = pfenet.known(pfenet.join([seen.shown], "mean"))
        units = pfenet.cells(seen.query).units[0]
    inside = marked.view(8, 8, 8, 8).mean((1, 3)).flatten() > 0.5
    torch.testing.assert_close(known.means[0], units[:, inside].mean(1), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(known.means[1], units[:, ~inside].mean(1), atol=1e-5, rtol=1e-4)


def test_it_serves_the_segmenter_and_its_support_a_file(pfenet, tmp_path):
    segmenter = FewShotSegmenter(pfenet, device="cpu")
    task = {"cat": [(photo(0), mask()), (photo(1), mask())], "dog": [(photo(2), mask(30))]}
    support = segmenter.encode(task, negatives=[(photo(3), mask())], tile=40, checks=True)
    support.save(tmp_path / "it.safetensors")
    again = Support.load(tmp_path / "it.safetensors")
    expected = segmenter.predict(photo(4), support=support)
    assert np.array_equal(segmenter.predict(photo(4), support=again).labels, expected.labels)
    assert list(support.quality) == ["cat"]
    assert segmenter.network.promptable is None


def test_every_setting_changes_the_fingerprint(pfenet):
    def made(**changed):
        settings = {"method": "pfenet", "options": {"bins": [8, 4]}, "image_size": 64} | changed
        return TrainedNetwork(pfenet.model, **settings).fingerprint

    assert made() == pfenet.fingerprint
    changes = ({"method": "ssp"}, {"options": {}}, {"image_size": 72})
    assert len({made(), *(made(**one) for one in changes)}) == 4
