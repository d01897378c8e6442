"""The door for people: examples once, then photo after photo; masks at each photo's own size.

Photos are squashed, not letter-boxed, to the square that the model sees (method, section 1), and
every answer is brought back from logits, so that nothing here depends on a photo's size or shape.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from huggingface_hub import ModelHubMixin, snapshot_download
from torch import Tensor

from fcp.checkpoint import CONFIG_FILE, WEIGHTS_FILE, load_model, save_model
from fcp.data.images import ImageLike, read_image
from fcp.data.prompts import Annotation, read_support
from fcp.data.transforms import support_to_square, to_canvas, to_square
from fcp.errors import FcpError
from fcp.fusion import check_fusion
from fcp.model import FCP
from fcp.prediction import ONLY_CLASS, Answer, Maps, Prediction, predict_classes
from fcp.structures import Output, SupportSet
from fcp.tiling import blend_answers, plan_windows

SHIPPED = ("tiny",)
DEFAULT_FUSION = "pooled"  # better than the paper's mean and cheaper (docs/fusion.md)
CARD = "README.md"
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")
_HUB_FILES = [CONFIG_FILE, WEIGHTS_FILE, CARD]


Examples = Iterable[tuple[ImageLike, Annotation]]


@dataclass(frozen=True)
class Support:
    """Encoded examples, made once for any number of photos.

    Attributes:
        classes: name → its examples, at least one class.
        negatives: examples of what is none of the classes, or None.
    """

    classes: Mapping[str, SupportSet]
    negatives: SupportSet | None = None


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

    Example:
        >>> segmenter = FewShotSegmenter.from_pretrained("tiny")  # doctest: +SKIP
        >>> segmenter.fit([("cat.jpg", "cat_mask.png")])  # doctest: +SKIP
        >>> segmenter.predict("another_cat.jpg").mask.shape  # doctest: +SKIP
        (480, 640)
        >>> cats, dogs = [("cat.jpg", "cat_mask.png")], [("dog.jpg", "dog_mask.png")]
        >>> segmenter.fit({"cat": cats, "dog": dogs})  # doctest: +SKIP
        >>> segmenter.predict("both.jpg").classes["dog"].score  # doctest: +SKIP
        0.91

    Attributes:
        model: the model, in evaluation mode on ``device``.
        device: where it runs.
        support: the encoded examples, or None before ``fit``; may be kept and set again later.
        card: text of the model card that came with the weights, or None.
    """

    def __init__(
        self,
        model: FCP,
        *,
        device: str = "auto",
        card: str | None = None,
        fusion: str = DEFAULT_FUSION,
    ) -> None:
        self.device = find_device(device)
        self.model = model.to(self.device).eval()
        self.model.fusion = check_fusion(fusion)
        self.support: Support | None = None
        self.card = card

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        device: str = "auto",
        fusion: str = DEFAULT_FUSION,
        **hub_options: Any,  # noqa: ANN401  (as snapshot_download takes them)
    ) -> Self:
        """Load a model.

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
        return cls(load_model(folder), device=device, card=text, fusion=fusion)

    @torch.inference_mode()
    def fit(self, examples: Examples | Mapping[str, Examples], *, negatives: Examples = ()) -> Self:
        """Encode the examples, once for all photos to come; replaces those given before.

        Args:
            examples: (picture, annotation) pairs of one thing, or name → pairs of several.
                Pictures and masks are paths, Pillow pictures or arrays (see ``fcp.data.images``);
                an annotation may also be a ``Box``, ``Points`` or ``Scribble`` of
                ``fcp.data.prompts``.
            negatives: pairs that show what is none of them, but might be taken for one.

        Raises:
            FcpError: no example of a class, an unreadable one, one whose mask is empty or does not
                fit, or two classes with the same pixels of the same picture.
        """
        named = examples if isinstance(examples, Mapping) else {ONLY_CLASS: examples}
        if not named:
            raise FcpError("examples: expected at least one class, got none")
        read = {name: [read_support(*pair) for pair in pairs] for name, pairs in named.items()}
        against = [read_support(*pair) for pair in negatives]
        for name, pairs in read.items():
            _refuse_no_example(name, pairs, has_negatives=bool(against))
        _refuse_same_pixels({**read, "the negative examples": against})
        self.support = Support(
            classes={name: self._encode(pairs) for name, pairs in read.items()},
            negatives=self._encode(against) if against else None,
        )
        return self

    def _encode(self, examples: Sequence[tuple[np.ndarray, np.ndarray]]) -> SupportSet:
        """Encode pictures (H, W, 3) with their masks (H, W) as one class."""
        size = self.model.config.image_size
        images = torch.stack([to_square(image, size) for image, _ in examples])
        masks = torch.stack([support_to_square(mask, size) for _, mask in examples])
        return self.model.encode_support(
            images[None].to(self.device), masks[None].to(self.device)
        )  # (1, K, 3, S, S) and (1, K, S, S)

    def predict(self, image: ImageLike, *, tile: int | None = None) -> Prediction:
        """Segment one photo.

        Args:
            image: the photo.
            tile: side in px of the overlapping tiles to cut it into, for things that are small in
                it; None looks at the whole photo at once.

        Raises:
            FcpError: called before ``fit``, an unreadable photo, or a ``tile`` that is too small
                for it.
        """
        return self.predict_batch([image])[0] if tile is None else self._predict_tiles(image, tile)

    def predict_batch(self, images: Iterable[ImageLike], batch_size: int = 8) -> list[Prediction]:
        """Segment photos of any sizes, ``batch_size`` at a time; the same results as one by one.

        Raises:
            FcpError: called before ``fit``, a ``batch_size`` under 1, or an unreadable photo.
        """
        if batch_size < 1:
            raise FcpError(f"batch_size: expected at least 1, got {batch_size}")
        waiting = list(images)
        return [
            prediction
            for start in range(0, len(waiting), batch_size)
            for prediction in self._predict_together(waiting[start : start + batch_size])
        ]

    def _predict_together(self, images: list[ImageLike]) -> list[Prediction]:
        pictures = [read_image(image) for image in images]
        side = self.model.config.image_size
        answers = self._ask(torch.stack([to_square(picture, side) for picture in pictures]))
        return [
            predict_classes(answer, (picture.shape[0], picture.shape[1]))
            for answer, picture in zip(answers, pictures, strict=True)
        ]

    def _predict_tiles(self, image: ImageLike, tile: int) -> Prediction:
        picture = read_image(image)
        size, side = (picture.shape[0], picture.shape[1]), self.model.config.image_size
        plan = plan_windows(size, tile, square=side, stride=self._stride())
        canvas = to_canvas(picture, plan.canvas)
        answers = [
            self._ask(canvas[None, :, top : top + side, left : left + side].float() / 255)[0]
            for top, left in plan.corners
        ]
        return predict_classes(blend_answers(answers, plan, square=side), size)

    @torch.inference_mode()
    def _ask(self, squares: Tensor) -> list[Answer]:
        """Look for all classes in photos (B, 3, S, S), each encoded once; an answer for each."""
        support = self._fitted()
        query = self.model.encode_query(squares.to(self.device))
        found = {
            name: _maps_of_photos(self.model.match(examples, query))
            for name, examples in support.classes.items()
        }
        negatives = support.negatives
        against = _maps_of_photos(self.model.match(negatives, query)) if negatives else None
        return [
            Answer(
                {name: of_photos[index] for name, of_photos in found.items()},
                against[index] if against else None,
            )
            for index in range(len(squares))
        ]

    def _fitted(self) -> Support:
        if self.support is None:
            raise FcpError("predict: no examples yet; call fit([(picture, mask), …]) first")
        return self.support

    def _stride(self) -> int:
        """Px of the square for one cell of the model's grid."""
        examples = next(iter(self._fitted().classes.values()))
        return self.model.config.image_size // examples.grid_mask.shape[-1]

    def _save_pretrained(self, save_directory: Path) -> None:
        save_model(self.model, save_directory)
        if self.card is not None and not (save_directory / CARD).exists():
            (save_directory / CARD).write_text(self.card, encoding="utf-8")


