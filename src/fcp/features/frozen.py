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
from fcp.encoders.base import Backbone, PromptableSegmenter
from fcp.features.cache import FeatureCache, fingerprint
from fcp.method.base import SupportView, see_support
from fcp.method.fcp.model import FCP
from fcp.structures import BackboneFeatures, Embedding
from fcp.system.files import sha256_of

Tensors = dict[str, Tensor]
Part = Literal["backbone", "masked", "masked picture", "segmenter"]
Precision = Literal["no", "bf16"]
_FINER = "high_resolution."
_LEVEL = "level."


@dataclass(frozen=True)
class Encoders:
    """Frozen encoders of a model, with all that their features depend on.

    Attributes:
        backbone: Class-consistent backbone.
        settings: Settings of the backbone beside its weights, as plain values.
        view: What the backbone sees of an example.
        segmenter: Promptable segmenter; None for a model without one.
        segmenter_settings: Settings of the segmenter beside its weights.
    """

    backbone: Backbone
    settings: Sequence[object]
    view: SupportView = "masked stage"
    segmenter: PromptableSegmenter | None = None
    segmenter_settings: Sequence[object] = ()

    @classmethod
    def of(cls, model: FCP) -> Encoders:
        """Return the encoders of FCP."""
        backbone, segmenter = model.config.backbone, model.config.segmenter
        return cls(
            backbone=model.backbone,
            settings=[backbone.name, backbone.options],
            segmenter=model.segmenter,
            segmenter_settings=[segmenter.name, segmenter.options],
        )

    @property
    def device(self) -> torch.device:
        """Where the backbone is."""
        tensors = (*self.backbone.parameters(), *self.backbone.buffers())
        return tensors[0].device if tensors else torch.device("cpu")

    def see(self, pictures: Tensor, masks: Tensor) -> BackboneFeatures:
        """Run the backbone on examples (S, 3, H, W) with masks (S, 1, H, W) of 0 and 1."""
        return see_support(self.backbone, self.view, pictures, masks)

    def embed(self, pictures: Tensor) -> Embedding:
        """Run the segmenter's encoder on pictures (S, 3, H, W)."""
        if self.segmenter is None:
            raise TypeError("a model without a segmenter has no embeddings")
        return self.segmenter.encode(pictures)


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
        masked: Tensors of a backbone that saw the mask: ``high`` where its last stage ran under
            it, all where the picture was masked.
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
        encoders: Encoders that produce the features.
        store: Store of the features.
        precision: Precision in which the encoders run.
    """

    def __init__(
        self, encoders: Encoders, store: FeatureCache, precision: Precision = "no"
    ) -> None:
        self.store, self.precision, self.view = store, precision, encoders.view
        self._backbone = fingerprint(encoders.backbone, [*encoders.settings, precision])
        levels = range(len(encoders.backbone.level_channels))
        high = ("high",) if self.view == "whole" else ()
        self._for_examples = ("mid", *high, *(f"{_LEVEL}{number:02}" for number in levels))
        self._segmenter = encoders.segmenter and fingerprint(
            encoders.segmenter, [*encoders.segmenter_settings, precision]
        )

    def look(self, picture: Picture) -> StoredPicture:
        """Return the stored features of a query picture.

        Raises:
            FcpError: its file cannot be read.
        """
        seen = self.unread(picture)
        return replace(
            seen,
            backbone=self.store.find(self.key("backbone", picture, seen.content)),
            segmenter=self._embedding(picture, seen.content),
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
        whole = (
            None
            if self.view == "masked picture"
            else self.store.find(self.key("backbone", example, content), self._for_examples)
        )
        embedding = self._embedding(example, content, ("image",))
        seen = StoredExample(example, content, whole, embedding, example.mask(), None)
        if self.view == "whole":
            return seen
        return replace(seen, masked=self.store.find(self.masked_key(seen)))

    def _embedding(
        self, picture: Picture, content: str, names: tuple[str, ...] | None = None
    ) -> Tensors | None:
        if self._segmenter is None:
            return None
        return self.store.find(self.key("segmenter", picture, content), names)

    def masked_key(self, seen: StoredExample) -> str:
        """Return the store's key of what the backbone makes of an example with its mask."""
        part: Part = "masked picture" if self.view == "masked picture" else "masked"
        return self.key(part, seen.picture, seen.content, seen.mask_content)

    def key(self, part: Part, picture: Picture, *contents: str) -> str:
        """Return the store's key of one part of a picture's features.

        Args:
            part: Part of the features.
            picture: Picture, for its size.
            *contents: Hashes of the file and, where a mask was seen, of the mask.
        """
        encoder = self._segmenter if part == "segmenter" else self._backbone
        facts = (part, str(encoder), str(picture.size), *contents)
        return hashlib.sha256("\n".join(facts).encode()).hexdigest()


class LiveEncoders:
    """Encoders that run at each call and store nothing; features are on their device.

    Args:
        encoders: Encoders on the device on which they run.
    """

    def __init__(self, encoders: Encoders) -> None:
        self._encoders = encoders

    def embed(self, picture: Picture) -> Embedding:
        """Return the embedding of a picture, B = 1."""
        return self._encoders.embed(self._pixels(picture))

    def features(self, picture: Picture) -> BackboneFeatures:
        """Return the backbone's features of a picture, B = 1."""
        return self._encoders.backbone(self._pixels(picture))

    def example(self, example: ClassExample) -> tuple[BackboneFeatures, Tensor]:
        """Return the backbone's features of an example with its mask, and the mask (1, S, S)."""
        image = self._pixels(example)
        mask = example.mask()[None].to(image.device)
        return self._encoders.see(image, mask[:, None]), mask

    def _pixels(self, picture: Picture) -> Tensor:
        return picture.image()[None].to(self._encoders.device)


