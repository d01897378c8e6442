"""CyCTR, joined: prior and prototypes → cycle-consistent transformer → mask (table1.md §5)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fcp.encoders.base import Backbone
from fcp.layers.grid import on_grid
from fcp.layers.masked import refuse_empty
from fcp.method.base import (
    TrainedMethod,
    TrainingTruth,
    TwoLogits,
    at_size,
    for_queries,
)
from fcp.method.cyctr.keys import (
    KEYS_PER_SHOT,
    Keys,
    choose_keys,
    draw_evenly,
    draw_randomly,
    grid_labels,
)
from fcp.method.cyctr.transformer import Transformer
from fcp.method.parts import (
    MaskHead,
    ReluConv,
    Residual,
    cells_of,
    grid_of,
    mean_under,
    nearest_cells,
    prior,
    spread,
)
from fcp.method.stages import BackboneOption, build_stages
from fcp.structures import BackboneFeatures

DICE_EPSILON = 1e-8
# Share of the usual number of keys in training, drawn anew for each layer: of 1 shot, of several.
FEWEST_KEYS, MOST_KEYS = 0.6, (4.0, 1.4)


@dataclass(frozen=True)
class CyCTRSupport:
    """What CyCTR keeps of K examples.

    Attributes:
        prototype: (B, C) mean over the shots of the masked means.
        features: (B, K, C, h, w), which only training reads.
        high: (B, K, Ch, h, w) stage 4 of the whole pictures.
        cells: (B, K, h, w) masks on the grid, 0 … 1.
        tokens: (B, K·L, C).
        labels: (B, K·L) True for the object.
        padded: (B, K·L) True where a picture has no pixels.
    """

    prototype: Tensor
    features: Tensor
    high: Tensor
    cells: Tensor
    tokens: Tensor
    labels: Tensor
    padded: Tensor


@dataclass(frozen=True)
class CyCTRQuery:
    """What CyCTR keeps of query pictures.

    Attributes:
        features: (B, C, h, w).
        high: (B, Ch, h, w) stage 4.
        padded: (B, h, w) True where the picture has no pixels.
        size: (H, W) of the pictures.
    """

    features: Tensor
    high: Tensor
    padded: Tensor
    size: tuple[int, int]


@dataclass(frozen=True)
class CyCTROutput(TwoLogits):
    """What CyCTR makes of a query.

    Attributes:
        features: (B, C, h, w) what the logits are made of.
    """

    features: Tensor


class CyCTR(TrainedMethod[CyCTRSupport, CyCTRQuery, CyCTROutput]):
    """Cycle-consistent transformer.

    Args:
        backbone: Image encoder.
        width: C, channels of the features, a multiple of 8.
        keys_per_shot: Support cells of either kind that the query reads, per shot.
        released: As in the authors' program, keys are drawn at random at test time too, and many
            labels of drawn keys are wrong.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        width: int = 256,
        keys_per_shot: int = KEYS_PER_SHOT,
        released: bool = False,
    ) -> None:
        super().__init__(backbone)
        self.keys_per_shot, self.released = keys_per_shot, released
        self.query = ReluConv(backbone.mid_channels, width)
        self.support = ReluConv(backbone.mid_channels, width)
        self.dropout = nn.Dropout2d(0.5)
        self.merge_query = ReluConv(2 * width + 1, width)
        self.merge_support = ReluConv(2 * width, width)
        self.transformer = Transformer(width)
        self.reduce = ReluConv(width, width)
        self.polish = Residual(width)
        self.head = MaskHead(width)
        self.back = SupportBranch(width)

    def encode_support(
        self, images: Tensor, masks: Tensor, padding: Tensor | None = None
    ) -> CyCTRSupport:
        """Encode examples; see ``TrainedMethod``.

        Args:
            images: (B, K, 3, H, W) RGB in 0 … 1.
            masks: (B, K, H, W) 1 object, 0 rest, 255 does not count.
            padding: (B, K, H, W) True where a picture was filled up; None for nowhere.
        """
        refuse_empty(masks == 1)
        return self.prepare_support(self.backbone(images.flatten(0, 1)), masks, padding)

    def encode_query(self, images: Tensor, padding: Tensor | None = None) -> CyCTRQuery:
        """Encode pictures (B, 3, H, W); ``padding`` (B, H, W) is True where one was filled up."""
        size = (images.shape[-2], images.shape[-1])
        return self.prepare_query(self.backbone(images), size, padding)

    def prepare_support(
        self, features: BackboneFeatures, masks: Tensor, padding: Tensor | None = None
    ) -> CyCTRSupport:
        """Average the object's features, and make the tokens; see ``encode_support``."""
        shape, flat, grid = masks.shape[:2], masks.flatten(0, 1), grid_of(features.mid)
        projected = self.dropout(self.support(features.mid))
        cells = cells_of(flat, grid)
        means = mean_under(projected, cells)
        merged = self.merge_support(torch.cat([projected, spread(means, grid)], 1))
        tokens = merged.flatten(2).mT.unflatten(0, shape).flatten(1, 2)
        padded = padded_cells(
            torch.zeros_like(flat) if padding is None else padding.flatten(0, 1), grid
        )
        return CyCTRSupport(
            prototype=means.unflatten(0, shape).mean(1),
            features=projected.unflatten(0, shape),
            high=features.high.unflatten(0, shape),
            cells=cells[:, 0].unflatten(0, shape),
            tokens=tokens,
            labels=grid_labels(nearest_cells(flat, grid)).unflatten(0, shape).flatten(1),
            padded=padded.unflatten(0, shape).flatten(1),
        )

    def prepare_query(
        self,
        features: BackboneFeatures,
        size: tuple[int, int],
        padding: Tensor | None = None,
    ) -> CyCTRQuery:
        """Project the query's features; see ``encode_query``."""
        given = features.mid.new_zeros(len(features.mid), *size) if padding is None else padding
        return CyCTRQuery(
            features=self.dropout(self.query(features.mid)),
            high=features.high,
            padded=padded_cells(given, grid_of(features.mid)),
            size=size,
        )

    def match(
        self, support: CyCTRSupport, query: CyCTRQuery, *, keys: Keys | None = None
    ) -> CyCTROutput:
        """Segment prepared queries.

        Args:
            support: Of B tasks, or of one that serves all B queries.
            query: Of B pictures.
            keys: Support cells that both layers read; None to choose them (in training, anew for
                each layer).
        """
        support = for_queries(support, len(query.features))
        shown = prior(query.high, support.high, support.cells).mean(1, keepdim=True)
        prototype = spread(support.prototype, grid_of(shown))
        merged = self.merge_query(torch.cat([query.features, prototype, shown], 1))
        if keys is None and not self.training:
            keys = self.choose(support)
        read = self.transformer(
            merged, query.padded, support.tokens, lambda: keys or self.choose(support)
        )
        found = self.polish(self.reduce(read))
        return CyCTROutput(at_size(self.head(found), query.size), found)

    def choose(self, support: CyCTRSupport) -> Keys:
        """Choose the support cells that a layer reads."""
        shots = support.high.shape[1]
        count = self.keys_per_shot * shots
        if self.training:
            most = MOST_KEYS[shots > 1]
            count = int(count * torch.empty(()).uniform_(FEWEST_KEYS, most))
        draw = draw_randomly if self.training or self.released else draw_evenly
        return choose_keys(support.labels, support.padded, count, draw, released=self.released)

    def losses(
        self, support: CyCTRSupport, query: CyCTRQuery, truth: TrainingTruth
    ) -> dict[str, Tensor]:
        """Dice of the answer, ``main``, and of the supports as the query finds it, ``support``."""
        output = self.match(support, query)
        cells = cells_of(truth.query_masks, grid_of(query.features))
        found = self.back(output.features, query.features, cells, support.features)
        terms = {
            "main": dice_loss(output.logits, truth.query_masks),
            "support": dice_loss(found, truth.support_masks.flatten(0, 1)),
        }
        return {**terms, "total": terms["main"] + terms["support"]}


