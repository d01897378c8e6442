"""The two interfaces of the encoders on the left of Figure 3.

Pictures arrive as RGB floats in 0 … 1, already square; each encoder resizes them to the size it
wants and normalises them with its own constants, so that callers never do.
"""

from __future__ import annotations

import abc
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from fcp.encoders.guided import Guidance
from fcp.errors import FcpError
from fcp.structures import BackboneFeatures, Decoded, Embedding


class Backbone(nn.Module, abc.ABC):
    """A class-consistent image encoder: picture → mid-level map and high-level map on one grid.

    A new backbone defines ``forward``, ``mid_channels`` and ``high_channels``. Three parts are
    optional. A backbone that calls ``keep_statistics`` in its constructor and ``standardised`` in
    its ``forward`` has its mid-level map standardised by statistics that training measures. A
    backbone that returns ``levels`` and sets their ``level_channels`` can be used by the heads that
    compare level by level. A backbone that knows its features without the mask when it has those
    under the mask is a ``SharingBackbone``, which encodes an example half as often.

    Attributes:
        mid_channels: Number Cm of channels of ``BackboneFeatures.mid``.
        high_channels: Number Ch of channels of ``BackboneFeatures.high``.
        fine: Place of the finest map's channels in ``mid``; all of it unless a backbone says other.
        level_channels: Number of channels of each of ``BackboneFeatures.levels``; empty if it
            returns none.
        standardise: Whether the mid-level map's channels are brought to mean 0 and deviation 1 by
            stored statistics, which training measures once; saved with the model.
    """

    mid_channels: int
    high_channels: int
    fine: slice = slice(None)
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
        """Store the statistics that standardise the mid-level map.

        Args:
            mean: Mean (Cm,) of each raw mid channel over pictures and cells.
            std: Standard deviation (Cm,) of each, all > 0.
        """
        self.mid_mean.copy_(mean)
        self.mid_std.copy_(std)

    def fit_statistics(self, pictures: Iterable[Tensor]) -> None:
        """Measure and store the mean and deviation of each mid channel.

        For a backbone that returns levels these are measured, each on its own grid.

        Args:
            pictures: Pictures (1, 3, S, S) each, RGB in 0 … 1; at least one.
        """
        self.eval()
        maps: list[tuple[Tensor, ...]] = []
        for picture in pictures:
            with torch.inference_mode():
                features = self(picture)
            maps.append(features.levels or (features.mid,))
        # Another order of summation would change the last bits, by which the features of earlier
        # results are recognised (reproduce/results.py).
        values = [torch.cat(level).transpose(0, 1).flatten(1) for level in zip(*maps, strict=True)]
        self.set_statistics(
            torch.cat([level.mean(1) for level in values]),
            torch.cat([level.std(1) for level in values]).clamp(min=1e-6),
        )

    def standardised(self, mid: Tensor) -> Tensor:
        """Standardise a raw mid-level map (B, Cm, h, w), if this backbone has statistics."""
        if not self.standardise:
            return mid
        return (mid - self.mid_mean.view(-1, 1, 1)) / self.mid_std.view(-1, 1, 1)

    @abc.abstractmethod
    def forward(self, images: Tensor, mask: Tensor | None = None) -> BackboneFeatures:
        """Encode pictures.

        Args:
            images: Pictures (B, 3, H, W) RGB in 0 … 1.
            mask: Masks (B, 1, H, W) of 0 and 1 for support pictures: the input of the last stage is
                multiplied by the mask (brought to its grid by nearest neighbour). None for query
                pictures.

        Returns:
            ``mid`` (B, Cm, h, w), unaffected by the mask, and ``high`` (B, Ch, h, w).
        """

    def both(self, images: Tensor, mask: Tensor) -> tuple[BackboneFeatures, BackboneFeatures]:
        """Encode the same pictures as queries and as supports; see ``forward``."""
        return self(images), self(images, mask)


class SharingBackbone(Backbone):
    """A backbone that runs on the whole picture first, and then its last stage under the mask.

    A new one defines ``whole`` and ``under`` in place of ``forward``.
    """

    @abc.abstractmethod
    def whole(self, images: Tensor) -> tuple[BackboneFeatures, Tensor]:
        """Encode pictures (B, 3, H, W) as queries; return the last stage's input as well."""

    @abc.abstractmethod
    def under(self, mask: Tensor, stage_input: Tensor) -> Tensor:
        """Return the high-level map (B, Ch, h, w) of the last stage's input under the mask."""

    def forward(self, images: Tensor, mask: Tensor | None = None) -> BackboneFeatures:
        """Encode pictures; see ``Backbone``."""
        return self.whole(images)[0] if mask is None else self.both(images, mask)[1]

    def both(self, images: Tensor, mask: Tensor) -> tuple[BackboneFeatures, BackboneFeatures]:
        """Encode the same pictures as queries and as supports, in one pass."""
        whole, stage_input = self.whole(images)
        return whole, replace(whole, high=self.under(mask, stage_input))


class PromptableSegmenter(nn.Module, abc.ABC):
    """A SAM-like model: picture → embedding; prompt tokens + embedding → mask logits + IoU.

    A new segmenter defines ``width`` and the three abstract methods; ``load_start`` is optional.

    Attributes:
        width: Number C of channels of the embedding and of each prompt token.
        image_size: Side (px) of the square that ``encode`` brings every picture to.
    """

    width: int
    image_size: int

    def load_start(self, file: Path) -> None:
        """Load the weights that a class-agnostic training of this segmenter wrote.

        Args:
            file: File in safetensors format in that training's output folder.

        Raises:
            FcpError: the file is missing or does not fit, or this segmenter has no such training
                (the default).
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
            embedding: Embedding of B pictures.
            prompts: Sparse prompt embeddings (B, N, C).
            mask_prompt: Mask logits (B, 1, h', w') for the dense prompt, resized to the size that
                the prompt encoder takes; None for the "no mask" embedding.
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
            embedding: Embedding of B pictures.
            prompts: Sparse prompt embeddings (B·P, N, C), P in a row for each picture.
            mask_prompt: Dense prompts (B·P, 1, h', w'), as in ``decode``.
            multimask: Whether a prompt gets three masks instead of one.
            guidance: PerSAM's bias and target, for B·P prompts; None for the plain decoder.

        Returns:
            Logits (B·P, 1 or 3, 4h, 4w) and the decoder's estimates of their IoU (B·P, 1 or 3).

        Raises:
            NotImplementedError: a segmenter that serves only trained heads without a share of
                Contrast's mask.
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
        """Convert geometric prompts to the inputs of ``decode``.

        Args:
            points: Points (B, P, 2) as x, y fractions 0 … 1 of the picture's width and height.
            point_labels: Labels (B, P): 1 foreground, 0 background, -1 padding.
            boxes: Boxes (B, 4) as x0, y0, x1, y1 fractions 0 … 1.

        Returns:
            Sparse tokens (B, n, C), and a mask prompt (B, 1, h', w') if this segmenter uses one for
            these prompts, else None: ``decode(embedding, *embed_prompts(boxes=boxes))``.
        """
