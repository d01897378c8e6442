"""FCP as a predictor: the frozen encoders' features of a picture are computed once and kept."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import partial
from typing import TypeVar, cast

import torch
from torch import Tensor

from fcp.config import Fusion
from fcp.data.dataset import ClassExample, Picture
from fcp.evaluation.episode_counts import MASK
from fcp.features.frozen import Encoders, FrozenEncoders, LiveEncoders
from fcp.layers.masked import min_max
from fcp.method.fcp.model import FCP
from fcp.structures import BackboneFeatures, Embedding, Output, QueryFeatures, SupportSet

ATTENTION = "attention"
CONVENTIONAL = "conventional"
CORRELATION = "correlation"
STRETCHED = "conventional_minmax"
DEFAULT_CACHE_BYTES = 1 << 30

T = TypeVar("T")


class FCPPredictor:
    """Segments queries with an FCP model, keeping encoder outputs by picture id.

    A picture's embedding is kept for its use both as query and as support. A query's features are
    kept by picture, a support's by picture and class (its mask changes its stage-4 map), and so is
    the head's encoding of a single support. The least recently used values are dropped when the
    allowed memory is exceeded.

    Args:
        model: Model on the device where it is to run.
        cache_bytes: Memory allowed for kept features, bytes.
        encoders: Encoders of the model, such as ``open_encoders`` returns with a store on disk;
            None for the model's own.
        fusion: Rule by which the shots become one answer; the paper's by default.
    """

    def __init__(
        self,
        model: FCP,
        *,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
        encoders: LiveEncoders | FrozenEncoders | None = None,
        fusion: Fusion = "mean",
    ) -> None:
        self.model = model.eval()
        self.image_size = model.config.image_size
        self.fusion = fusion
        self._encoders = encoders or LiveEncoders(Encoders.of(model))
        self._cache = BoundedCache(cache_bytes)

    def __call__(self, supports: Sequence[ClassExample], query: Picture) -> Mapping[str, Tensor]:
        """Return ``"mask"`` and both pseudo masks, see ``probability_maps``."""
        return probability_maps(self.output(supports, query))

    @torch.inference_mode()
    def output(
        self, supports: Sequence[ClassExample], query: Picture, *, with_maps: bool = False
    ) -> Output:
        """Return the model's whole output for one query, B = 1; attention maps on request."""
        support = self._support(supports)
        prepared = self._cache.get(("query", query.id), partial(self._prepare_query, query))
        return self.model.match(support, prepared, with_maps=with_maps)

    def _prepare_query(self, query: Picture) -> QueryFeatures:
        features, embedding = self._encoders.features(query), self._embedding(query)
        return self.model.head.prepare_query(features, embedding)

    def _embedding(self, picture: Picture) -> Embedding:
        """Return a picture's embedding, the same for a query and for a support of any class."""
        key = ("embedding", picture.id)
        return self._cache.get(key, partial(self._encoders.embed, picture))

    def _support(self, supports: Sequence[ClassExample]) -> SupportSet:
        if len(supports) > 1:  # hardly ever the same ones again
            return self._prepare_support(supports)
        key = ("alone", supports[0].id, supports[0].class_id)
        return self._cache.get(key, partial(self._prepare_support, supports))

    def _prepare_support(self, supports: Sequence[ClassExample]) -> SupportSet:
        encoded = [
            self._cache.get(
                (example.id, example.class_id), partial(self._encoders.example, example)
            )
            for example in supports
        ]
        features = BackboneFeatures.cat([item for item, _ in encoded])
        embedding = Embedding.cat([self._embedding(item) for item in supports])
        masks = torch.cat([mask for _, mask in encoded])[None]  # (1, K, S, S)
        return self.model.head.prepare_support(features, embedding, masks, fusion=self.fusion)


class BoundedCache:
    """Least recently used values, dropped when their tensors exceed a number of bytes."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.held = 0
        self._values: OrderedDict[Hashable, object] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return the value kept under a key; make it if there is none."""
        if key not in self._values:
            self._values[key] = make()
            self.held += _bytes_of(self._values[key])
        self._values.move_to_end(key)
        value = cast(T, self._values[key])
        while self.held > self.capacity and self._values:
            _, dropped = self._values.popitem(last=False)
            self.held -= _bytes_of(dropped)
        return value


def probability_maps(output: Output) -> dict[str, Tensor]:
    """Return an output's first ``"mask"`` and pseudo masks as probability maps (H', W').

    Pseudo masks of several shots are averaged. ``"correlation"`` and ``"attention"`` are missing
    where the model makes none. The conventional mask comes twice: as the head uses it, a cosine
    that stays below 0.5 with some backbones, and stretched to 0 … 1 over the picture, as the
    attention maps are (Eq. 8).
    """
    cosine = output.conventional_mask[0]  # (K, h, w)
    maps = {
        MASK: output.mask_logits[0].sigmoid(),
        CONVENTIONAL: cosine.mean(dim=0),
        STRETCHED: min_max(cosine.flatten(1)).view_as(cosine).mean(dim=0),
    }
    if output.correlation is not None:
        maps[CORRELATION] = output.correlation.estimates[-1].sigmoid().mean(dim=0)
    if output.attention_masks.shape[2] > 0:
        maps[ATTENTION] = output.attention_masks[0, :, -1].mean(dim=0)
    return maps


def _bytes_of(value: object) -> int:
    """Count the bytes of all tensors in nested tuples, mappings and dataclasses."""
    if isinstance(value, Tensor):
        return value.nbytes
    if isinstance(value, Mapping):
        return sum(_bytes_of(item) for item in value.values())
    if isinstance(value, tuple):
        return sum(_bytes_of(item) for item in value)
    if is_dataclass(value):
        return sum(_bytes_of(getattr(value, field.name)) for field in fields(value))
    return 0
