"""Guidance (Eq. 1, 3, 6, 10): a feature told by mask and prototype where the foreground is.

``guide(X, M, p) = ReLU(Conv1x1(concat(X, p expanded, 10·M)))``. The convolution is linear in its
parts and p is constant over the grid, so the product is split: X's share once per picture
(whatever the shots and steps), p's share as a bias, M's share as an outer product. On request the
contrast D (``contrast.py``, ours) is one more part: ``concat(X, p expanded, 10·M, 10·D)``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fcp.layers.masked import masked_mean
from fcp.layers.pointwise import Pointwise, mix_channels

MAP_GAIN = 10.0


class GuidedFeature(nn.Module):
    """One of the two complementary features, F or G: its projection to C, and its guidance.

    Both are shared by support and query.

    Args:
        in_channels: channels of the raw map.
        width: C.
        dropout: channel dropout on the projected map.
        mean_of_projected: take the masked mean after the projection (F) or before it (G).
        contrast_channels: of the contrast D; 0 for none.
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
            cells: (S, in_channels, n) raw.
            inside: (S, n) boolean.
            contrast: (S, contrast_channels, n) of these cells, or None.

        Returns:
            The guided cells (S, C, n), and MP(X, M), which guides the query too: (S, C).
        """
        projected = self.project(cells)
        mean = masked_mean(projected if self.mean_of_projected else cells, inside)
        share = self.feature_share(projected)
        return self.guide(share, mean, inside.float(), contrast), mean

    def query_share(self, cells: Tensor) -> Tensor:
        """Return the part of the query's guidance that no support changes: (S, C, n)."""
        return self.feature_share(self.project(cells))

    def feature_share(self, projected: Tensor) -> Tensor:
        """Multiply projected cells (S, C, n) with the first C input channels of the convolution."""
        return mix_channels(self.merge.weight[:, : projected.shape[1]], projected)

    def guide(
        self, share: Tensor, mean: Tensor, mask: Tensor, contrast: Tensor | None = None
    ) -> Tensor:
        """Finish the guidance.

        Args:
            share: (…, C, n) of ``feature_share``; leading axes broadcast.
            mean: (…, C) the support's masked mean.
            mask: (…, n) in 0 … 1.
            contrast: (…, contrast_channels, n) in -1 … 1, or None.

        Returns:
            (…, C, n), at least 0.
        """
        C = share.shape[-2]
        parts = self.merge.weight.tensor_split([C, 2 * C, 2 * C + 1], dim=1)
        _, mean_weight, mask_weight, contrast_weight = parts
        bias = (mean @ mean_weight.mT)[..., None]  # (…, C, 1)
        guided = torch.addcmul(share, mask_weight, MAP_GAIN * mask[..., None, :])
        if contrast is not None:
            guided = guided + contrast_weight @ (MAP_GAIN * contrast)
        return guided.add_(bias).relu_()
