"""The interface for users: examples once, then any photos; masks at each photo's own size.

Photos are squashed, not letter-boxed, to the square that the model reads (method, section 1), and
the logits are resized back, so that nothing here depends on a photo's size or shape.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, Self

import torch

from fcp.checks import require, require_count
from fcp.data.decode import ImageLike
from fcp.data.photos import Photo, read_photo
from fcp.errors import FcpError
from fcp.inference.appearance.fitting import fit_appearances
from fcp.inference.arguments import batches_of, is_share
from fcp.inference.class_encoding import encode_class
from fcp.inference.example_quality import ExampleQuality
from fcp.inference.examples import (
    Examples,
    Given,
    read_classes,
    read_given,
    refuse_no_task,
    with_outlines,
)
from fcp.inference.networks import network_of
from fcp.inference.networks.base import AnyNetwork
from fcp.inference.networks.fcp import FcpNetwork
from fcp.inference.photo_matching import match_pictures, match_tiles
from fcp.inference.prediction import Least, Maps, Prediction, predict_classes
from fcp.inference.presence import Presence, load_presence
from fcp.inference.saving import SafeHubMixin
from fcp.inference.support import Support
from fcp.inference.tiling import choose_tile, require_side
from fcp.method.fcp.model import FCP
from fcp.method.fusion import DEFAULT_FUSION, check_fusion
from fcp.models.files import CARD_FILE
from fcp.models.loading import find_device, load_any
from fcp.system.documents import read_text
from fcp.system.files import write_atomically
from fcp.system.threads import lower_threads

LEAST = Least()


class FewShotSegmenter(
    SafeHubMixin,
    library_name="fcp",
    pipeline_tag="image-segmentation",
    tags=["few-shot-segmentation"],
    paper_url="https://arxiv.org/abs/2501.00752",
):
    """Segments in any photo the class that a few examples show, or several classes that compete.

    ``save_pretrained(folder)`` and ``push_to_hub(id)`` follow the hub's conventions; the examples
    are not saved.

    Examples:
        >>> import numpy as np
        >>> photo = np.zeros((60, 80, 3), np.uint8)
        >>> photo[10:40, 20:60] = 255
        >>> segmenter = FewShotSegmenter.from_pretrained("tiny", device="cpu")
        >>> segmenter = segmenter.fit({"square": [(photo, photo[..., 0] > 0)]})
        >>> segmenter.predict(photo).mask.shape
        (60, 80)

    Attributes:
        network: Model as it is used here (``fcp.inference.networks``).
        device: Device that the model runs on.
        fusion: Rule by which several examples become one answer.
        support: Encoded examples, or None before ``fit``; may be kept and set again later.
        turn: Context that is held while the model works, but not while pictures are read or masks
            are made.
        card: Text of the model card that came with the weights, or None.
        presence: Presence classifier, which judges whether a class is in a photo at all, or None.
    """

    def __init__(
        self,
        model: FCP | AnyNetwork,
        *,
        device: str = "auto",
        card: str | None = None,
        fusion: str = DEFAULT_FUSION,
        presence: Presence | None = None,
    ) -> None:
        self.device = find_device(device)
        self.network = FcpNetwork(model) if isinstance(model, FCP) else model
        self.fusion = self.network.check_fusion(check_fusion(fusion))
        self.network.to(self.device)
        self.support: Support | None = None
        self.turn: AbstractContextManager[object] = nullcontext()
        self.card = card
        self.presence = presence

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        device: str = "auto",
        fusion: str = DEFAULT_FUSION,
        **hub_options: Any,  # noqa: ANN401  (as snapshot_download takes them)
    ) -> Self:
        """Load a model, and let torch use no more threads than cores are free.

        Args:
            pretrained_model_name_or_path: Model to load: ``"small"`` or the faster ``"tiny"``,
                which ship with the package; a folder that ``save_pretrained`` or training wrote; a
                hub id ``"owner/name"``; or a method without training,
                ``"free:METHOD+BACKBONE+SEGMENTER"``, ``"free"`` for the one that suits this
                machine. A folder of your own named tiny is ``"./tiny"``.
            device: Device: ``"auto"`` (CUDA, then MPS, then CPU), or a name that torch knows.
            fusion: Rule by which several examples become one answer: ``"pooled"``, ``"confidence"``
                or ``"mean"`` (the paper's); see ``fcp.method.fusion``.
            **hub_options: Options of ``huggingface_hub.snapshot_download``: ``revision``,
                ``token``, ``cache_dir``, ``local_files_only`` …

        Raises:
            FcpError: no such model, device or fusion, a fusion that the model's method does not
                have, or files that do not make a model.
        """
        check_fusion(fusion)
        loaded, folder = load_any(pretrained_model_name_or_path, device=device, **hub_options)
        network = network_of(loaded)
        text, presence = None, None
        if folder is not None:
            card = folder / CARD_FILE
            text = read_text(card) if card.is_file() else None
            presence = load_presence(folder, network.levels)
        lower_threads()
        return cls(network, device=device, card=text, fusion=fusion, presence=presence)

    def fit(
        self,
        examples: Examples | Mapping[str, Examples],
        *,
        negatives: Examples = (),
        tile: int | Literal["auto"] | None = None,
        appearance: Literal["auto", "off"] = "auto",
        checks: bool = False,
    ) -> Self:
        """Encode the examples and keep them as ``support``, in place of earlier ones.

        Args:
            examples: See ``encode``.
            negatives: See ``encode``.
            tile: See ``encode``.
            appearance: See ``encode``.
            checks: See ``encode``.

        Raises:
            FcpError: as ``encode``.
        """
        self.support = self.encode(
            examples, negatives=negatives, tile=tile, appearance=appearance, checks=checks
        )
        return self

    @torch.inference_mode()
    def encode(
        self,
        examples: Examples | Mapping[str, Examples],
        *,
        negatives: Examples = (),
        tile: int | Literal["auto"] | None = None,
        appearance: Literal["auto", "off"] = "auto",
        checks: bool = False,
    ) -> Support:
        """Encode the examples, once for all later photos; the segmenter is not changed.

        Args:
            examples: Pairs (picture, annotation) of one class, or such pairs by class name.
                Pictures and masks are paths, Pillow pictures or arrays (see ``fcp.data.images``);
                an annotation may also be a ``Box``, ``Points`` or ``Scribble`` of
                ``fcp.data.prompts``, or a list of them. What points and scribbles are on is
                outlined by the model's promptable segmenter, if it has one.
            negatives: Pairs whose masks mark objects of none of the classes that might be mistaken
                for one.
            tile: Side in px of the overlapping tiles that photos are cut into, for small objects in
                large photos. Each tile is segmented by itself, and the examples are cut to one tile
                around the object. None for whole pictures; "auto" chooses by the size of the
                objects in the examples (``tiling.choose_tile``).
            appearance: Use of a pixel classifier fitted to the examples (docs/appearance.md):
                "auto" uses it where it is better on the examples, "off" never.
            checks: Whether each example is also found by means of the others of its class
                (``Support.quality``).

        Returns:
            Support for ``predict``; its method ``save`` writes it to a file.

        Raises:
            FcpError: a class without examples, an unreadable example, a mask that is empty or of
                the wrong size, two classes with the same pixels of the same picture, a ``tile``
                under 1, or an unknown ``appearance``.
        """
        if appearance not in ("auto", "off"):
            raise FcpError(f"appearance: expected auto or off, got {appearance!r}")
        read, against = read_classes(examples), read_given(negatives, " that are negative")
        refuse_no_task(read, against)
        with self.turn, torch.autocast(self.device.type, enabled=False):
            given = [with_outlines(self.network, one) for one in read.values()]
            side = self._side_of(tile, dict(zip(read, given, strict=True)))
            given += [with_outlines(self.network, against)] if against.pairs else []
            encoded = [
                encode_class(
                    self.network,
                    one,
                    side,
                    self.fusion,
                    learns=appearance == "auto",
                    checks=checks,
                    presence=self.presence,
                )
                for one in given
            ]
            learnt = [one.learnt for one in encoded]
            appearances = fit_appearances(self.network, learnt, self.fusion)
        return Support(
            model=self.fingerprint,
            classes={n: one.support for n, one in zip(read, encoded, strict=False)},
            negatives=encoded[-1].support if against.pairs else None,
            tile=side,
            tile_was_chosen=isinstance(tile, str),
            appearances=appearances if appearance == "auto" else (),
            quality={n: one.quality for n, one in zip(read, encoded, strict=False) if one.quality},
        )

    def check_examples(
        self,
        examples: Examples | Mapping[str, Examples],
        *,
        tile: int | Literal["auto"] | None = None,
    ) -> Mapping[str, Sequence[ExampleQuality]]:
        """Segment each example by means of the others of its class; see ``Support.quality``.

        Args:
            examples: See ``encode``.
            tile: See ``encode``.

        Raises:
            FcpError: as ``encode``.
        """
        return self.encode(examples, tile=tile, appearance="off", checks=True).quality

    def _side_of(self, tile: int | Literal["auto"] | None, read: Mapping[str, Given]) -> int | None:
        if tile == "auto":
            pairs = {name: given.pairs for name, given in read.items()}
            return choose_tile(pairs, square=self.network.square)
        return None if tile is None else require_side(tile)

    def predict(
        self,
        image: ImageLike | Photo,
        *,
        support: Support | None = None,
        threshold: float | None = None,
        least: Least = LEAST,
    ) -> Prediction:
        """Segment one photo.

        Args:
            image: Photo to segment.
            support: Support made by ``encode``; None for that of ``fit``.
            threshold: Presence below which a class gets no pixel, 0 … 1; None for the model's own
                threshold, 0 to segment every class always.
            least: Area and score below which a class gets no pixel either.

        Raises:
            FcpError: no support, one of another model, an unreadable photo, a ``tile`` that is too
                small for it, a threshold outside 0 … 1, or one for a model that cannot judge
                presence.
        """
        return self.predict_batch([image], support=support, threshold=threshold, least=least)[0]

    def predict_batch(
        self,
        images: Iterable[ImageLike | Photo],
        batch_size: int = 8,
        *,
        support: Support | None = None,
        threshold: float | None = None,
        least: Least = LEAST,
    ) -> list[Prediction]:
        """Segment photos of any sizes, ``batch_size`` at a time; the same results as one by one.

        The predictions of all photos are held. For many photos call it on parts of them, or use
        ``fcp.labelling.run.label_folder``, which writes files.

        Args:
            images: Photos to segment; of a generator's, no more than a batch is held at a time.
            batch_size: Number of photos that are encoded together.
            support: See ``predict``.
            threshold: See ``predict``.
            least: See ``predict``.

        Raises:
            FcpError: one photo in place of several, a ``batch_size`` under 1, or as ``predict``.
        """
        require_count("batch_size", batch_size)
        require(isinstance(least, Least), "least", "a Least, such as Least(score=0.2)", least)
        likely, own = self.check_threshold(threshold), self._own(support)
        predict = partial(self._predict_together, support=own, threshold=likely, least=least)
        # Mapped, so that no name keeps a batch while the next one is taken.
        return [one for found in map(predict, batches_of(images, batch_size)) for one in found]

    def check_threshold(self, threshold: float | None) -> float:
        """Return the threshold that ``predict`` takes for this one.

        Raises:
            FcpError: it is not in 0 … 1, or over 0 and the model cannot judge presence.
        """
        if threshold is None:
            return 0.0 if self.presence is None else self.presence.threshold
        require(is_share(threshold), "threshold", "a probability, 0 … 1", threshold)
        if threshold > 0 and self.presence is None:
            raise FcpError(
                "threshold: this model cannot judge presence; teach it with `fcp calibrate`"
            )
        return threshold

    def _predict_together(
        self, images: list[ImageLike | Photo], support: Support, threshold: float, least: Least
    ) -> list[Prediction]:
        photos = [read_photo(image, most=support.most_pixels)[0] for image in images]
        with torch.autocast(self.device.type, enabled=False):  # the same answer in every program
            answers = self._match(photos, support, threshold)
        sizes = [photo.size for photo in photos]
        del photos  # frees the memory of large photos for their masks
        return [
            predict_classes(
                dict(zip(support.classes, maps, strict=False)),
                size,
                against=maps[-1] if support.negatives else None,
                threshold=threshold,
                least=least,
            )
            for maps, size in zip(answers, sizes, strict=True)
        ]

    def _match(self, photos: list[Photo], support: Support, threshold: float) -> list[list[Maps]]:
        """Return the maps of each photo's classes, and of the negatives last."""
        if support.tile is None:
            pixels = [photo.pixels for photo in photos]
            return match_pictures(self.network, support, pixels, self.presence, self.turn)
        return [
            match_tiles(self.network, support, photo, self.presence, self.turn, threshold=threshold)
            for photo in photos
        ]

    @property
    def model(self) -> Any:  # noqa: ANN401  (of any family)
        """Model in evaluation mode on ``device``; the one that is saved."""
        return self.network.model

    @property
    def fitted(self) -> Support:
        """Support that ``fit`` has kept.

        Raises:
            FcpError: ``fit`` has not been called.
        """
        if self.support is None:
            raise FcpError("predict: no examples yet; call fit([(picture, mask), …]) first")
        return self.support

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the model's configuration and weights, which its supports carry."""
        return self.network.fingerprint

    def _own(self, support: Support | None) -> Support:
        """Return the support to predict with, on the model's device.

        Raises:
            FcpError: there is none, or another model has encoded it.
        """
        own = self.fitted if support is None else support
        require(isinstance(own, Support), "support", "a Support, as Support.load returns it", own)
        if own.model != self.fingerprint:
            raise FcpError(
                "support: another model has encoded these examples; encode them with this one"
            )
        return own.to(self.device)

    def _save_pretrained(self, save_directory: Path) -> None:
        self.network.save(save_directory)
        if self.presence is not None:
            self.presence.save(save_directory)
        if self.card is not None:
            write_atomically(save_directory / CARD_FILE, self.card.encode())
