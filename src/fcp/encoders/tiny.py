"""`tiny`: a promptable segmenter of SAM's architecture, small enough for the package.

Image encoder: MobileNetV2 with a feature pyramid down to stride 8. Prompt encoder and two-way mask
decoder: those of SAM 2 (Ravi et al. 2024, arXiv 2408.00714) from transformers at a quarter of the
size. The decoder takes finer maps as skip connections, here the trunk's maps of strides 4 and 2.

Two additions replace the missing ViT. SAM's decoder moves information between cells only through
its few tokens, so a cell gets the prompt's position in relation to it only slowly. Here
convolutions mix neighbouring cells after the dense prompt is added (``PromptMixer``), and a box is
also painted as a dense prompt.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import MobileNetV2Config, MobileNetV2Model
from transformers.models.sam2.configuration_sam2 import (
    Sam2MaskDecoderConfig,
    Sam2PromptEncoderConfig,
)
from transformers.models.sam2.modeling_sam2 import Sam2MaskDecoder, Sam2PromptEncoder

from fcp.encoders.base import PromptableSegmenter
from fcp.encoders.guided import Guidance, choose_decoder
from fcp.encoders.hub import load_model
from fcp.encoders.weights import load_strictly, read_state_dict
from fcp.errors import FcpError
from fcp.layers.mix import MixBlock
from fcp.structures import Decoded, Embedding

STRIDE = 8  # of the embedding grid
# Last block of each stride in transformers' MobileNetV2 (its layer list), and its channels.
_STRIDE4_BLOCK, _PYRAMID_BLOCKS = 1, (4, 11, 15)
_STEM_CHANNELS, _STRIDE4_CHANNELS, _PYRAMID_CHANNELS = 16, 24, (32, 96, 320)
_BOX_CORNER_LABELS = (2.0, 3.0)
_BOX_LOGIT = 4.0  # logit of cells inside a painted box; cells outside have its negative


class TinySegmenter(PromptableSegmenter):
    """MobileNetV2 pyramid + SAM 2's prompt encoder and mask decoder.

    Args:
        width: Number C of channels of the embedding and of a prompt token.
        image_size: Side in px to which pictures are resized; the grid is an eighth of it.
        decoder_width: Number of hidden units of the decoder's feed-forward layers.
        mixer: Whether convolutions mix neighbouring cells after the dense prompt is added, and
            boxes are painted as dense prompts; False for SAM's architecture, in which points and
            boxes act only through their tokens.
    """

    def __init__(
        self,
        *,
        width: int = 128,
        image_size: int = 320,
        decoder_width: int = 512,
        mixer: bool = True,
    ) -> None:
        super().__init__()
        self.width = width
        self.image_size = image_size
        self.image_encoder = PyramidEncoder(width)
        self.prompt_encoder = Sam2PromptEncoder(
            Sam2PromptEncoderConfig(hidden_size=width, image_size=image_size, patch_size=STRIDE)
        )
        self.prompt_mixer = PromptMixer(width) if mixer else nn.Identity()
        self.mask_decoder = _mask_decoder(width, decoder_width)

    def load_start(self, file: Path) -> None:
        """Load the weights of `fcp train`'s class-agnostic stage, strictly; see the interface."""
        load_strictly(self, read_state_dict(file), str(file))

    def encode(self, images: Tensor) -> Embedding:
        """Encode pictures (B, 3, H, W), RGB in 0 … 1, to an embedding of stride 8."""
        size = (self.image_size, self.image_size)
        if images.shape[-2:] != size:
            images = F.interpolate(images, size, mode="bilinear", antialias=True)
        stride2, stride4, grid = self.image_encoder(images * 2 - 1)
        finer = (self.mask_decoder.conv_s0(stride2), self.mask_decoder.conv_s1(stride4))
        return Embedding(image=grid, high_resolution=finer)

    def decode(
        self, embedding: Embedding, prompts: Tensor, mask_prompt: Tensor | None = None
    ) -> Decoded:
        """Draw one mask per picture from prompt tokens (B, N, C); see the interface."""
        logits, iou = self.decode_candidates(embedding, prompts, mask_prompt, multimask=False)
        return Decoded(logits=logits[:, 0], iou=iou[:, 0])

    def decode_candidates(
        self,
        embedding: Embedding,
        prompts: Tensor,
        mask_prompt: Tensor | None = None,
        *,
        multimask: bool,
        guidance: Guidance | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Draw one or three masks for each prompt; see the interface."""
        if mask_prompt is not None or guidance is not None:  # each prompt has its own picture
            embedding = embedding.repeat(len(prompts) // len(embedding.image))
        batch, _, height, width = embedding.image.shape
        dense = self._dense_prompt(mask_prompt, batch, (height, width))
        decoder = choose_decoder(self.mask_decoder, len(prompts) // batch, guidance)
        logits, iou = decoder(
            image_embeddings=self.prompt_mixer(embedding.image + dense),
            image_positional_embeddings=self._grid_position(height, width),
            sparse_prompt_embeddings=prompts.unflatten(0, (batch, -1)),
            dense_prompt_embeddings=dense.new_zeros(1),  # already in the image embedding
            multimask_output=multimask,
            high_resolution_features=list(embedding.high_resolution),
        )[:2]
        return logits.flatten(0, 1), iou.flatten(0, 1)

    def embed_prompts(
        self,
        *,
        points: Tensor | None = None,
        point_labels: Tensor | None = None,
        boxes: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Turn points and boxes into tokens (a box: its corners, labels 2 and 3).

        With the mixer, a box is painted as well. A decoder trained with painted boxes learns to
        ignore tokens.
        """
        coordinates, labels = [], []
        if boxes is not None:
            coordinates.append(boxes.reshape(-1, 2, 2))
            labels.append(boxes.new_tensor(_BOX_CORNER_LABELS).expand(len(boxes), 2))
        if points is not None:
            given = point_labels if point_labels is not None else torch.ones_like(points[..., 0])
            coordinates.append(points)
            labels.append(given.to(points.dtype))
        if not coordinates:
            raise FcpError("embed_prompts: expected points or boxes, got neither")
        # The prompt encoder takes pixels and adds half a pixel.
        pixels = torch.cat(coordinates, 1).float() * self.image_size - 0.5
        kinds = torch.cat(labels, 1)[:, None].long()
        # Half precision would move a corner by a pixel.
        with torch.autocast(pixels.device.type, enabled=False):
            tokens = self.prompt_encoder._embed_points(pixels[:, None], kinds, pad=False)[:, 0]
        if boxes is None or not isinstance(self.prompt_mixer, PromptMixer):
            return tokens, None
        return tokens, paint_boxes(boxes, self._mask_side)

    @property
    def _mask_side(self) -> int:
        """Number of cells a side of the prompt encoder's mask."""
        return 4 * (self.image_size // STRIDE)

    def _dense_prompt(
        self, mask_prompt: Tensor | None, batch: int, grid: tuple[int, int]
    ) -> Tensor:
        if mask_prompt is None:
            no_mask = self.prompt_encoder.no_mask_embed.weight.reshape(1, -1, 1, 1)
            return no_mask.expand(batch, -1, *grid)
        size = (4 * grid[0], 4 * grid[1])
        resized = F.interpolate(mask_prompt, size, mode="bilinear", align_corners=False)
        return self.prompt_encoder.mask_embed(resized)

    def _grid_position(self, height: int, width: int) -> Tensor:
        code = self.prompt_encoder.shared_embedding
        reference = code.positional_embedding
        y = (torch.arange(height, device=reference.device) + 0.5) / height
        x = (torch.arange(width, device=reference.device) + 0.5) / width
        cells = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)  # (h, w, 2), x first
        with torch.autocast(reference.device.type, enabled=False):
            return code(cells).permute(2, 0, 1)[None]


class PyramidEncoder(nn.Module):
    """MobileNetV2 with a top-down pyramid: picture in -1 … 1 → maps of stride 2, 4 and 8."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.trunk = MobileNetV2Model(MobileNetV2Config(), add_pooling_layer=False)
        # The last 1×1 convolution serves classification only.
        self.trunk.register_module("conv_1x1", nn.Identity())
        self.lateral = nn.ModuleList(nn.Conv2d(c, width, 1) for c in _PYRAMID_CHANNELS)
        self.mix = nn.ModuleList(MixBlock(width) for _ in _PYRAMID_CHANNELS)
        self.norm = nn.GroupNorm(1, width)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return (B, 16, H/2, W/2), (B, 24, H/4, W/4) and (B, C, H/8, W/8)."""
        stride2, stride4, *levels = self.levels(pixels)
        top = None
        for lateral, mix, level in reversed(list(zip(self.lateral, self.mix, levels, strict=True))):
            merged = lateral(level)
            if top is not None:
                merged = merged + F.interpolate(top, level.shape[-2:], mode="bilinear")
            top = mix(merged)
        return stride2, stride4, self.norm(top)

    def levels(self, pixels: Tensor) -> list[Tensor]:
        """Return the trunk's maps of strides 2, 4, 8, 16 and 32."""
        x = self.trunk.conv_stem(pixels)
        maps = [x]
        for index, block in enumerate(self.trunk.layer):
            x = block(x)
            if index in (_STRIDE4_BLOCK, *_PYRAMID_BLOCKS):
                maps.append(x)
        return maps


class PromptMixer(nn.Module):
    """Mixes neighbouring cells with the dense prompt in them, at half the grid's resolution."""

    def __init__(self, width: int, depth: int = 3) -> None:
        super().__init__()
        self.mix = nn.Sequential(*(MixBlock(width) for _ in range(depth)))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w), embedding plus dense prompt, to the same shape."""
        mixed = self.mix(F.avg_pool2d(x, 2, ceil_mode=True))
        return x + F.interpolate(mixed, x.shape[-2:], mode="bilinear")


def paint_boxes(boxes: Tensor, side: int) -> Tensor:
    """Paint boxes as mask logits, with each cell's covered share between the extremes.

    Args:
        boxes: Boxes (B, 4) as x0, y0, x1, y1 fractions 0 … 1.
        side: Number of cells a side.

    Returns:
        (B, 1, side, side) in -4 … 4.
    """
    start = torch.arange(side, device=boxes.device) / side
    x0, y0, x1, y1 = (edge[:, None] for edge in boxes.unbind(1))
    across, down = (
        (torch.minimum(high, start + 1 / side) - torch.maximum(low, start)).clamp(min=0) * side
        for low, high in ((x0, x1), (y0, y1))
    )
    covered = down[:, None, :, None] * across[:, None, None, :]
    return (2 * covered - 1) * _BOX_LOGIT


def build_tiny(
    weights: str | None,
    *,
    width: int = 128,
    image_size: int = 320,
    decoder_width: int = 512,
    mixer: bool = True,
) -> TinySegmenter:
    """Build a ``TinySegmenter``; ``weights`` is a safetensors file of its own state, or None.

    Raises:
        FcpError: the file does not hold this architecture.
    """
    segmenter = TinySegmenter(
        width=width, image_size=image_size, decoder_width=decoder_width, mixer=mixer
    )
    if weights is not None:
        segmenter.load_start(Path(weights))
    return segmenter


def _mask_decoder(width: int, feed_forward: int) -> Sam2MaskDecoder:
    config = Sam2MaskDecoderConfig(
        hidden_size=width,
        mlp_dim=feed_forward,
        num_attention_heads=4,
        iou_head_hidden_dim=width,
        dynamic_multimask_via_stability=False,
    )
    # With few tokens, plain attention is faster on a CPU than the fused kernel.
    config._attn_implementation = "eager"
    decoder = Sam2MaskDecoder(config)
    # The skips come directly from the trunk, so their 1×1 convolutions take its channels. The
    # output that tells whether the object is present serves video tracking, and is not used here.
    decoder.conv_s0 = nn.Conv2d(_STEM_CHANNELS, width // 8, 1)
    decoder.conv_s1 = nn.Conv2d(_STRIDE4_CHANNELS, width // 4, 1)
    decoder.obj_score_token.requires_grad_(False)
    decoder.pred_obj_score_head.requires_grad_(False)
    return decoder


def start_trunk(encoder: PyramidEncoder, weights: str) -> None:
    """Load ImageNet weights into the trunk: MobileNetV2 in transformers' layout, folder or hub id.

    Raises:
        FcpError: no weights of that layout are there.
    """
    source = load_model(MobileNetV2Model, weights, add_pooling_layer=False)
    source.register_module("conv_1x1", nn.Identity())
    encoder.trunk.load_state_dict(source.state_dict())
