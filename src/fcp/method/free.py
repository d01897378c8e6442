"""What the methods without any training share: three doors, resizes, cells, prompts.

Letters as everywhere: B batch, K shots, C channels, h w grid, N = h·w cells (cell y·w + x), n
points. Cells are (…, C, N), as in the papers' equations. Every resize is bilinear, corners not
aligned, not smoothed, unless its name says otherwise.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fcp.encoders.base import PromptableSegmenter
from fcp.errors import FcpError
from fcp.structures import Embedding, Episode

Shots = Literal["paper", "pooled"]
PROMPTS_A_BATCH = 128  # of SAM's decoder on an accelerator: about 45 MB each at 1024 px
CPU_PROMPTS_A_BATCH = 32  # on a CPU, where more would save nothing but hold more memory


@dataclass(frozen=True)
class FreeSupport:
    """Examples of B tasks, encoded once.

    Attributes:
        features: (B, K, C, h, w) as the method compares them.
        masks: (B, K, h, w) on that grid, boolean or as shares 0 … 1.
        weights: (B, 3) of the decoder's three masks, PerSAM-F's; else None.
        pooled: Whether the K examples count as one, instead of by the paper's rule.
    """

    features: Tensor
    masks: Tensor
    weights: Tensor | None = None
    pooled: bool = False


@dataclass(frozen=True)
class FreeQuery:
    """B query pictures, encoded once.

    Attributes:
        size: (H, W) px of the pictures as they came.
        features: (B, C, h, w) as the method compares them.
        embedding: Embedding for the mask decoder; None of a method without one.
        pictures: (B, 3, S, S) in the method's frame, where its last step reads colours; else None.
    """

    size: tuple[int, int]
    features: Tensor
    embedding: Embedding | None = None
    pictures: Tensor | None = None

    @property
    def prompted(self) -> Embedding:
        """The embedding, of a method that prompts a segmenter."""
        if self.embedding is None:
            raise ValueError("this query was encoded without a segmenter")
        return self.embedding


@dataclass(frozen=True)
class FreeOutput:
    """What a method without training answers.

    Attributes:
        mask_logits: (B, H, W); > 0 is foreground.
        steps: Intermediate results, one record a picture; the record's class lists them.
    """

    mask_logits: Tensor
    steps: tuple[Any, ...] = field(default=())


class FreeMethod(nn.Module, abc.ABC):
    """Examples and a picture → a mask, without any training; the encoders are frozen.

    Args:
        shots: Rule by which K examples become one answer: the paper's, or all as one example.

    Raises:
        FcpError: no such rule.
    """

    def __init__(self, shots: Shots) -> None:
        super().__init__()
        if shots not in get_args(Shots):
            raise FcpError(f"shots: expected {' or '.join(get_args(Shots))}, got {shots!r}")
        self.pooled = shots == "pooled"

    @property
    def shots(self) -> Shots:
        """Rule by which K examples become one answer."""
        return "pooled" if self.pooled else "paper"

    def most_examples(self, shots: Shots) -> int | None:
        """Return how many examples a rule reads, the first ones; None for all."""
        return None

    @property
    @abc.abstractmethod
    def image_size(self) -> int:
        """Side (px) of the square frame that the method brings pictures to."""

    def forward(self, episode: Episode) -> FreeOutput:
        """Segment the queries of an episode."""
        support = self.encode_support(episode.support_images, episode.support_masks)
        return self.match(support, self.encode_query(episode.query_images))

    @abc.abstractmethod
    def encode_support(self, images: Tensor, masks: Tensor) -> FreeSupport:
        """Encode examples: images (B, K, 3, H, W) in 0 … 1, masks (B, K, H, W) 0 or 1."""

    @abc.abstractmethod
    def encode_query(self, images: Tensor) -> FreeQuery:
        """Encode query pictures (B, 3, H, W) in 0 … 1."""

    def join(self, shown: Sequence[FreeSupport], shots: Shots) -> FreeSupport:
        """Join K examples of one task that were encoded one by one.

        The result is that of encoding them together, but for pooled weights of PerSAM-F, which are
        then the mean of the examples' own, and for masks without a pixel, which encoding takes for
        the centre of the picture only where all masks of the task are empty.

        Args:
            shown: Supports of one example each.
            shots: Rule by which they become one answer.
        """
        shown = shown[: self.most_examples(shots)]
        fitted = [one.weights for one in shown if one.weights is not None]
        return FreeSupport(
            features=torch.cat([one.features for one in shown], 1),
            masks=torch.cat([one.masks for one in shown], 1),
            weights=torch.stack(fitted).mean(0) if fitted else None,
            pooled=shots == "pooled",
        )

    def compared(self, query: FreeQuery) -> Tensor:
        """Return the features (B, C, h, w) of queries in the space of the examples'."""
        return query.features

    @torch.no_grad()
    def match(self, support: FreeSupport, query: FreeQuery) -> FreeOutput:
        """Segment prepared queries.

        Args:
            support: Support of B tasks, or of one that serves all B queries.
            query: Features of B pictures.
        """
        count = len(query.features)
        found = [self.segment(_nth(support, i), _nth(query, i)) for i in range(count)]
        return FreeOutput(torch.stack([logits for logits, _ in found]), tuple(s for _, s in found))

    @abc.abstractmethod
    def segment(self, support: FreeSupport, query: FreeQuery) -> tuple[Tensor, Any]:
        """Segment one picture, both arguments with a batch of one: logits (H, W) and the steps."""


