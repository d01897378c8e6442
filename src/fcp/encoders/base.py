"""The two small interfaces behind which every encoder of the left of Figure 3 stands.

Pictures arrive as RGB floats in 0 … 1, already square; each encoder resizes them to the size it
wants and normalises them with its own constants, so that callers never do.
"""

from __future__ import annotations

import abc

import torch
from torch import Tensor, nn

from fcp.encoders.guided import Guidance
from fcp.structures import BackboneFeatures, Decoded, Embedding


class Backbone(nn.Module, abc.ABC):
    """A class-consistent image encoder: picture → mid-level map and high-level map on one grid.

    Attributes:
        mid_channels: Cm, channels of ``BackboneFeatures.mid``.
        high_channels: Ch, channels of ``BackboneFeatures.high``.
        level_channels: channels of each of ``BackboneFeatures.levels``; empty where it gives none.
        standardise: the mid-level map's channels are brought to mean 0 and deviation 1 by stored
            statistics, which training measures once; saved with the model.
    """

    mid_channels: int
    high_channels: int
    level_channels: tuple[int, ...] = ()
    standardise: bool = False
    mid_mean: Tensor
    mid_std: Tensor

    def keep_statistics(self) -> None:
        """Standardise the mid-level map from now on; the identity until ``set_statistics``."""
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

    Attributes:
        width: C, channels of the embedding and of each prompt token.
        image_size: side (px) of the square that ``encode`` brings every picture to.
    """

    width: int
    image_size: int

    @abc.abstractmethod
    def encode(self, images: Tensor) -> Embedding:
        """Encode pictures (B, 3, H, W), RGB in 0 … 1, to an embedding on a grid."""

    @abc.abstractmethod
    def decode(
        self, embedding: Embedding, prompts: Tensor, mask_prompt: Tensor | None = None
    ) -> Decoded:
        """Draw one mask per picture from sparse prompt tokens.

        Args:
            embedding: of B pictures.
            prompts: (B, N, C) sparse prompt embeddings.
            mask_prompt: (B, 1, h', w') mask logits given as dense prompt, resized to the size
                that the prompt encoder wants; None for the "no mask" embedding.
        """

    def decode_candidates(
        self,
        embedding: Embedding,
        prompts: Tensor,
        mask_prompt: Tensor | None = None,
        *,
        multimask: bool,
        guidance: Guidance | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Draw one mask for each prompt, or several for one that may mean a part or the whole.

        Args:
            embedding: B pictures.
            prompts: (B·P, N, C) sparse prompt embeddings, P in a row for each picture.
            mask_prompt: (B·P, 1, h', w') dense prompts, as in ``decode``.
            multimask: three masks a prompt instead of one.
            guidance: PerSAM's bias and target, for B·P prompts; None for the plain decoder.

        Returns:
            Logits (B·P, 1 or 3, 4h, 4w) and the decoder's estimates of their IoU (B·P, 1 or 3).

        Raises:
            NotImplementedError: a segmenter that only serves trained heads, which never ask.
        """
        raise NotImplementedError(f"{type(self).__name__} draws one mask a picture")

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


def repeat_embedding(embedding: Embedding, times: int) -> Embedding:
    """Repeat each picture's embedding ``times`` times in a row: (B, …) → (B·times, …)."""
    if times == 1:
        return embedding
    return Embedding(
        image=embedding.image.repeat_interleave(times, 0),
        high_resolution=tuple(m.repeat_interleave(times, 0) for m in embedding.high_resolution),
    )
