"""What every compared method that is trained on episodes has in common: its doors and its nouns."""

from __future__ import annotations

import abc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Generic, Literal, TypeVar

import torch
from torch import Tensor, nn

from fcp.encoders.base import Backbone
from fcp.encoders.pixels import IMAGENET_MEAN
from fcp.errors import FcpError
from fcp.layers.grid import on_grid
from fcp.layers.masked import refuse_empty
from fcp.structures import BackboneFeatures, Episode

SupportT = TypeVar("SupportT")
QueryT = TypeVar("QueryT")
OutputT = TypeVar("OutputT", bound="TwoLogits")
SupportView = Literal["whole", "masked stage", "masked picture"]


@dataclass(frozen=True)
class TwoLogits:
    """What a method makes of a query.

    Attributes:
        logits: (B, 2, H, W) of background and object, at the picture's size.
    """

    logits: Tensor

    @property
    def mask_logits(self) -> Tensor:
        """(B, H, W); > 0 is object: the larger logit is the answer."""
        return self.logits[:, 1] - self.logits[:, 0]


@dataclass(frozen=True)
class TrainingTruth:
    """What a training step knows of an episode's pictures beside the support masks.

    Attributes:
        query_masks: (B, H, W) 1 object, 0 rest, 255 does not count.
        support_masks: (B, K, H, W) likewise.
        base_labels: (B, H, W) labels of the query among all base classes, 0 for none, 255 does not
            count; for BAM and HDMNet.
        classes: (B,) base label of the episode's own class, 1 or more; for BAM and HDMNet.
    """

    query_masks: Tensor
    support_masks: Tensor
    base_labels: Tensor | None = None
    classes: Tensor | None = None


class TrainedMethod(nn.Module, abc.ABC, Generic[SupportT, QueryT, OutputT]):
    """Few-shot segmentation from a backbone's features, without a promptable segmenter.

    The backbone is frozen and its batch norms keep their statistics, unless a method says other.

    Args:
        backbone: Image encoder that gives the features.

    Attributes:
        support_view: What the backbone sees of a support: the whole picture, the whole picture
            with stage 4 under the mask, or the picture with the mean colour outside the mask.
        needs_base_learner: Whether the method starts from a learner of the base classes.
    """

    support_view: ClassVar[SupportView] = "whole"
    needs_base_learner: ClassVar[bool] = False

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> TrainedMethod[SupportT, QueryT, OutputT]:
        """Switch the method; the backbone stays as it is, batch norms included."""
        super().train(mode)
        self.backbone.eval()
        return self

    def forward(self, episode: Episode) -> OutputT:
        """Segment the queries of an episode."""
        support = self.encode_support(episode.support_images, episode.support_masks)
        return self.match(support, self.encode_query(episode.query_images))

    def encode_support(self, images: Tensor, masks: Tensor) -> SupportT:
        """Encode examples.

        Args:
            images: (B, K, 3, H, W) RGB in 0 … 1.
            masks: (B, K, H, W) 1 object, 0 rest, 255 does not count.

        Raises:
            FcpError: A mask shows no object at all.
        """
        refuse_empty(masks == 1)
        return self.prepare_support(self.see_support(images.flatten(0, 1), masks), masks)

    def encode_query(self, images: Tensor) -> QueryT:
        """Encode query pictures (B, 3, H, W), RGB in 0 … 1."""
        return self.prepare_query(self.backbone(images), (images.shape[-2], images.shape[-1]))

    def see_support(self, pictures: Tensor, masks: Tensor) -> BackboneFeatures:
        """Run the backbone on support pictures (B·K, 3, H, W) with masks (B, K, H, W)."""
        objects = (masks == 1).to(pictures.dtype).flatten(0, 1)[:, None]
        return see_support(self.backbone, self.support_view, pictures, objects)

    @abc.abstractmethod
    def prepare_support(self, features: BackboneFeatures, masks: Tensor) -> SupportT:
        """``encode_support`` from what ``see_support`` gives, which training may store."""

    @abc.abstractmethod
    def prepare_query(self, features: BackboneFeatures, size: tuple[int, int]) -> QueryT:
        """``encode_query`` from the backbone's features of pictures of a size (H, W)."""

    @abc.abstractmethod
    def match(self, support: SupportT, query: QueryT) -> OutputT:
        """Segment B prepared queries by the supports of B tasks, or of one that serves all."""

    @abc.abstractmethod
    def losses(self, support: SupportT, query: QueryT, truth: TrainingTruth) -> dict[str, Tensor]:
        """Return the named loss terms of a step, unweighted, and what is minimised as ``total``."""


def see_support(
    backbone: Backbone, view: SupportView, pictures: Tensor, objects: Tensor
) -> BackboneFeatures:
    """Run a backbone on support pictures (S, 3, H, W) with masks (S, 1, H, W) of 0 and 1."""
    if view == "masked stage":
        return backbone(pictures, objects)
    if view == "masked picture":
        # The mean colour is 0 once it is normalised.
        colour = pictures.new_tensor(IMAGENET_MEAN).view(-1, 1, 1)
        pictures = torch.where(objects > 0, pictures, colour)
    return backbone(pictures)


def for_queries(support: Any, count: int) -> Any:  # noqa: ANN401  (any method's support)
    """Let the support of one task serve ``count`` queries: expand the first axis of its tensors."""
    return replace(
        support, **{f.name: _grow(getattr(support, f.name), count) for f in fields(support)}
    )


def _grow(value: Any, count: int) -> Any:  # noqa: ANN401  (a field of any method's support)
    if isinstance(value, tuple):
        return tuple(_grow(item, count) for item in value)
    if isinstance(value, Tensor) and len(value) == 1:
        return value.expand(count, *value.shape[1:])
    return value


@contextmanager
def repeatable() -> Iterator[None]:
    """Let a method that draws at test time, as CyCTR was released, draw the same each time.

    The global generator goes on afterwards as if nothing had been drawn.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        yield


def known_labels(truth: TrainingTruth) -> tuple[Tensor, Tensor]:
    """Return the base labels and the episode's own classes that BAM and HDMNet train with.

    Raises:
        FcpError: One of them is missing.
    """
    if truth.base_labels is None or truth.classes is None:
        raise FcpError(
            "truth: base_labels and classes are needed to train with a base learner; give both"
        )
    return truth.base_labels, truth.classes


def at_size(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Bring logits (B, 2, h, w) to a picture's size, as float32."""
    return on_grid(logits.float(), size)
