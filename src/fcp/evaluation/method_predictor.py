"""Any method with the doors ``encode_support``, ``encode_query`` and ``match`` as a predictor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from fcp.data.dataset import ClassExample, Picture
from fcp.evaluation.episode_counts import MASK
from fcp.evaluation.predictor import DEFAULT_CACHE_BYTES, BoundedCache
from fcp.features.frozen import Encoders, FrozenEncoders, LiveEncoders
from fcp.method.base import TrainedMethod, repeatable
from fcp.method.free import FreeMethod
from fcp.method.stages import backbone_settings
from fcp.method.trained import AnyMethod
from fcp.models.trained import LoadedTrained
from fcp.structures import BackboneFeatures


def encoders_of(loaded: LoadedTrained) -> Encoders:
    """Return the backbone of a trained method with all that its features depend on."""
    backbone = loaded.model.backbone
    option = loaded.options.get("backbone", "resnet50")
    return Encoders(backbone, backbone_settings(backbone, option), loaded.model.support_view)


class Doors(Protocol):
    """What the predictor needs of a method; ``match`` returns ``mask_logits`` (B, H, W)."""

    def encode_support(self, images: Tensor, masks: Tensor) -> Any:  # noqa: ANN401
        """Encode examples (B, K, 3, H, W) with masks (B, K, H, W) of 0 and 1."""

    def encode_query(self, images: Tensor) -> Any:  # noqa: ANN401
        """Encode pictures (B, 3, H, W)."""

    def match(self, support: Any, query: Any) -> Any:  # noqa: ANN401
        """Segment prepared pictures."""


class MethodPredictor:
    """Segments queries with a method, whose own rule makes one answer of K examples.

    A query is kept by picture, and so are examples that stand alone, by picture and class. Where
    the encoders are given, the features of each example of several are kept too; a method without
    training joins examples that were encoded alone. The least recently used values are dropped when
    the allowed memory is exceeded.

    Args:
        method: Method on the device where it is to run, in evaluation mode.
        image_size: Side S of the square pictures that it is given, px.
        encoders: Encoders of a trained method, such as ``open_encoders`` returns; None to go
            through the method's doors alone.
        device: Device of the method.
        cache_bytes: Memory allowed for kept values, bytes.
    """

    def __init__(
        self,
        method: Doors,
        *,
        image_size: int,
        encoders: LiveEncoders | FrozenEncoders | None = None,
        device: str | torch.device = "cpu",
        cache_bytes: int = DEFAULT_CACHE_BYTES,
    ) -> None:
        self.method, self.image_size = method, image_size
        self._encoders, self._device = encoders, device
        self._cache = BoundedCache(cache_bytes)

    @torch.inference_mode()
    def __call__(self, supports: Sequence[ClassExample], query: Picture) -> Mapping[str, Tensor]:
        """Return ``"mask"``, the probability (S, S) of the object."""
        support = self._support(supports)
        prepared = self._cache.get(("query", query.id), partial(self._prepare_query, query))
        with repeatable():
            return {MASK: self.method.match(support, prepared).mask_logits[0].sigmoid()}

    def _prepare_query(self, query: Picture) -> object:
        if self._encoders is None:
            return self.method.encode_query(query.image()[None].to(self._device))
        size = (query.size, query.size)
        return self._trained.prepare_query(self._encoders.features(query), size)

    def _support(self, supports: Sequence[ClassExample]) -> object:
        if len(supports) == 1:
            return self._alone(supports[0])
        if isinstance(self.method, FreeMethod):
            shots = self.method.shots
            read = supports[: self.method.most_examples(shots)]
            return self.method.join([self._alone(one) for one in read], shots)
        return self._prepare_support(supports)  # hardly ever the same ones again

    def _alone(self, example: ClassExample) -> Any:  # noqa: ANN401  (of any method)
        key = ("alone", example.id, example.class_id)
        return self._cache.get(key, partial(self._prepare_support, [example]))

    def _prepare_support(self, supports: Sequence[ClassExample]) -> object:
        if self._encoders is None:
            images = torch.stack([example.image() for example in supports])[None]
            masks = torch.stack([self._mask(example) for example in supports])[None]
            return self.method.encode_support(images.to(self._device), masks.to(self._device))
        keep = len(supports) > 1  # one alone is kept as a whole
        seen = [self._seen(self._encoders, example, keep=keep) for example in supports]
        features = BackboneFeatures.cat([item for item, _ in seen])
        masks = torch.cat([mask for _, mask in seen])[None]  # (1, K, S, S)
        return self._trained.prepare_support(features, masks)

    def _seen(
        self, encoders: LiveEncoders | FrozenEncoders, example: ClassExample, *, keep: bool
    ) -> tuple[BackboneFeatures, Tensor]:
        def make() -> tuple[BackboneFeatures, Tensor]:
            features, mask = encoders.example(example)
            return features, self._mask(example)[None].to(mask.device)

        return self._cache.get((example.id, example.class_id), make) if keep else make()

    def _mask(self, example: ClassExample) -> Tensor:
        """Return an example's mask (S, S) as the method's training has it."""
        return example.truth() if isinstance(self.method, TrainedMethod) else example.mask()

    @property
    def _trained(self) -> AnyMethod:
        if not isinstance(self.method, TrainedMethod):
            raise TypeError("encoders: only a trained method goes on from their features")
        return self.method
