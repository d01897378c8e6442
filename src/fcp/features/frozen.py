"""Features of the frozen encoders for the pictures of a data set: made once, stored if small.

The key of an entry is the content of the picture's file and the encoder's weights, so that renamed
files, other folds and other heads use the same entries. Encoders run on one picture at a time, and
features are always converted to 16 bits, as they are stored: stored and new features are equal bit
by bit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self

import torch
from torch import Tensor

from fcp.data.dataset import ClassExample, Picture
from fcp.features.cache import FeatureCache, fingerprint
from fcp.files import sha256_of
from fcp.method.fcp.model import FCP
from fcp.structures import BackboneFeatures, Embedding

Tensors = dict[str, Tensor]
Part = Literal["backbone", "masked", "segmenter"]
Precision = Literal["no", "bf16"]
_FINER = "high_resolution."
_LEVEL = "level."


@dataclass(frozen=True)
class StoredPicture:
    """Stored features of a picture; a missing part is None.

    Attributes:
        picture: Picture of the features.
        content: Hash of the picture's file.
        backbone: Tensors of the backbone: ``mid`` and, for a query, ``high``.
        segmenter: Tensors of the segmenter: ``image`` and, for a query, the finer maps.
    """

    picture: Picture
    content: str
    backbone: Tensors | None
    segmenter: Tensors | None

    def pin_memory(self) -> Self:
        """Return it with its tensors in pinned memory; torch's loader calls this method."""
        return replace(self, backbone=_pinned(self.backbone), segmenter=_pinned(self.segmenter))


@dataclass(frozen=True)
class StoredExample(StoredPicture):
    """Stored features of an example.

    Attributes:
        mask: Mask (S, S) of 0 and 1.
        masked: Tensor ``high`` of a backbone whose last stage ran under the mask.
    """

    mask: Tensor
    masked: Tensors | None

    def pin_memory(self) -> Self:
        """Return it with its tensors, the mask among them, in pinned memory."""
        mask, masked = self.mask.pin_memory(), _pinned(self.masked)
        return replace(super().pin_memory(), mask=mask, masked=masked)

    @property
    def mask_content(self) -> str:
        """Hash of the mask's values."""
        return hashlib.sha256(self.mask.to(torch.uint8).numpy().tobytes()).hexdigest()


class FeatureIndex:
    """Lookup of stored features by picture, without a model, so that loader processes can hold it.

    Args:
        model: Model whose encoders produce the features.
        store: Store of the features.
        precision: Precision in which the encoders run.
    """

    def __init__(self, model: FCP, store: FeatureCache, precision: Precision = "no") -> None:
        self.store, self.precision = store, precision
        backbone, segmenter = model.config.backbone, model.config.segmenter
        kinds = ([backbone.name, backbone.options], [segmenter.name, segmenter.options])
        self._backbone = fingerprint(model.backbone, [*kinds[0], precision])
        levels = range(len(model.backbone.level_channels))
        self._for_examples = ("mid", *(f"{_LEVEL}{number:02}" for number in levels))
        self._segmenter = fingerprint(model.segmenter, [*kinds[1], precision])

    def look(self, picture: Picture) -> StoredPicture:
        """Return the stored features of a query picture.

        Raises:
            FcpError: its file cannot be read.
        """
        seen = self.unread(picture)
        return replace(
            seen,
            backbone=self.store.find(self.key("backbone", picture, seen.content)),
            segmenter=self.store.find(self.key("segmenter", picture, seen.content)),
        )

    def unread(self, picture: Picture) -> StoredPicture:
        """Return a query picture's hash alone, without reading stored features.

        Raises:
            FcpError: its file cannot be read.
        """
        return StoredPicture(picture, sha256_of(picture.data.image_path(picture.id)), None, None)

    def look_at_example(self, example: ClassExample) -> StoredExample:
        """Return the stored features of an example, without the parts that only a query needs.

        Raises:
            FcpError: its file or its mask cannot be read.
        """
        content = sha256_of(example.data.image_path(example.id))
        seen = StoredExample(
            example,
            content,
            self.store.find(self.key("backbone", example, content), self._for_examples),
            self.store.find(self.key("segmenter", example, content), ("image",)),
            example.mask(),
            None,
        )
        masked = self.store.find(self.key("masked", example, content, seen.mask_content))
        return replace(seen, masked=masked)

    def key(self, part: Part, picture: Picture, *contents: str) -> str:
        """Return the store's key of one part of a picture's features.

        Args:
            part: Part of the features.
            picture: Picture, for its size.
            *contents: Hashes of the file and, for ``"masked"``, of the mask.
        """
        encoder = self._segmenter if part == "segmenter" else self._backbone
        facts = (part, encoder, str(picture.size), *contents)
        return hashlib.sha256("\n".join(facts).encode()).hexdigest()


class LiveEncoders:
    """Encoders that run at each call and store nothing; features are on the model's device.

    Args:
        model: Model on the device on which it runs.
    """

    def __init__(self, model: FCP) -> None:
        self._model = model

    def embed(self, picture: Picture) -> Embedding:
        """Return the embedding of a picture, B = 1."""
        return self._model.segmenter.encode(self._pixels(picture))

    def features(self, picture: Picture) -> BackboneFeatures:
        """Return the backbone's features of a picture, B = 1."""
        return self._model.backbone(self._pixels(picture))

    def example(self, example: ClassExample) -> tuple[BackboneFeatures, Tensor]:
        """Return the backbone's features of an example under its mask, and the mask (1, S, S)."""
        image = self._pixels(example)
        mask = example.mask()[None].to(image.device)
        return self._model.backbone(image, mask[:, None]), mask

    def _pixels(self, picture: Picture) -> Tensor:
        return picture.image()[None].to(device_of(self._model))


