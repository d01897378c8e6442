"""Toy encoders, published checkpoints of random weights, episodes, and naive equations."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fcp.config import SegmenterConfig
from fcp.encoders import build_segmenter
from fcp.encoders.base import Backbone, PromptableSegmenter
from fcp.encoders.cells import CellEncoder, build_cells
from fcp.encoders.resnet import DilatedResNet
from fcp.structures import BackboneFeatures, Episode


def _random(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Weights that keep the variance, small vectors."""
    noise = torch.randn(shape, generator=generator)
    return noise * (2 / noise[0].numel()) ** 0.5 if len(shape) > 1 else noise * 0.1


@pytest.fixture(scope="session")
def random_weights() -> Any:
    """Fill a table of name → shape; norms get values near 1 where they have to."""

    def fill(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        state = {name: _random(shape, generator) for name, shape in shapes.items()}
        for name, tensor in state.items():
            if tensor.ndim == 1 and name.endswith((".weight", "running_var")):
                tensor.add_(1).abs_()
        return state

    return fill


@pytest.fixture(scope="session")
def resnet_state(random_weights: Any) -> dict[str, Tensor]:
    """State dict of ResNet-50 with the 3-conv stem, random."""
    with torch.device("meta"):
        shapes = {
            n: tuple(t.shape)
            for n, t in DilatedResNet((3, 4, 6, 3), stem="3conv").state_dict().items()
        }
    state = random_weights({n: s for n, s in shapes.items() if "tracked" not in n}, seed=1)
    for name, tensor in state.items():
        if name.endswith("bn3.weight"):
            tensor.mul_(0.3)  # else each block adds as much as all before it
    return state


@pytest.fixture(scope="session")
def norm_shapes() -> Any:
    """Return the entries of a batch norm."""

    def entries(name: str, width: int) -> dict[str, tuple[int, ...]]:
        fields = ("weight", "bias", "running_mean", "running_var")
        return {f"{name}.{field}": (width,) for field in fields}

    return entries


@pytest.fixture(scope="session")
def write_checkpoint() -> Any:
    """Write a state dict as the programs do after data-parallel training."""

    def write(path: Any, state: dict[str, Tensor], *, prefix: str = "module.") -> Any:
        torch.save({"epoch": 3, "state_dict": {prefix + n: t for n, t in state.items()}}, path)
        return path

    return write


@pytest.fixture(scope="session")
def episode() -> Any:
    """Make (support images, support masks, query images, query masks) with 255 in the masks."""

    def make(side: int, shots: int, *, batch: int = 1, seed: int = 0) -> SimpleNamespace:
        generator = torch.Generator().manual_seed(seed)
        masks = torch.zeros(batch, shots + 1, side, side, dtype=torch.uint8)
        for b in range(batch):
            for k in range(shots + 1):
                y, x = torch.randint(0, side // 3, (2,), generator=generator).tolist()
                masks[b, k, y : y + side // 2 + k, x : x + side // 2 - b] = 1
        masks[:, :, -side // 9 :] = 255
        images = torch.rand(batch, shots + 1, 3, side, side, generator=generator)
        images[:, :, 0] = 0.6 * images[:, :, 0] + 0.4 * (masks == 1)  # an object is redder
        return SimpleNamespace(
            support_images=images[:, :-1],
            support_masks=masks[:, :-1],
            query_images=images[:, -1],
            query_masks=masks[:, -1],
        )

    return make


class ToyBackbone(Backbone):
    """Two strided convolutions; only ``high`` sees the mask."""

    def __init__(self) -> None:
        super().__init__()
        self.mid_channels, self.high_channels, self.fine = 10, 6, slice(-4, None)
        self.first = torch.nn.Conv2d(3, 10, 8, stride=8)
        self.norm = torch.nn.BatchNorm2d(10)
        self.last = torch.nn.Conv2d(10, 6, 1)

    def forward(self, images: Tensor, mask: Tensor | None = None) -> BackboneFeatures:
        mid = self.norm(self.first(images)).relu()
        shown = mid if mask is None else mid * F.interpolate(mask, mid.shape[-2:])
        return BackboneFeatures(mid=mid, high=self.last(shown))


@pytest.fixture
def toy_backbone() -> Backbone:
    torch.manual_seed(0)
    return ToyBackbone().eval()


def up(maps: Tensor, size: Any) -> Tensor:
    return F.interpolate(maps, size, mode="bilinear", align_corners=True)


def mean_under(maps: Tensor, mask: Tensor) -> Tensor:
    """Masked mean of one map (C, h, w) under (h, w), cell by cell."""
    total, weight = torch.zeros(len(maps), dtype=torch.float64), 0.0005
    for y in range(maps.shape[1]):
        for x in range(maps.shape[2]):
            total += maps[:, y, x].double() * mask[y, x].double()
            weight = weight + float(mask[y, x])
    return total / weight


def best_cosine(query: Tensor, support: Tensor) -> Tensor:
    """Best cosine of each query cell to any cell of one support (C, h, w), masked before."""
    q, s = query.double().flatten(1).mT, support.double().flatten(1).mT
    best = [float((s @ a / (a.norm() * s.norm(dim=1) + 1e-7)).max()) for a in q]
    return torch.tensor(best, dtype=torch.float64).view(query.shape[1:])


def prior(query: Tensor, support: Tensor) -> Tensor:
    best = best_cosine(query, support)
    return (best - best.min()) / (best.max() - best.min() + 1e-7)


def cross_entropy(logits: Tensor, labels: Tensor) -> float:
    """Mean over the pixels of (S, n, H, W) that are not 255, one by one."""
    log = logits.double().log_softmax(1)
    terms = [
        -float(log[s, labels[s, y, x], y, x]) for s, y, x in (labels != 255).nonzero().tolist()
    ]
    return sum(terms) / len(terms)


@pytest.fixture(scope="session")
def naive() -> SimpleNamespace:
    """The shared equations, written naively in float64."""
    return SimpleNamespace(
        up=up,
        mean_under=mean_under,
        best_cosine=best_cosine,
        prior=prior,
        cross_entropy=cross_entropy,
        head=lambda x, w, name: conv(conv(x, w, f"{name}.0", 1).relu(), w, f"{name}.3"),
        residual=lambda x, w, a, b: conv(conv(x, w, a, 1).relu(), w, b, 1).relu() + x,
        conv=conv,
        norm=norm,
        learner=learner,
        gram=gram,
        ensemble=ensemble,
    )


def conv(
    x: Tensor, weights: dict[str, Tensor], name: str, padding: int = 0, **options: Any
) -> Tensor:
    """Convolve in float64 by a published name, with its bias if it has one."""
    bias = weights.get(f"{name}.bias")
    return F.conv2d(
        x.double(),
        weights[f"{name}.weight"].double(),
        None if bias is None else bias.double(),
        padding=padding,
        **options,
    )


def norm(x: Tensor, weights: dict[str, Tensor], name: str) -> Tensor:
    """Batch norm in float64 by a published name, with its stored statistics."""
    fields = ("running_mean", "running_var", "weight", "bias")
    return F.batch_norm(x, *(weights[f"{name}.{field}"].double() for field in fields))


def learner(
    high: Tensor, weights: dict[str, Tensor], pools: str, stage5: tuple[str, str]
) -> Tensor:
    """Stage 5 of the base learner in float64, by the names of its pools, convolution and norm."""
    parts, grid = [high.double()], high.shape[-2:]
    for i, side in enumerate((1, 2, 3, 6)):
        x = conv(F.adaptive_avg_pool2d(high.double(), side), weights, f"{pools}.features.{i}.1")
        parts.append(up(norm(x, weights, f"{pools}.features.{i}.2").relu(), grid))
    return norm(conv(torch.cat(parts, 1), weights, stage5[0], 1), weights, stage5[1])


def gram(maps: Tensor) -> Tensor:
    """Cosines of the channels of (C, h, w)."""
    rows = maps.double().flatten(1)
    lengths = rows.square().sum(1).sqrt()
    return rows @ rows.T / (lengths[:, None] * lengths[None] + 1e-7)


def ensemble(
    weights: dict[str, Tensor], meta: Tensor, base: Tensor, psi: Tensor, left_out: int | None
) -> Tensor:
    """Final logits on the grid of BAM and HDMNet, without a class."""
    counted = [c for c in range(1, base.shape[1]) if c != left_out]
    b = base.softmax(1)[:, counted].sum(1)
    a, c = (weights[f"{name}.weight"].double().flatten() for name in ("gram_merge", "cls_merge"))
    background, object_ = (a[0] * meta.softmax(1)[:, i] + a[1] * psi for i in (0, 1))
    return torch.stack([c[0] * background + c[1] * b, object_], 1)


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
def scenes() -> Episode:
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
