"""Functions that the figures share: episodes run through a model, and the truth on its grid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from fcp.data.dataset import FewShotDataset
from fcp.data.episodes import EpisodeSpec
from fcp.data.transforms import mask_to_square
from fcp.evaluation.evaluate import Progress, Truth, ask_episodes
from fcp.evaluation.predictor import FCPPredictor
from fcp.layers.masked import mask_to_grid
from fcp.structures import Output


def run_episodes(
    predictor: FCPPredictor,
    data: FewShotDataset,
    episodes: Sequence[EpisodeSpec],
    *,
    with_maps: bool = False,
    progress: Progress | None = None,
) -> Iterator[tuple[int, Output]]:
    """Run episodes and yield (index, output), in an order that reads few pictures twice.

    Raises:
        FcpError: no episodes, or a picture that cannot be read.
    """
    return ask_episodes(
        partial(predictor.output, with_maps=with_maps),
        data,
        episodes,
        image_size=predictor.model.config.image_size,
        progress=progress,
    )


def truth_on_grid(truth: Truth, side: int) -> tuple[Tensor, Tensor]:
    """Bring a truth to a grid of side × side cells, as supports' masks are brought to theirs.

    Returns:
        Foreground (L,) bool and background (L,) bool; ignored cells are neither.
    """
    foreground = mask_to_grid(torch.from_numpy(truth.mask)[None], (side, side))[0]
    ignored = mask_to_square(truth.ignored, side) > 0
    return foreground.flatten(), (~foreground & ~ignored).flatten()
