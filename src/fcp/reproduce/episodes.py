"""What the figures share: episodes run through a model, and what is true on its grid."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from fcp.data.dataset import Example, FewShotDataset, Picture
from fcp.data.episodes import EpisodeSpec
from fcp.data.transforms import mask_to_square
from fcp.errors import FcpError
from fcp.evaluation.evaluate import Truth
from fcp.evaluation.predictor import FCPPredictor
from fcp.layers.masked import mask_to_grid
from fcp.structures import Output

Progress = Callable[[int, int], None]  # (done, all)


def run_episodes(
    predictor: FCPPredictor,
    data: FewShotDataset,
    episodes: Sequence[EpisodeSpec],
    *,
    with_maps: bool = False,
    progress: Progress | None = None,
) -> Iterator[tuple[int, Output]]:
    """Run episodes and give (index, output) in the order that reads each picture least often.

    Raises:
        FcpError: no episodes, or a picture that cannot be read.
    """
    if not episodes:
        raise FcpError("episodes: expected at least one")
    size = predictor.model.config.image_size
    order = sorted(range(len(episodes)), key=lambda i: (episodes[i].class_id, episodes[i].query))
    for done, index in enumerate(order, start=1):
        spec = episodes[index]
        supports = [Example(data, id, size, spec.class_id) for id in spec.supports]
        query = Picture(data, spec.query, size)
        yield index, predictor.output(supports, query, with_maps=with_maps)
        if progress is not None:
            progress(done, len(order))


def truth_of(data: FewShotDataset, picture: str, class_id: int) -> Truth:
    """Read what a picture shows of a class.

    Raises:
        FcpError: its mask cannot be read.
    """
    return Truth(data.class_mask(picture, class_id), data.ignored(picture))


def truth_on_grid(truth: Truth, side: int) -> tuple[Tensor, Tensor]:
    """Bring a truth to a grid of side × side cells, as supports' masks are brought to theirs.

    Returns:
        (L,) bool foreground, and (L,) bool background; ignored cells are neither.
    """
    foreground = mask_to_grid(torch.from_numpy(truth.mask)[None], (side, side))[0]
    ignored = mask_to_square(truth.ignored, side) > 0
    return foreground.flatten(), (~foreground & ~ignored).flatten()