class FrozenEncoders:
    """Encoders that run only for features that a ``FeatureIndex`` does not find.

    All features are float32 on the model's device.

    Args:
        model: Model on the device on which it runs.
        index: Index of the same model's features.
    """

    def __init__(self, model: FCP, index: FeatureIndex) -> None:
        self._model, self._index = model, index

    def embed(self, picture: Picture) -> Embedding:
        """Return the embedding of a picture, B = 1."""
        return self._embeddings([self._index.unread(picture)])

    def features(self, picture: Picture) -> BackboneFeatures:
        """Return the backbone's features of a picture, B = 1."""
        return self._features([self._index.unread(picture)])

    def example(self, example: ClassExample) -> tuple[BackboneFeatures, Tensor]:
        """Return the backbone's features of an example under its mask, and the mask (1, S, S)."""
        seen = self._index.look_at_example(example)
        return self._masked_features([seen]), self._gather([seen.mask])

    def queries(self, seen: Sequence[StoredPicture]) -> tuple[BackboneFeatures, Embedding]:
        """Return the features of B query pictures.

        Raises:
            FcpError: a picture cannot be read, or the store cannot be written.
        """
        return self._features(seen), self._embeddings(seen)

    def supports(self, seen: Sequence[StoredExample]) -> tuple[BackboneFeatures, Embedding, Tensor]:
        """Return features, embedding (without finer maps) and masks (B, S, S) of B examples.

        Raises:
            FcpError: as in ``queries``.
        """
        image = self._join([self._segmenter(item) for item in seen], "image")
        masks = self._gather([item.mask for item in seen])
        return self._masked_features(seen), Embedding(image), masks

    def _features(self, seen: Sequence[StoredPicture]) -> BackboneFeatures:
        found = [self._backbone(item) for item in seen]
        return BackboneFeatures(
            self._join(found, "mid"), self._join(found, "high"), self._levels(found)
        )

    def _masked_features(self, seen: Sequence[StoredExample]) -> BackboneFeatures:
        found = [self._backbone(item) for item in seen]
        high = self._join([self._masked(item) for item in seen], "high")
        return BackboneFeatures(self._join(found, "mid"), high, self._levels(found))

    def _levels(self, found: Sequence[Tensors]) -> tuple[Tensor, ...]:
        names = sorted(name for name in found[0] if name.startswith(_LEVEL))
        return tuple(self._join(found, name) for name in names)

    def _embeddings(self, seen: Sequence[StoredPicture]) -> Embedding:
        found = [self._segmenter(item) for item in seen]
        finer = sorted(name for name in found[0] if name.startswith(_FINER))
        return Embedding(
            self._join(found, "image"), tuple(self._join(found, name) for name in finer)
        )

    def _backbone(self, seen: StoredPicture) -> Tensors:
        def make() -> Tensors:
            features = self._model.backbone(self._pixels(seen))
            levels = {f"{_LEVEL}{n:02}": level[0] for n, level in enumerate(features.levels)}
            return {"mid": features.mid[0], "high": features.high[0], **levels}

        key = self._index.key("backbone", seen.picture, seen.content)
        return seen.backbone or self._make(key, make)

    def _masked(self, seen: StoredExample) -> Tensors:
        def make() -> Tensors:
            pixels = self._pixels(seen)
            mask = seen.mask[None, None].to(pixels.device)
            return {"high": self._model.backbone(pixels, mask).high[0]}

        key = self._index.key("masked", seen.picture, seen.content, seen.mask_content)
        return seen.masked or self._make(key, make)

    def _segmenter(self, seen: StoredPicture) -> Tensors:
        def make() -> Tensors:
            embedding = self._model.segmenter.encode(self._pixels(seen))
            finer = enumerate(embedding.high_resolution)
            return {"image": embedding.image[0], **{f"{_FINER}{n}": m[0] for n, m in finer}}

        key = self._index.key("segmenter", seen.picture, seen.content)
        return seen.segmenter or self._make(key, make)

    @torch.no_grad()
    def _make(self, key: str, make: Callable[[], Tensors]) -> Tensors:
        """Run an encoder, unless the entry was stored since the first lookup."""
        found = self._index.store.find(key)
        if found is not None:
            return found
        bf16 = self._index.precision == "bf16"
        # Explicit in both cases: the caller's autocast must not affect stored values.
        with torch.autocast(device_of(self._model).type, torch.bfloat16, enabled=bf16):
            return self._index.store.put(key, make())

    def _join(self, items: Sequence[Tensors], name: str) -> Tensor:
        return self._gather([item[name] for item in items])

    def _gather(self, tensors: Sequence[Tensor]) -> Tensor:
        # Each tensor by itself: a stacked copy would no longer be in pinned memory.
        device = device_of(self._model)
        return torch.stack([tensor.to(device, non_blocking=True).float() for tensor in tensors])

    def _pixels(self, seen: StoredPicture) -> Tensor:
        return seen.picture.image()[None].to(device_of(self._model))


def open_encoders(model: FCP, store: FeatureCache | None) -> LiveEncoders | FrozenEncoders:
    """Return a model's encoders, with a store if one is given.

    With a store this hashes all of their weights for the keys, so call it once for a model.
    """
    return (
        LiveEncoders(model) if store is None else FrozenEncoders(model, FeatureIndex(model, store))
    )


def _pinned(tensors: Tensors | None) -> Tensors | None:
    return tensors and {name: tensor.pin_memory() for name, tensor in tensors.items()}


def device_of(model: FCP) -> torch.device:
    """Return where a model's weights are."""
    return next(model.parameters()).device
