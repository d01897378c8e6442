"""The door for people: examples once, then photo after photo; masks at each photo's own size.

Photos are squashed, not letter-boxed, to the square that the model sees (method, section 1), and
every answer is brought back from logits, so that nothing here depends on a photo's size or shape.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from huggingface_hub import ModelHubMixin

from fcp.appearance.features import Layer
from fcp.appearance.fitting import Appearance, fit_appearances, layers_of
from fcp.checkpoint import load_model, save_model
from fcp.data.decode import ImageLike
from fcp.data.photos import Photo, read_photo
from fcp.data.transforms import to_canvas, to_square
from fcp.errors import FcpError
from fcp.examples import Examples, Given, read_classes, read_given, refuse_no_task
from fcp.fusion import DEFAULT_FUSION, check_fusion
from fcp.leave_one_out import ExampleQuality, judge_examples, leave_one_out
from fcp.loading import CARD, find_device, find_model, for_inference
from fcp.model import FCP
from fcp.prediction import Answer, Least, Maps, Prediction, predict_classes
from fcp.presence import Presence, load_presence, look_at
from fcp.structures import QueryFeatures, SupportSet
from fcp.support import Support, encode_examples, to_squares
from fcp.threads import lower_threads
from fcp.tiling import (
    STRIDE,
    blend_answers,
    choose_tile,
    least_tile,
    plan_windows,
)

LEAST = Least()


class FewShotSegmenter(
    ModelHubMixin,
    library_name="fcp",
    pipeline_tag="image-segmentation",
    tags=["few-shot-segmentation"],
    paper_url="https://arxiv.org/abs/2501.00752",
):
    """Finds in any photo what a few examples show: one thing, or several that compete.

    ``save_pretrained(folder)`` and ``push_to_hub(id)`` follow the hub's conventions; the examples
    are not saved.

    Examples:
        >>> segmenter = FewShotSegmenter.from_pretrained("tiny")  # doctest: +SKIP
        >>> segmenter.fit([("cat.jpg", "cat_mask.png")])  # doctest: +SKIP
        >>> segmenter.predict("another_cat.jpg").mask.shape  # doctest: +SKIP
        (480, 640)
        >>> cats, dogs = [("cat.jpg", "cat_mask.png")], [("dog.jpg", "dog_mask.png")]
        >>> segmenter.fit({"cat": cats, "dog": dogs})  # doctest: +SKIP
        >>> segmenter.predict("both.jpg").classes["dog"].score  # doctest: +SKIP
        0.91

    Attributes:
        model: the model, in evaluation mode on ``device``; what is saved.
        running: what answers: the same in a faster form (``loading.for_inference``).
        device: where it runs.
        support: the encoded examples, or None before ``fit``; may be kept and set again later.
        turn: is held while the model works, and not while pictures are read or masks are made.
        card: text of the model card that came with the weights, or None.
        presence: judges whether a class is in a photo at all, or None.
    """

    def __init__(
        self,
        model: FCP,
        *,
        device: str = "auto",
        card: str | None = None,
        fusion: str = DEFAULT_FUSION,
        presence: Presence | None = None,
    ) -> None:
        self.device = find_device(device)
        self.model = model.to(self.device).eval()
        self.fusion = check_fusion(fusion)
        self.running = for_inference(self.model)
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
        """Load a model, and let torch use no more threads than cores are free (``fcp.threads``).

        Args:
            pretrained_model_name_or_path: ``"tiny"``, the model that ships inside; a folder that
                ``save_pretrained`` or training wrote; or a hub id ``"owner/name"``. A folder of
                one's own that is called tiny is ``"./tiny"``.
            device: ``"auto"`` (CUDA, then MPS, then CPU), or a device as torch names it.
            fusion: how several examples become one answer: ``"pooled"``,
                ``"confidence"`` or ``"mean"`` (the paper's); see ``fcp.fusion``.
            **hub_options: ``revision``, ``token``, ``cache_dir``, ``local_files_only`` … of
                ``huggingface_hub.snapshot_download``.

        Raises:
            FcpError: no such model, device or fusion, or files that do not make a model.
        """
        folder = find_model(pretrained_model_name_or_path, **hub_options)
        card = folder / CARD
        text = card.read_text(encoding="utf-8") if card.is_file() else None
        model = load_model(folder)
        presence = load_presence(folder, model.head.levels)
        lower_threads()
        return cls(model, device=device, card=text, fusion=fusion, presence=presence)

    @torch.inference_mode()
    def fit(
        self,
        examples: Examples | Mapping[str, Examples],
        *,
        negatives: Examples = (),
        tile: int | Literal["auto"] | None = None,
        appearance: Literal["auto", "off"] = "auto",
    ) -> Self:
        """Encode the examples, once for all photos to come; replaces those given before.

        Args:
            examples: (picture, annotation) pairs of one thing, or name → pairs of several.
                Pictures and masks are paths, Pillow pictures or arrays (see ``fcp.data.images``);
                an annotation may also be a ``Box``, ``Points`` or ``Scribble`` of
                ``fcp.data.prompts``.
            negatives: pairs that show what is none of them, but might be taken for one.
            tile: for things that are small in large photos: side in px of the overlapping tiles
                that photos are cut into, each looked at by itself, and of the windows around the
                things that are taken of the examples. None looks at whole pictures; "auto" chooses
                by the size of the things in the examples (``tiling.choose_tile``).
            appearance: "auto" learns what the classes look like, pixel by pixel, and lets that
                decide where the examples say that it is better (docs/appearance.md); "off" does
                not.

        Raises:
            FcpError: no example of a class, an unreadable one, one whose mask is empty or does not
                fit, two classes with the same pixels of the same picture, a ``tile`` under 1, or
                another ``appearance``.
        """
        if appearance not in ("auto", "off"):
            raise FcpError(f"appearance: expected auto or off, got {appearance!r}")
        read, against = read_classes(examples), read_given(negatives)
        refuse_no_task(read, against)
        side = self._side_of(tile, read)
        given = [*read.values(), *([against] if against.pairs else [])]
        exact = [one.exact_pairs(side) for one in given]
        with self.turn:
            self.support = Support(
                classes={
                    name: encode_examples(self.running, one.pairs, side, self.fusion)
                    for name, one in read.items()
                },
                negatives=(
                    encode_examples(self.running, against.pairs, side, self.fusion)
                    if against.pairs
                    else None
                ),
                tile=side,
                tile_was_chosen=tile == "auto",
                appearances=fit_appearances(self.running, exact, self.fusion)
                if appearance == "auto"
                else (),
            )
        return self

    def check_examples(
        self,
        examples: Examples | Mapping[str, Examples],
        *,
        tile: int | Literal["auto"] | None = None,
    ) -> dict[str, list[ExampleQuality]]:
        """Look for each example by means of the others of its class; ``fit`` need not be called.

        Args:
            examples: as for ``fit``.
            tile: as for ``fit``.

        Returns:
            Class → its examples' quality, in their order; nothing of a class with one example.

        Raises:
            FcpError: an example as in ``fit``.
        """
        read = read_classes(examples)
        side, size = self._side_of(tile, read), self.model.config.image_size
        squares = {
            name: to_squares(given.pairs, side, size)
            for name, given in read.items()
            if len(given.pairs) > 1
        }
        return {
            name: judge_examples(
                leave_one_out(
                    self.running,
                    images.to(self.device),
                    masks.to(self.device),
                    self.presence,
                    self.fusion,
                )
            )
            for name, (images, masks) in squares.items()
        }

    def _side_of(self, tile: int | Literal["auto"] | None, read: Mapping[str, Given]) -> int | None:
        if tile == "auto":
            pairs = {name: given.pairs for name, given in read.items()}
            return choose_tile(pairs, square=self.model.config.image_size)
        if tile is not None and tile < 1:
            raise FcpError(f"tile: expected at least 1 px, got {tile}")
        return tile

    def predict(
        self, image: ImageLike | Photo, *, threshold: float | None = None, least: Least = LEAST
    ) -> Prediction:
        """Segment one photo.

        Args:
            image: the photo.
            threshold: a class whose ``presence`` is under it gets no pixel; None takes the model's
                own, 0 always answers.
            least: area and score of a class under which it gets no pixel either.

        Raises:
            FcpError: called before ``fit``, an unreadable photo, a ``tile`` of ``fit`` that is too
                small for it, or a threshold that is not in 0 … 1 or that nothing can be held to.
        """
        return self.predict_batch([image], threshold=threshold, least=least)[0]

    def predict_batch(
        self,
        images: Iterable[ImageLike | Photo],
        batch_size: int = 8,
        *,
        threshold: float | None = None,
        least: Least = LEAST,
    ) -> list[Prediction]:
        """Segment photos of any sizes, ``batch_size`` at a time; the same results as one by one.

        Raises:
            FcpError: called before ``fit``, a ``batch_size`` under 1, or as ``predict``.
        """
        if batch_size < 1:
            raise FcpError(f"batch_size: expected at least 1, got {batch_size}")
        likely = self.check_threshold(threshold)
        waiting = list(images)
        batches = (waiting[at : at + batch_size] for at in range(0, len(waiting), batch_size))
        return [one for batch in batches for one in self._predict_together(batch, likely, least)]

    def check_threshold(self, threshold: float | None) -> float:
        """Return the threshold that ``predict`` takes for this one.

        Raises:
            FcpError: it is not in 0 … 1, or over 0 and the model cannot judge presence.
        """
        if threshold is None:
            return 0.0 if self.presence is None else self.presence.threshold
        if not 0 <= threshold <= 1:
            raise FcpError(f"threshold: expected a probability, 0 … 1, got {threshold}")
        if threshold > 0 and self.presence is None:
            raise FcpError(
                "threshold: this model cannot judge presence; teach it with `fcp calibrate`"
            )
        return threshold

    def _predict_together(
        self, images: list[ImageLike | Photo], threshold: float, least: Least
    ) -> list[Prediction]:
        photos = [read_photo(image, most=self.fitted.most_pixels)[0] for image in images]
        if self.fitted.tile is None:
            answers = self._ask([photo.pixels for photo in photos])
        else:
            answers = [self._ask_tiles(photo, threshold) for photo in photos]
        sizes = [photo.size for photo in photos]
        del photos  # large ones make room for their masks, if nobody else holds them
        asked = zip(answers, sizes, strict=True)
        return [predict_classes(self._judge(one), size, threshold, least) for one, size in asked]

    def _judge(self, answer: Answer) -> Answer:
        """Add how likely each class is in the picture, if the model can judge that."""
        if self.presence is None or answer.presence is not None:
            return answer
        judged = [
            self.presence.judge(support, maps.look)
            for support, maps in zip(self.fitted.entrants, answer.entrants, strict=True)
            if maps.look is not None
        ]
        return replace(answer, presence=judged)

    def _ask_tiles(self, photo: Photo, threshold: float) -> Answer:
        """Look at each tile alone; a class that is not in a tile gets nothing of it."""
        support, side = self.fitted, self.model.config.image_size
        least = least_tile(photo.size, side) if support.tile_was_chosen else 1
        tile = max(support.tile or 1, least)
        plan = plan_windows(photo.size, tile, square=side, stride=STRIDE)
        canvas = to_canvas(photo.pixels, plan.canvas).permute(1, 2, 0).numpy()
        answers = (
            self._judge(
                self._ask([canvas[top : top + side, left : left + side]])[0]
            ).without_absent(threshold)
            for top, left in plan.corners
        )
        return blend_answers(answers, plan, square=side)

    @torch.inference_mode()
    def _ask(self, pictures: Sequence[np.ndarray]) -> list[Answer]:
        """Look for all classes in photos (H, W, 3), each encoded once; an answer for each."""
        support, side = self.fitted, self.model.config.image_size
        squares = torch.stack([to_square(picture, side) for picture in pictures])
        with self.turn:
            query = self.running.encode_query(squares.to(self.device))
            found = [self._match(entrant, query) for entrant in support.entrants]
        answers = []
        for index, picture in enumerate(pictures):
            maps = self._with_appearance(
                [of_photos[index] for of_photos in found], picture, query, index
            )
            classes = dict(zip(support.classes, maps, strict=False))
            answers.append(Answer(classes, maps[-1] if support.negatives else None))
        return answers

    def _with_appearance(
        self, maps: list[Maps], picture: np.ndarray, query: QueryFeatures, index: int
    ) -> list[Maps]:
        """Let the appearances have their say on a photo, if any of them has one."""
        appearances = self.fitted.appearances
        if not any(one is not None and one.classifier is not None for one in appearances):
            return maps
        layers = layers_of(picture, query, index, self.model.config.image_size)
        size = (picture.shape[0], picture.shape[1])
        return [
            one if own is None else _mixed(one, own, layers, size)
            for one, own in zip(maps, appearances, strict=True)
        ]

    def _match(self, support: SupportSet, query: QueryFeatures) -> list[Maps]:
        """Look for one class in B photos, and take what is kept of the answer for each."""
        output = self.running.match(support, query)
        conventional = output.conventional_mask.mean(dim=1)
        looks = None
        if self.presence:
            looks = look_at(query, output.mask_logits, output.correlation)
        return [
            Maps(
                output.mask_logits[index].float().cpu(),
                output.pseudo_mask[index].float().cpu(),
                conventional[index].float().cpu(),
                looks[index] if looks else None,
            )
            for index in range(len(conventional))
        ]

    @property
    def fitted(self) -> Support:
        """The encoded examples; without any, an FcpError."""
        if self.support is None:
            raise FcpError("predict: no examples yet; call fit([(picture, mask), …]) first")
        return self.support

    def _save_pretrained(self, save_directory: Path) -> None:
        save_model(self.model, save_directory)
        if self.presence is not None:
            self.presence.save(save_directory)
        if self.card is not None and not (save_directory / CARD).exists():
            (save_directory / CARD).write_text(self.card, encoding="utf-8")


def _mixed(maps: Maps, own: Appearance, layers: Sequence[Layer], size: tuple[int, int]) -> Maps:
    logits = own.mix(maps.logits, layers, size)
    return replace(maps, logits=logits, by_appearance=own.decision.by_appearance)
