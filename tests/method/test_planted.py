"""Planted scenes: encoders that see colours, so that every method has to find the whole object."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fcp.encoders.base import PromptableSegmenter
from fcp.encoders.cells import CellEncoder
from fcp.method.persam import model as persam
from fcp.method.persam.weights import fit_weights
from fcp.method.registry import METHODS
from fcp.structures import Embedding

SIDE, GRID = 144, 18  # px, cells
RED, BLUE, GREEN = (0.9, 0.1, 0.1), (0.1, 0.1, 0.9), (0.1, 0.8, 0.1)


class ColourCells(CellEncoder):
    """Mean colours of 8×8 px, and where the cell lies."""

    def __init__(self) -> None:
        super().__init__()
        self.image_size, self.channels = SIDE, 6
        self.nothing = nn.Parameter(torch.zeros(1))

    def encode(self, images: Tensor) -> Tensor:
        colours = F.adaptive_avg_pool2d(images, GRID)
        ramp = torch.linspace(-0.2, 0.2, GRID)
        y, x = torch.meshgrid(ramp, ramp, indexing="ij")
        place = torch.stack([y, x, torch.full_like(x, 0.1)]).expand(len(images), -1, -1, -1)
        return torch.cat([colours, place], 1)


class ColourSegmenter(PromptableSegmenter):
    """Draws all that has the colour at a prompt's first point, else at its box's centre."""

    width = 3
    image_size = SIDE

    def encode(self, images: Tensor) -> Embedding:
        small = F.interpolate(images, (GRID, GRID), mode="bilinear", antialias=True)
        fine = F.interpolate(images, (72, 72), mode="bilinear", antialias=True)
        return Embedding(image=small, high_resolution=(fine,))

    def decode(self, embedding, prompts, mask_prompt=None):
        raise NotImplementedError

    def decode_candidates(self, embedding, prompts, mask_prompt=None, *, multimask, guidance=None):
        fine = embedding.high_resolution[0]
        at = (prompts[:, 0] * 72).long().clamp(0, 71)
        colour = fine[0, :, at[:, 1], at[:, 0]].T  # (S, 3)
        apart = (fine - colour[:, :, None, None]).norm(dim=1)
        masks = 4 - 10 * apart
        count = 3 if multimask else 1
        return masks[:, None].expand(-1, count, -1, -1), masks.new_full((len(masks), count), 0.95)

    def embed_prompts(self, *, points=None, point_labels=None, boxes=None):
        return boxes.view(-1, 2, 2).mean(1, keepdim=True) if points is None else points, None


def scene(top: int, left: int, other: int, seed: int) -> tuple[Tensor, Tensor]:
    """A red square (the object) and a blue one on green, with noise; and the red one's mask."""
    noise = 0.05 * torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))
    image, mask = torch.tensor(GREEN).view(3, 1, 1) + noise, torch.zeros(SIDE, SIDE)
    image[:, other : other + 32, 8:40] = torch.tensor(BLUE).view(3, 1, 1) + noise[:, :32, :32]
    image[:, top : top + 48, left : left + 48] = (
        torch.tensor(RED).view(3, 1, 1) + noise[:, :48, :48]
    )
    mask[top : top + 48, left : left + 48] = 1
    return image.clamp(0, 1), mask


@pytest.mark.parametrize("released", [True, False])
@pytest.mark.parametrize("shots", [1, 2])
@pytest.mark.parametrize("name", METHODS)
def test_the_object_is_found_and_nothing_else(name, shots, released, monkeypatch):
    monkeypatch.setattr(persam, "fit_weights", lambda a, b: fit_weights(a, b, 20))
    builder, options = METHODS[name], {"released": released}
    if name == "matcher":
        pytest.importorskip("ot", reason="needs the extra free")
        options = {"preset": "parts" if released else "fss"}
    if name == "contrast":  # has no such switch
        options = {}
    if name == "insid3":
        options["components"] = 2
    if name == "gf-sam":
        options["size"] = SIDE
    cells = ColourCells() if builder.image_size else None
    method = builder(cells, ColourSegmenter() if builder.has_segmenter else None, **options)
    examples = [scene(16, 80, 100, 1), scene(72, 64, 16, 2)][:shots]
    query, truth = scene(40, 88, 96, 3)
    support = method.encode_support(
        torch.stack([image for image, _ in examples])[None],
        torch.stack([mask for _, mask in examples])[None],
    )
    found = method.match(support, method.encode_query(query[None])).mask_logits[0] > 0
    union = (found | (truth > 0)).sum()
    assert (found & (truth > 0)).sum() / union > 0.9