def _nth(batch: Any, index: int) -> Any:  # noqa: ANN401  (a support or a query)
    """Return one task or picture of a batch; a batch of one serves every index."""

    def pick(value: Any) -> Any:  # noqa: ANN401
        if isinstance(value, Embedding):
            return value.of(index)
        if isinstance(value, Tensor):
            return value[index : index + 1] if len(value) > 1 else value
        return value

    return type(batch)(**{name: pick(value) for name, value in vars(batch).items()})


def down(maps: Tensor, size: tuple[int, int], *, align_corners: bool = False) -> Tensor:
    """Bring maps (S, H, W) to a size, larger or smaller: bilinear, never smoothed."""
    return F.interpolate(maps.float()[:, None], size, mode="bilinear", align_corners=align_corners)[
        :, 0
    ]


def nearest(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Bring masks (S, H, W) to a size by nearest neighbour: row i reads row ⌊i·H / rows⌋."""
    return F.interpolate(masks.float()[:, None], size, mode="nearest")[:, 0]


def centre_if_empty(masks: Tensor, side: int = 14) -> Tensor:
    """Return masks (K, S, S), or where none of them has a pixel, ones with the central square."""
    if masks.any():
        return masks
    start = (masks.shape[-1] - side) // 2
    centred = masks.clone()
    centred[:, start : start + side, start : start + side] = 1
    return centred


def mask_boxes(masks: Tensor) -> Tensor:
    """Return x0, y0, x1, y1 (M, 4) of masks (M, S, S), inclusive; zeros of an empty one."""
    sides = []
    for axis in (1, 2):  # columns, then rows
        hit = masks.any(axis).to(torch.uint8)
        first, last = hit.argmax(1), hit.shape[1] - 1 - hit.flip(1).argmax(1)
        some = hit.any(1)
        sides.append((first * some, last * some))
    (x0, x1), (y0, y1) = sides
    return torch.stack([x0, y0, x1, y1], 1).float()


def require_foreground(inside: Tensor) -> None:
    """Check that the examples of each task show the object.

    Args:
        inside: Whether cells (B, K, h, w) are the object's.

    Raises:
        FcpError: those of a task show none.
    """
    if not inside.flatten(1).any(1).all():
        raise FcpError("support masks: no foreground; mark the object in at least one example")


def unit_cells(cells: Tensor) -> Tensor:
    """Divide each cell of (…, C, N) by its length over C."""
    return F.normalize(cells, dim=-2)


def pool_shots(cells: Tensor) -> Tensor:
    """Put the cells of K shots (K, …, N) in one row: (1, …, K·N), shot after shot."""
    return torch.cat(list(cells), dim=-1)[None]


def soft_logits(soft: Tensor) -> Tensor:
    """Turn shares 0 … 1 into logits whose sign is that of share > 0.5."""
    return soft.clamp(1e-3, 1 - 1e-3).logit()


def no_mask(size: tuple[int, int], like: Tensor) -> Tensor:
    """Logits (H, W) of an answer without foreground."""
    return soft_logits(like.new_zeros(size))


def prompt_batches(prompts: Tensor) -> tuple[Tensor, ...]:
    """Split prompts (P, …) into what the decoder takes at once where they lie."""
    most = CPU_PROMPTS_A_BATCH if prompts.device.type == "cpu" else PROMPTS_A_BATCH
    return prompts.split(most)


def decode_points(
    segmenter: PromptableSegmenter,
    embedding: Embedding,
    points: Tensor,
    *,
    boxes: Tensor | None = None,
    multimask: bool = False,
) -> tuple[Tensor, Tensor]:
    """Draw the masks of many prompts of foreground points in one picture.

    Args:
        segmenter: Promptable segmenter.
        embedding: One picture.
        points: (P, n, 2) x, y as fractions of the picture; n points each.
        boxes: (P, 4) of the prompts as fractions, or None.
        multimask: Three masks a prompt.

    Returns:
        Logits (P, 1 or 3, h', w') and estimated IoU (P, 1 or 3).
    """
    tokens, painted = segmenter.embed_prompts(points=points, boxes=boxes)
    found = segmenter.decode_candidates(embedding, tokens, painted, multimask=multimask)
    return found[0].float(), found[1].float()
