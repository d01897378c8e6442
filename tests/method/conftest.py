"""Toy encoders with random weights, and episodes to run the methods on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from fcp.config import SegmenterConfig
from fcp.encoders import build_segmenter
from fcp.encoders.base import PromptableSegmenter
from fcp.encoders.cells import CellEncoder, build_cells
from fcp.structures import Episode

DINO = {
    "model_type": "dinov2",
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 112,
    "patch_size": 14,
}


@pytest.fixture(scope="session")
def toy_segmenter() -> PromptableSegmenter:
    torch.manual_seed(1)
    options = {"width": 32, "image_size": 64, "decoder_width": 32}
    return build_segmenter(SegmenterConfig("tiny", options=options)).eval()


@pytest.fixture(scope="session")
def toy_cells() -> Callable[..., CellEncoder]:
    def build(**settings: Any) -> CellEncoder:
        torch.manual_seed(0)
        return build_cells(
            None, config=DINO, **{"image_size": 112, "final_norm": True} | settings
        ).eval()

    return build


@pytest.fixture
def episode() -> Episode:
    """Two tasks of two shots; a red square on noise, elsewhere in the query."""
    generator = torch.Generator().manual_seed(0)

    def scene(top: int, left: int) -> tuple[Tensor, Tensor]:
        image, mask = 0.3 * torch.rand(3, 72, 96, generator=generator), torch.zeros(72, 96)
        image[0, top : top + 40, left : left + 44] += 0.7
        mask[top : top + 40, left : left + 44] = 1
        return image, mask

    shots = [[scene(8, 10), scene(20, 30)], [scene(26, 44), scene(4, 4)]]
    return Episode(
        support_images=torch.stack([torch.stack([i for i, _ in task]) for task in shots]),
        support_masks=torch.stack([torch.stack([m for _, m in task]) for task in shots]),
        query_images=torch.stack([scene(12, 40)[0], scene(24, 8)[0]]),
    )
