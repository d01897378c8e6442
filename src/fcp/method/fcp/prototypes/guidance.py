"""Guidance (Eq. 1, 3, 6, 10): mask and prototype mark the foreground in a feature.

``guide(X, M, p) = ReLU(Conv1x1(concat(X, p expanded, 10·M)))``. The convolution is linear in its
parts and p is constant over the grid, so the product is split: X's share once per picture
(whatever the shots and steps), p's share as a bias, M's share as an outer product. On request the
contrast D (``contrast.py``, ours) is one more part: ``concat(X, p expanded, 10·M, 10·D)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from fcp.config import HeadConfig
from fcp.layers.masked import masked_mean
from fcp.layers.pointwise import Pointwise, mix_channels

MAP_GAIN = 10.0


@dataclass(frozen=True)
class Unguided:
    """Query features before a mask guides them, for S pairs of a query and a shot.

    Attributes:
        key_share: Share of the key feature in its guidance (S, C, L), from ``query_share``.
        value_share: Share of the value feature in its guidance (S, C, L), from ``query_share``.
        key_bias: Share of the support's masked mean in the key's guidance (S, C, 1), from ``bias``.
        value_bias: Share of the support's masked mean in the value's guidance (S, C, 1), from
            ``bias``.
        contrast: Contrast maps (S, 2·levels, L) for a head with contrast, else None.
    """

    key_share: Tensor
    value_share: Tensor
    key_bias: Tensor
    value_bias: Tensor
    contrast: Tensor | None


class GuidedFeatures(nn.ModuleDict):
    """The features in use, by name: tokens compare themselves with keys and gather values.

    With both features, keys are G and the values of step T are F (Eq. 4, 11). A single feature is
    used for both.

    Args:
        config: Sizes and switches of the head.
        mid_channels: Channels of F before its projection Cm.
    """

    def __init__(self, config: HeadConfig, mid_channels: int) -> None:
        raw = {"F": (mid_channels, config.feature_dropout), "G": (config.width, 0.0)}
        super().__init__(
            {
                name: GuidedFeature(
                    raw[name][0],
                    config.width,
                    dropout=raw[name][1],
                    mean_of_projected=name == "F",
                    contrast_channels=2 * len(config.contrast_levels),
                )
                for name in config.features.split("+")
            }
        )

    @property
    def key(self) -> GuidedFeature:
        """Feature that tokens are compared with, at all steps: G where it is in use."""
        return cast(GuidedFeature, self["G" if "G" in self else "F"])

    @property
    def value(self) -> GuidedFeature:
        """Feature that step T gathers: F where it is in use."""
        return cast(GuidedFeature, self["F" if "F" in self else "G"])

    def choose(self, backbone: Tensor, sam: Tensor) -> tuple[Tensor, Tensor]:
        """Return the key feature and the value feature of F and G; they may be the same."""
        return (sam if "G" in self else backbone), (backbone if "F" in self else sam)

    def guide_keys(self, query: Unguided, mask: Tensor) -> Tensor:
        """Guide the key feature by a mask (S, L), each pair with its shot's mean: (S, L, C)."""
        return self.key.guide(query.key_share, query.key_bias, mask, query.contrast).mT

    def guide_values(self, query: Unguided, mask: Tensor) -> Tensor:
        """Guide the value feature in the same way (Eq. 10)."""
        return self.value.guide(query.value_share, query.value_bias, mask, query.contrast).mT


class GuidedFeature(nn.Module):
    """One of the two complementary features, F or G: its projection to C, and its guidance.

    Both are shared by support and query.

    Args:
        in_channels: Channels of the raw map.
        width: Channels of the projected map C.
        dropout: Probability of the channel dropout on the projected map.
        mean_of_projected: Whether the masked mean is taken after the projection (F) or before (G).
        contrast_channels: Channels of the contrast D; 0 for none.
    """

    def __init__(
        self,
        in_channels: int,
        width: int,
        *,
        dropout: float,
        mean_of_projected: bool,
        contrast_channels: int = 0,
    ) -> None:
        super().__init__()
        self.mean_of_projected = mean_of_projected
        self.project = nn.Sequential(
            Pointwise(in_channels, width), nn.ReLU(), nn.Dropout1d(dropout)
        )
        self.merge = Pointwise(2 * width + 1 + contrast_channels, width)

    def guide_support(
        self, cells: Tensor, inside: Tensor, contrast: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Guide support cells by their own mask.

        Args:
            cells: Raw cells (S, in_channels, n).
            inside: Boolean mask (S, n), True inside the mask.
            contrast: Contrast of these cells (S, contrast_channels, n), or None.

        Returns:
            Guided cells (S, C, n), and the masked mean MP(X, M) (S, C), which guides the query too.
        """
        projected = self.project(cells)
        mean = masked_mean(projected if self.mean_of_projected else cells, inside)
        share = self.feature_share(projected)
        return self.guide(share, self.bias(mean), inside.float(), contrast), mean

    def query_share(self, cells: Tensor) -> Tensor:
        """Return the part of the query's guidance that no support influences: (S, C, n)."""
        return self.feature_share(self.project(cells))

    def feature_share(self, projected: Tensor) -> Tensor:
        """Multiply projected cells (S, C, n) with the first C input channels of the convolution."""
        return mix_channels(self.merge.weight[:, : projected.shape[1]], projected)

    def bias(self, mean: Tensor) -> Tensor:
        """Return the share of the support's masked mean (…, C) in the convolution: (…, C, 1)."""
        C = mean.shape[-1]
        return (mean @ self.merge.weight[:, C : 2 * C].mT)[..., None]

    def guide(
        self, share: Tensor, bias: Tensor, mask: Tensor, contrast: Tensor | None = None
    ) -> Tensor:
        """Finish the guidance.

        Args:
            share: Result of ``feature_share`` (…, C, n).
            bias: Result of ``bias`` (…, C, 1).
            mask: Mask (…, n) in 0 … 1.
            contrast: Contrast (…, contrast_channels, n) in -1 … 1, or None.

        Returns:
            Guided cells (…, C, n), at least 0.
        """
        C = share.shape[-2]
        mask_weight, contrast_weight = self.merge.weight[:, 2 * C :].tensor_split([1], dim=1)
        guided = torch.addcmul(share, mask_weight, MAP_GAIN * mask[..., None, :])
        if contrast is not None:
            guided = guided + contrast_weight @ (MAP_GAIN * contrast)
        return guided.add_(bias).relu_()
