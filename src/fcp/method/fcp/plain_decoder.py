"""A mask decoder of plain convolutions in the segmenter's place (ours, off by default).

The head around it is FCP's, so that a comparison shows what the promptable segmenter adds to it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fcp.layers.grid import on_grid
from fcp.layers.pairs import repeat_query
from fcp.structures import Decoded, HeadOutput, QueryFeatures


class PlainDecoder(nn.Module):
    """Similarity of each prompt to each cell of the query, then convolutions on the head's grid.

    Args:
        width: Number of channels C of the head.
        tokens: Number of prompt tokens N.
    """

    def __init__(self, width: int, tokens: int) -> None:
        super().__init__()
        self.cells = nn.Sequential(nn.Conv2d(2 * width, width, 1), nn.GroupNorm(1, width))
        self.draw = nn.Sequential(
            nn.Conv2d(width + tokens + 1, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, 1, 1),
        )

    def forward(self, found: HeadOutput, query: QueryFeatures) -> Decoded:
        """Draw the masks of S = B·K pairs from what the head sees and makes of them.

        Args:
            found: Prompts and pseudo masks of the pairs.
            query: Features of the B pictures: the segmenter's embedding and the head's own.

        Returns:
            Logits (S, h, w), and an IoU of 1, since it estimates none.
        """
        K = found.prompts.shape[1]
        maps = (
            on_grid(query.embedding.image, query.grid),
            query.value_share.unflatten(2, query.grid),
        )
        cells = repeat_query(self.cells(torch.cat(maps, 1)), K)  # (S, C, h, w)
        prompts = found.prompts.flatten(0, 1)  # (S, N, C)
        similar = torch.einsum("snc,schw->snhw", prompts, cells) / prompts.shape[2] ** 0.5
        mask = found.pseudo_masks.flatten(0, 1)[:, None]
        logits: Tensor = self.draw(torch.cat([cells, similar, mask], 1))[:, 0]
        return Decoded(logits, logits.new_ones(len(logits)))
