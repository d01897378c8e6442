"""PerSAM and PerSAM-F as a module: pictures in, mask out."""

from __future__ import annotations

import torch
from torch import Tensor

from fcp.encoders.base import PromptableSegmenter
from fcp.encoders.guided import Guidance
from fcp.errors import FcpError
from fcp.method.free import FreeMethod, FreeQuery, FreeSupport, Shots
from fcp.method.persam.frame import PictureFrame, mask_cells
from fcp.method.persam.steps import (
    PerSamSteps,
    PointDecoder,
    at_picture,
    attention_bias,
    confidence,
    extreme_points,
    mean_confidence,
    target_mean,
    target_mean_max,
    three_calls,
)
from fcp.method.persam.weights import fit_weights
from fcp.structures import Embedding


class PerSam(FreeMethod):
    """PerSAM: the object's mean cell says where to point and what the decoder attends to.

    Args:
        segmenter: Promptable segmenter; SAM.
        finetune: PerSAM-F: mixing weights fitted to the reference instead of guidance.
        released: Follow the authors' program where it departs from the paper.
        shots: The paper knows one reference and reads the first; "pooled" reads the cells of all.

    Raises:
        FcpError: an unknown rule.
    """

    def __init__(
        self,
        segmenter: PromptableSegmenter,
        *,
        finetune: bool = False,
        released: bool = True,
        shots: Shots = "paper",
    ) -> None:
        super().__init__(shots)
        self.segmenter = segmenter.requires_grad_(False).eval()
        self.finetune = finetune
        self.released = released

    @property
    def image_size(self) -> int:
        """Side (px) of the segmenter's square."""
        return self.segmenter.image_size

    @torch.no_grad()
    def encode_support(self, images: Tensor, masks: Tensor) -> FreeSupport:
        """Encode examples; see ``FreeMethod``. PerSAM-F fits its weights to them.

        Raises:
            FcpError: a task's mask has no foreground.
        """
        most = self.most_examples(self.shots)
        images, masks = images[:, :most], masks[:, :most]
        batch = masks.shape[:2]
        frame = self._frame(images)
        embedding = self.segmenter.encode(frame.put(images.flatten(0, 1)))
        grid = (embedding.image.shape[2], embedding.image.shape[3])
        inside = mask_cells(masks.flatten(0, 1), frame, grid).unflatten(0, batch)
        if not inside.flatten(1).any(1).all():
            raise FcpError("support masks: no foreground; mark the object in the first example")
        features = embedding.image.unflatten(0, batch)
        if not self.finetune:
            return FreeSupport(features, inside, pooled=self.pooled)
        logits = self._reference_logits(embedding, features, inside, frame)
        fitted = zip(logits.unflatten(0, batch), masks, strict=True)
        weights = torch.stack([fit_weights(task, mask) for task, mask in fitted])
        return FreeSupport(features, inside, weights, self.pooled)

    def most_examples(self, shots: Shots) -> int | None:
        """Return how many examples a rule reads; the paper's the first alone."""
        return None if shots == "pooled" else 1

    @torch.no_grad()
    def encode_query(self, images: Tensor) -> FreeQuery:
        """Encode query pictures; see ``FreeMethod``."""
        embedding = self.segmenter.encode(self._frame(images).put(images))
        size = (images.shape[-2], images.shape[-1])
        return FreeQuery(size=size, features=embedding.image, embedding=embedding)

    def segment(self, support: FreeSupport, query: FreeQuery) -> tuple[Tensor, PerSamSteps]:
        """Segment one picture; see ``FreeMethod``."""
        frame = PictureFrame(query.size, self.segmenter.image_size)
        grid = (query.features.shape[2], query.features.shape[3])
        cells = query.features[0].flatten(1)
        shown, inside = _joined(support.features[0], support.masks[0])
        target = target_mean_max(shown, inside) if self.finetune else target_mean(shown, inside)
        if self.released or self.finetune:
            like = confidence(cells, target)
        else:
            like = mean_confidence(cells, shown, inside)
        at_pixels = at_picture(like, grid, frame)
        points, labels = extreme_points(at_pixels), like.new_tensor([1, 0])
        bias, guidance, weights = None, None, None
        if support.weights is not None:
            points, labels, weights = points[:1], labels[:1], support.weights[0]
        else:
            bias = attention_bias(at_pixels, like, grid, released=self.released)
            guidance = Guidance(bias[None], target[None], self.released)
        decoder = PointDecoder(self.segmenter, query.prompted, frame, points, labels)
        calls, iou = three_calls(decoder, guidance, weights)
        return calls[-1], PerSamSteps(target, at_pixels, points, labels, bias, calls, iou)

    def _frame(self, images: Tensor) -> PictureFrame:
        return PictureFrame((images.shape[-2], images.shape[-1]), self.segmenter.image_size)

    def _reference_logits(
        self, embedding: Embedding, features: Tensor, inside: Tensor, frame: PictureFrame
    ) -> Tensor:
        """Three masks (B·K, 3, H, W) of each reference at its own most confident point."""
        found = []
        pictures = list(_one_by_one(embedding))
        for task, (maps, masks) in enumerate(zip(features, inside, strict=True)):
            target = target_mean_max(*_joined(maps, masks))
            for shot, cells in enumerate(maps):
                grid = (cells.shape[1], cells.shape[2])
                at_pixels = at_picture(confidence(cells.flatten(1), target), grid, frame)
                decoder = PointDecoder(
                    self.segmenter,
                    pictures[task * len(maps) + shot],
                    frame,
                    extreme_points(at_pixels)[:1],
                    cells.new_ones(1),
                )
                found.append(frame.take(decoder.draw()[0]))
        return torch.stack(found)


def _joined(features: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Put the cells of K shots (K, C, h, w) in one row (C, K·N), and their masks (K·N,)."""
    return features.flatten(2).movedim(1, 0).flatten(1), masks.flatten()


def _one_by_one(embedding: Embedding) -> list[Embedding]:
    """Split the embedding of B pictures into B of one each."""
    count = len(embedding.image)
    levels = [level.split(1) for level in embedding.high_resolution]
    return [
        Embedding(image, tuple(level[i] for level in levels))
        for i, image in zip(range(count), embedding.image.split(1), strict=True)
    ]
