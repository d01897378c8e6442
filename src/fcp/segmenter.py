"""The door for people: examples once, then photo after photo; masks at each photo's own size.

Photos are squashed, not letter-boxed, to the square that the model sees (method, section 1), and
every answer is brought back from logits, so that nothing here depends on a photo's size or shape.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from huggingface_hub import ModelHubMixin, snapshot_download
from torch import Tensor
from torch.nn import functional

from fcp.checkpoint import CONFIG_FILE, WEIGHTS_FILE, load_model, save_model
from fcp.data.images import ImageLike, read_image
from fcp.data.prompts import Annotation, read_support
from fcp.data.transforms import logits_to_size, mask_to_square, to_square
from fcp.errors import FcpError
from fcp.fusion import check_fusion
from fcp.model import FCP
from fcp.structures import Output, SupportSet

SHIPPED = ("tiny",)
DEFAULT_FUSION = "pooled"  # better than the paper's mean and cheaper (docs/fusion.md)
CARD = "README.md"
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")
_HUB_FILES = [CONFIG_FILE, WEIGHTS_FILE, CARD]


@dataclass(frozen=True)
class Prediction:
    """What the examples' thing looks like in one photo of H×W px.

    Attributes:
        mask: (H, W) bool: where ``logits`` > 0.
        score: 0 … 1, the IoU with the truth that the map of probabilities p itself expects of the
            mask M: Σ M·p / Σ max(M, p). Near 1 for a sharp mask, 0 for an empty one. It says how
            sure the model is, not whether it is right.
        logits: (H, W) float32, log-odds of foreground, of all examples together.
        pseudo_mask: (H, W) float32 in 0 … 1: the last attention-based map (Eq. 8), averaged over
            the examples; the conventional one for a model that makes none.
        conventional_mask: (H, W) float32 in 0 … 1: the similarity map (Eq. 5), averaged likewise.
    """

    mask: np.ndarray
    score: float
    logits: np.ndarray
    pseudo_mask: np.ndarray
    conventional_mask: np.ndarray


class FewShotSegmenter(
    ModelHubMixin,
    library_name="fcp",
    pipeline_tag="image-segmentation",
    tags=["few-shot-segmentation"],
    paper_url="https://arxiv.org/abs/2501.00752",
):
    """Finds in any photo the thing that a few examples show.

    ``save_pretrained(folder)`` and ``push_to_hub(id)`` follow the hub's conventions; the examples
    are not saved.

    Example:
        >>> segmenter = FewShotSegmenter.from_pretrained("tiny")  # doctest: +SKIP
        >>> segmenter.fit([("cat.jpg", "cat_mask.png")])  # doctest: +SKIP
        >>> segmenter.predict("another_cat.jpg").mask.shape  # doctest: +SKIP
        (480, 640)

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
        self.support: SupportSet | None = None
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
    def fit(self, examples: Iterable[tuple[ImageLike, Annotation]]) -> Self:
        """Encode the examples, once for all photos to come; replaces those given before.

        Args:
            examples: (picture, annotation) pairs. Pictures and masks are paths, Pillow pictures
                or arrays (see ``fcp.data.images``); an annotation may also be a ``Box``,
                ``Points`` or ``Scribble`` of ``fcp.data.prompts``.

        Raises:
            FcpError: no example, an unreadable one, or one whose mask is empty or does not fit.
        """
        size = self.model.config.image_size
        squares = [
            (to_square(picture, size), _square_mask(mask, size))
            for picture, mask in (read_support(*example) for example in examples)
        ]
        if not squares:
            raise FcpError("examples: expected at least one (picture, annotation) pair, got none")
        images = torch.stack([image for image, _ in squares])[None]  # (1, K, 3, S, S)
        masks = torch.stack([mask for _, mask in squares])[None]  # (1, K, S, S)
        self.support = self.model.encode_support(images.to(self.device), masks.to(self.device))
        return self

    def predict(self, image: ImageLike) -> Prediction:
        """Segment one photo.

        Raises:
            FcpError: called before ``fit``, or the photo cannot be read.
        """
        return self.predict_batch([image])[0]

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

    @torch.inference_mode()
    def _predict_together(self, images: list[ImageLike]) -> list[Prediction]:
        if self.support is None:
            raise FcpError("predict: no examples yet; call fit([(picture, mask), …]) first")
        pictures = [read_image(image) for image in images]
        size = self.model.config.image_size
        squares = torch.stack([to_square(picture, size) for picture in pictures])  # (B, 3, S, S)
        query = self.model.encode_query(squares.to(self.device))
        output = self.model.match(self.support, query)
        sizes = [(picture.shape[0], picture.shape[1]) for picture in pictures]
        return [_at_own_size(output, index, own) for index, own in enumerate(sizes)]

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


def _square_mask(mask: np.ndarray, size: int) -> Tensor:
    """Bring a mask (H, W) to the square (S, S); a thing too small to survive keeps any overlap."""
    square = mask_to_square(mask, size)
    if square.any():
        return square
    full = torch.as_tensor(mask, dtype=torch.float32)[None, None]
    return functional.adaptive_max_pool2d(full, size)[0, 0]


def _at_own_size(output: Output, index: int, size: tuple[int, int]) -> Prediction:
    """Bring answer ``index`` of a batch to its photo's size (H, W)."""
    logits = logits_to_size(output.mask_logits[index].float(), size).cpu()
    conventional = output.conventional_mask[index].mean(dim=0)  # (K, h, w) → (h, w)
    mask = logits > 0
    return Prediction(
        mask=mask.numpy(),
        score=_expected_iou(mask, logits.sigmoid()),
        logits=logits.numpy(),
        pseudo_mask=logits_to_size(output.pseudo_mask[index].float(), size).cpu().numpy(),
        conventional_mask=logits_to_size(conventional.float(), size).cpu().numpy(),
    )


def _expected_iou(mask: Tensor, probability: Tensor) -> float:
    """Return Σ M·p / Σ max(M, p) in 0 … 1 for a mask and a map (H, W)."""
    if not mask.any():
        return 0.0
    inside = probability[mask].sum(dtype=torch.float64)
    union = torch.where(mask, 1.0, probability).sum(dtype=torch.float64)
    return float(inside / union)
