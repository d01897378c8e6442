"""Examples as the model keeps them: a closer cut of a small object is one more."""

import numpy as np
import pytest
import torch

from fcp import FewShotSegmenter
from fcp.inference.encoding import encode_examples


def example(side):
    rng = np.random.default_rng(0)
    mask = np.zeros((300, 400), bool)
    mask[50 : 50 + side, 50 : 50 + side] = True
    return rng.integers(0, 256, (300, 400, 3), dtype=np.uint8), mask


@pytest.fixture(scope="module")
def segmenter():
    return FewShotSegmenter.from_pretrained("small", device="cpu")


@pytest.mark.parametrize(
    ("sides", "tile", "fusion", "shots"),
    [
        ((40,), None, "pooled", 2),
        ((200,), None, "pooled", 1),
        ((40, 200), None, "pooled", 3),
        ((40,), 96, "pooled", 1),
        ((40,), None, "mean", 1),
    ],
)
def test_small_objects_are_shown_a_second_time(segmenter, sides, tile, fusion, shots):
    with torch.inference_mode():
        support = encode_examples(
            segmenter.network, [example(side) for side in sides], tile, fusion
        )
    assert support.grid_mask.shape[1] == shots
