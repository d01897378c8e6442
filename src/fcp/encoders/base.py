"""The two small interfaces behind which every encoder of the left of Figure 3 stands.

Pictures arrive as RGB floats in 0 … 1, already square; each encoder resizes them to the size it
wants and normalises them with its own constants, so that callers never do.
"""

from __future__ import annotations

import abc
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, nn

from fcp.errors import FcpError
from fcp.structures import BackboneFeatures, Decoded, Embedding


class Backbone(nn.Module, abc.ABC):
    """A class-consistent image encoder: picture → mid-level map and high-level map on one grid.

    A new one defines ``forward``, ``mid_channels`` and ``high_channels``. Two more things are
    optional: one that calls ``keep_statistics`` when it is made, and ``standardised`` in its
    ``forward``, has its mid-level map standardised by what training measures; one that returns
    ``levels`` and names their ``level_channels`` can serve the heads that compare level by level.

    Attributes:
        mid_channels: Cm, channels of ``BackboneFeatures.mid``.
        high_channels: Ch, channels of ``BackboneFeatures.high``.
        level_channels: Channels of each of ``BackboneFeatures.levels``; empty where it gives none.
        standardise: The mid-level map's channels are brought to mean 0 and deviation 1 by stored
            statistics, which training measures once; saved with the model.
    """

    mid_channels: int
    high_channels: int
    level_channels: tuple[int, ...] = ()
    standardise: bool = False
    mid_mean: Tensor
    mid_std: Tensor

    def keep_statistics(self) -> None:
        """Standardise the mid-level map from now on; the identity until ``fit_statistics``."""
        self.standardise = True
        self.register_buffer("mid_mean", torch.zeros(self.mid_channels))
        self.register_buffer("mid_std", torch.ones(self.mid_channels))

    def set_statistics(self, mean: Tensor, std: Tensor) -> None:
        """Store what standardises the mid-level map.

        Args:
            mean: (Cm,) mean of each raw mid channel over pictures and cells.
            std: (Cm,) deviation of each, all > 0.
        """
        self.mid_mean.copy_(mean)
        self.mid_std.copy_(std)

    def fit_statistics(self, pictures: Iterable[Tensor]) -> None:
        """Measure and store the mean and deviation of each mid channel.

        A backbone that gives its levels is measured on these, each on its own grid.

        Args:
            pictures: (1, 3, S, S) each, RGB in 0 … 1; at least one.
        """
        self.eval()
        nothing = torch.zeros(self.mid_channels, dtype=torch.float64)
        means, squares = [], []  # of each picture's cells
        for picture in pictures:
            with torch.inference_mode():
                features = self(picture)
            levels = [level[0].double().flatten(1) for level in features.levels or (features.mid,)]
            means.append(torch.cat([level.mean(1) for level in levels]))
            squares.append(torch.cat([level.square().mean(1) for level in levels]))
        mean = sum(means, nothing) / len(means)
        variance = sum(squares, nothing) / len(squares) - mean.square()
        self.set_statistics(mean.float(), variance.clamp(min=1e-12).sqrt().float())

    def standardised(self, mid: Tensor) -> Tensor:
        """Return a raw mid-level map (B, Cm, h, w) standardised, if this backbone does so."""
        if not self.standardise:
            return mid
        return (mid - self.mid_mean.view(-1, 1, 1)) / self.mid_std.view(-1, 1, 1)

    @abc.abstractmethod
    def forward(self, images: Tensor, mask: Tensor | None = None) -> BackboneFeatures:
        """Encode pictures.

        Args:
            images: (B, 3, H, W) RGB in 0 … 1.
            mask: (B, 1, H, W) 0 or 1 for support pictures: the last stage then sees the stage
                before it multiplied by the mask (brought to that stage's grid by nearest
                neighbour). None for query pictures.

        Returns:
            ``mid`` (B, Cm, h, w), unaffected by the mask, and ``high`` (B, Ch, h, w).
        """


class PromptableSegmenter(nn.Module, abc.ABC):
    """A SAM-like model: picture → embedding; prompt tokens + embedding → mask logits + IoU.

    A new one defines ``width`` and the three abstract methods; ``load_start`` is optional.

    Attributes:
        width: C, channels of the embedding and of each prompt token.
    """

    width: int

    def load_start(self, file: Path) -> None:
        """Take the weights that a class-agnostic training of this segmenter wrote.

        Args:
            file: Safetensors file of that training's output folder.

        Raises:
            FcpError: the file is missing or does not fit, or, as here, this segmenter has no such
                training.
        """
        raise FcpError(f"cannot start from the weights of another run ({file})")

    @abc.abstractmethod
    def encode(self, images: Tensor) -> Embedding:
        """Encode pictures (B, 3, H, W), RGB in 0 … 1, to an embedding on a grid."""

    @abc.abstractmethod
    def decode(
        self, embedding: Embedding, prompts: Tensor, mask_prompt: Tensor | None = None
    ) -> Decoded:
        """Draw one mask per picture from sparse prompt tokens.

        Args:
            embedding: Of B pictures.
            prompts: (B, N, C) sparse prompt embeddings.
            mask_prompt: (B, 1, h', w') mask logits given as dense prompt, resized to the size
                that the prompt encoder wants; None for the "no mask" embedding.
        """

    @abc.abstractmethod
    def embed_prompts(
        self,
        *,
        points: Tensor | None = None,
        point_labels: Tensor | None = None,
        boxes: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Turn geometric prompts into what ``decode`` takes.

        Args:
            points: (B, P, 2) x, y as fractions 0 … 1 of the picture's width and height.
            point_labels: (B, P) 1 foreground, 0 background, -1 padding.
            boxes: (B, 4) x0, y0, x1, y1 as fractions 0 … 1.

        Returns:
            Sparse tokens (B, n, C), and a mask prompt (B, 1, h', w') if this segmenter wants one
            for these prompts, else None: ``decode(embedding, *embed_prompts(boxes=boxes))``.
        """