class FrozenEncoders:
    """Encoders that run only for features that a ``FeatureIndex`` does not find.

    All features are float32 on the encoders' device.

    Args:
        encoders: Encoders on the device on which they run.
        index: Index of the same encoders' features.
    """

    def __init__(self, encoders: Encoders, index: FeatureIndex) -> None:
        self._encoders, self._index = encoders, index

    def embed(self, picture: Picture) -> Embedding:
        """Return the embedding of a picture, B = 1."""
        return self._embeddings([self._index.unread(picture)])

    def features(self, picture: Picture) -> BackboneFeatures:
        """Return the backbone's features of a picture, B = 1."""
        return self.pictures([self._index.unread(picture)])

    def example(self, example: ClassExample) -> tuple[BackboneFeatures, Tensor]:
        """Return the backbone's features of an example with its mask, and the mask (1, S, S)."""
        return self.examples([self._index.look_at_example(example)])

    def queries(self, seen: Sequence[StoredPicture]) -> tuple[BackboneFeatures, Embedding]:
        """Return the features of B query pictures.

        Raises:
            FcpError: a picture cannot be read, or the store cannot be written.
        """
        return self.pictures(seen), self._embeddings(seen)

    def supports(self, seen: Sequence[StoredExample]) -> tuple[BackboneFeatures, Embedding, Tensor]:
        """Return features, embedding (without finer maps) and masks (B, S, S) of B examples.

        Raises:
            FcpError: as in ``queries``.
        """
        image = self._join([self._segmenter(item) for item in seen], "image")
        features, masks = self.examples(seen)
        return features, Embedding(image), masks

    def pictures(self, seen: Sequence[StoredPicture]) -> BackboneFeatures:
        """Return the backbone's features of B whole pictures.

        Raises:
            FcpError: as in ``queries``.
        """
        found = [self._backbone(item) for item in seen]
        return self._joined(found, found)

    def examples(self, seen: Sequence[StoredExample]) -> tuple[BackboneFeatures, Tensor]:
        """Return the backbone's features of B examples, and their masks (B, S, S).

        Raises:
            FcpError: as in ``queries``.
        """
        masks = self._gather([item.mask for item in seen])
        view = self._index.view
        whole = [] if view == "masked picture" else [self._backbone(item) for item in seen]
        masked = whole if view == "whole" else [self._masked(item) for item in seen]
        return self._joined(whole or masked, masked), masks

    def _joined(self, mid: Sequence[Tensors], high: Sequence[Tensors]) -> BackboneFeatures:
        return BackboneFeatures(self._join(mid, "mid"), self._join(high, "high"), self._levels(mid))

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
            return _tensors(self._encoders.backbone(self._pixels(seen)))

        key = self._index.key("backbone", seen.picture, seen.content)
        return seen.backbone or self._make(key, make)

    def _masked(self, seen: StoredExample) -> Tensors:
        def make() -> Tensors:
            pixels = self._pixels(seen)
            found = _tensors(self._encoders.see(pixels, seen.mask[None, None].to(pixels.device)))
            return {"high": found["high"]} if self._index.view == "masked stage" else found

        return seen.masked or self._make(self._index.masked_key(seen), make)

    def _segmenter(self, seen: StoredPicture) -> Tensors:
        def make() -> Tensors:
            embedding = self._encoders.embed(self._pixels(seen))
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
        with torch.autocast(self._encoders.device.type, torch.bfloat16, enabled=bf16):
            return self._index.store.put(key, make())

    def _join(self, items: Sequence[Tensors], name: str) -> Tensor:
        return self._gather([item[name] for item in items])

    def _gather(self, tensors: Sequence[Tensor]) -> Tensor:
        # Each tensor by itself: a stacked copy would no longer be in pinned memory.
        device = self._encoders.device
        return torch.stack([tensor.to(device, non_blocking=True).float() for tensor in tensors])

    def _pixels(self, seen: StoredPicture) -> Tensor:
        return seen.picture.image()[None].to(self._encoders.device)


def open_encoders(
    encoders: Encoders, store: FeatureCache | None, precision: Precision = "no"
) -> LiveEncoders | FrozenEncoders:
    """Return a model's encoders ready to run, with a store if one is given.

    With a store this hashes all of their weights for the keys, so call it once for a model.

    Args:
        encoders: Encoders that produce the features.
        store: Store of the features; None for encoders that run at each call.
        precision: Precision of the stored features.
    """
    if store is None:
        return LiveEncoders(encoders)
    return FrozenEncoders(encoders, FeatureIndex(encoders, store, precision))


def _tensors(features: BackboneFeatures) -> Tensors:
    """Return the features of one picture by name."""
    levels = {f"{_LEVEL}{n:02}": level[0] for n, level in enumerate(features.levels)}
    return {"mid": features.mid[0], "high": features.high[0], **levels}


def _pinned(tensors: Tensors | None) -> Tensors | None:
    return tensors and {name: tensor.pin_memory() for name, tensor in tensors.items()}