class SupportBranch(nn.Module):
    """Segment the supports by the query's object; in training only."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.project = ReluConv(width, width)
        self.merge = ReluConv(2 * width, width)
        self.polish = Residual(width)
        self.head = MaskHead(width)

    def forward(self, found: Tensor, query: Tensor, cells: Tensor, support: Tensor) -> Tensor:
        """Map to logits (B·K, 2, h, w) of the supports.

        Args:
            found: (B, C, h, w) what the query's logits are made of.
            query: (B, C, h, w) features.
            cells: (B, 1, h, w) the query's mask on the grid.
            support: (B, K, C, h, w) features.
        """
        prototype = mean_under(self.project(found) + query, cells)
        shown = prototype.repeat_interleave(support.shape[1], 0)
        merged = self.merge(torch.cat([support.flatten(0, 1), spread(shown, grid_of(query))], 1))
        return self.head(self.polish(merged))


def padded_cells(padding: Tensor, grid: tuple[int, int]) -> Tensor:
    """Bring padding (S, H, W) to a grid by nearest neighbour: (S, h, w) boolean."""
    return F.interpolate(padding.float()[:, None], grid, mode="nearest")[:, 0] > 0


def dice_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Compare logits (S, 2, h, w) with masks (S, H, W) at their size: scalar.

    Sum over background and object of 1 − 2Σpt / (Σp² + Σt²), mean over pictures. Pixels of value
    255 have target 0 in both.
    """
    p = on_grid(logits.float(), grid_of(masks)).sigmoid().flatten(2)
    t = torch.stack([masks == 0, masks == 1], 1).float().flatten(2)
    whole = (p.square().sum(2) + t.square().sum(2)).clamp(min=DICE_EPSILON)
    return (1 - 2 * (p * t).sum(2) / whole).sum(1).mean()


def build_cyctr(
    weights: str | None,
    *,
    backbone: BackboneOption = "resnet50",
    width: int = 256,
    keys_per_shot: int = KEYS_PER_SHOT,
    released: bool = False,
) -> CyCTR:
    """Build CyCTR, by default at its published size.

    Args:
        weights: ImageNet weights of the backbone; None for random ones.
        backbone: "resnet50" as published, or any other; see ``build_stages``.
        width: See ``CyCTR``.
        keys_per_shot: See ``CyCTR``.
        released: See ``CyCTR``.

    Raises:
        FcpError: Unknown backbone, or weights that are missing or do not fit.
    """
    stages = build_stages(backbone, weights, previous_dilation=True)
    return CyCTR(stages, width=width, keys_per_shot=keys_per_shot, released=released)