def find_device(name: str) -> torch.device:
    """Turn a device's name into a device that works here; ``"auto"`` takes the fastest there is.

    Raises:
        FcpError: an unknown name, or a device that this machine lacks.
    """
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        return torch.device(next(kind for kind, here in available.items() if here))
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise FcpError(f"device: expected auto, cpu, cuda or mps, got {name!r}") from error
    if not available.get(device.type, False):
        raise FcpError(f"device: {name} is not available here; use auto or cpu")
    return device


def find_model(model: str | Path, **hub_options: Any) -> Path:  # noqa: ANN401  (as the hub's)
    """Find the folder with a model's ``config.json`` and ``model.safetensors``.

    Args:
        model: a shipped model's name (text only), a folder, or a hub id, tried in this order.
        **hub_options: of ``huggingface_hub.snapshot_download``.

    Raises:
        FcpError: nothing goes by this name, or the hub cannot give it.
    """
    if model in SHIPPED:
        folder = Path(str(files("fcp") / "models" / str(model)))
        if not folder.is_dir():
            raise FcpError(f"{model}: its weights are not in this installation; reinstall fcp")
        return folder
    if Path(model).is_dir():
        return Path(model)
    if isinstance(model, Path) or not _HUB_ID.fullmatch(model):
        known = f"{', '.join(SHIPPED)}, a folder, or a hub id owner/name"
        raise FcpError(f"{model}: no such model folder; expected {known}")
    try:
        return Path(snapshot_download(model, allow_patterns=_HUB_FILES, **hub_options))
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise FcpError(f"{model}: neither a folder nor found on the hub ({reason})") from error


def _maps_of_photos(output: Output) -> list[Maps]:
    """Take what is kept of an answer, for each photo of its batch."""
    kept = (output.mask_logits, output.pseudo_mask, output.conventional_mask.mean(dim=1))
    return [Maps(*maps) for maps in zip(*(one.float().cpu() for one in kept), strict=True)]


def _refuse_no_example(name: str, pairs: Sequence[object], *, has_negatives: bool) -> None:
    if not pairs:
        alone = "; negative examples alone do not say what to find" if has_negatives else ""
        of = "" if name == ONLY_CLASS else f" of {name!r}"
        raise FcpError(
            f"examples: expected at least one (picture, annotation) pair{of}, got none{alone}"
        )


def _refuse_same_pixels(read: Mapping[str, Sequence[tuple[np.ndarray, np.ndarray]]]) -> None:
    """Raise where two classes mark the same pixels of the same picture."""
    owners: dict[bytes, str] = {}
    for name, pairs in read.items():
        for image, mask in pairs:
            digest = hashlib.sha256(image.tobytes() + mask.tobytes()).digest()
            owner = owners.setdefault(digest, name)
            if owner != name:
                raise FcpError(
                    f"examples: {owner!r} and {name!r} mark the same pixels of the same picture; "
                    "leave it out of one of them"
                )
