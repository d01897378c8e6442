"""Figure 4: support, query, both pseudo masks, prediction and truth, side by side.

No picture is picked by hand. Episodes are ranked by the prediction's IoU and shown at evenly
spaced ranks, so that the middle row is the median.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from torch import Tensor

from fcp.data.dataset import FewShotDataset
from fcp.data.episodes import EpisodeSpec
from fcp.data.transforms import map_to_size
from fcp.errors import FcpError
from fcp.evaluation.episode_counts import MASK
from fcp.evaluation.evaluate import THRESHOLD, Progress, count_at_square, truth_of
from fcp.evaluation.predictor import ATTENTION, STRETCHED, FCPPredictor, probability_maps
from fcp.reproduce.asking import run_episodes
from fcp.reproduce.output import new_figure, save_png
from fcp.visualize import Colour, heatmap, overlay, thumbnail

GIVEN: Colour = (86, 180, 233)  # sky blue: mask of a person
FOUND: Colour = (240, 140, 0)  # orange: mask of the model
_TITLES = {STRETCHED: "conventional mask", ATTENTION: "attention mask", MASK: "prediction"}
_SHOWN_PX = 400


@dataclass(frozen=True)
class Tile:
    """One picture of a row: title of its column, (H, W, 3) uint8, and the text below it."""

    title: str
    image: np.ndarray
    caption: str = ""


@dataclass(frozen=True)
class Row:
    """One episode of the figure.

    Attributes:
        title: Class and note of the episode.
        tiles: Pictures of the row, from the supports to the truth.
    """

    title: str
    tiles: tuple[Tile, ...]


def prediction_ious(
    predictor: FCPPredictor,
    data: FewShotDataset,
    episodes: Sequence[EpisodeSpec],
    *,
    progress: Progress | None = None,
) -> list[float]:
    """Return each episode's own IoU at 512×512, 0 … 1, in the order given.

    Raises:
        FcpError: no episodes, or a picture that cannot be read.
    """
    ious = [0.0] * len(episodes)
    for index, output in run_episodes(predictor, data, episodes, progress=progress):
        spec = episodes[index]
        truth = truth_of(data, spec.query, spec.class_id)
        ious[index] = count_at_square(probability_maps(output)[MASK], truth).iou
    return ious


def spread_ranks(ious: Sequence[float], count: int) -> list[tuple[int, float]]:
    """Choose episodes at evenly spaced ranks of their IoU, best first.

    With ``count`` 5 these are the percentiles 90, 70, 50, 30 and 10.

    Returns:
        Pairs of an index and the share of the episodes below it, 0 … 1.

    Raises:
        FcpError: ``count`` is below one, or above the number of episodes.
    """
    if not 1 <= count <= len(ious):
        raise FcpError(f"figure 4: expected 1 … {len(ious)} rows, got {count}")
    ranked = sorted(range(len(ious)), key=lambda index: ious[index])
    shares = [(row + 0.5) / count for row in reversed(range(count))]
    return [(ranked[int(share * len(ranked))], share) for share in shares]


def show(
    predictor: FCPPredictor, data: FewShotDataset, spec: EpisodeSpec, *, note: str = ""
) -> Row:
    """Make the pictures of one episode, each with its photo's own aspect ratio.

    Args:
        predictor: Predictor whose masks are shown.
        data: Data set of the pictures.
        spec: Episode to show.
        note: Text of the row's title below the class.

    Raises:
        FcpError: a picture that cannot be read.
    """
    ((_, output),) = run_episodes(predictor, data, [spec])
    image, truth = data.image(spec.query), truth_of(data, spec.query, spec.class_id)
    several = len(spec.supports) > 1
    tiles = [
        Tile(
            f"support {shot}" if several else "support",
            overlay(data.image(id), data.class_mask(id, spec.class_id), colour=GIVEN),
        )
        for shot, id in enumerate(spec.supports, start=1)
    ]
    tiles.append(Tile("query", image))
    maps = probability_maps(output)
    for kind in (name for name in _TITLES if name in maps):
        iou = count_at_square(maps[kind], truth).iou
        drawn = _draw(kind, maps[kind], image)
        tiles.append(Tile(_TITLES[kind], drawn, f"IoU {100 * iou:.0f}"))
    tiles.append(Tile("ground truth", overlay(image, truth.mask, colour=GIVEN)))
    name = data.classes[spec.class_id]
    return Row(f"{name}\n{note}" if note else name, tuple(tiles))


def show_spread(
    predictor: FCPPredictor,
    data: FewShotDataset,
    episodes: Sequence[EpisodeSpec],
    *,
    rows: int,
    progress: Progress | None = None,
) -> list[Row]:
    """Run all episodes and show those at evenly spaced ranks, see ``spread_ranks``.

    Raises:
        FcpError: fewer episodes than rows, or a picture that cannot be read.
    """
    ious = prediction_ious(predictor, data, episodes, progress=progress)
    return [
        show(predictor, data, episodes[index], note=f"percentile {100 * share:.0f}")
        for index, share in spread_ranks(ious, rows)
    ]


def plot_rows(rows: Sequence[Row], path: Path) -> None:
    """Draw Figure 4, one episode in a row.

    Raises:
        FcpError: no rows, rows with other columns, or the file cannot be written.
    """
    titles = [[tile.title for tile in row.tiles] for row in rows]
    if not titles or any(names != titles[0] for names in titles):
        raise FcpError("figure 4: expected at least one row, and the same columns in each")
    widths = (1.55 * len(titles[0]) + 0.9, 1.5 * len(rows) + 0.4)
    figure, axes = new_figure(len(titles[0]), len(rows), width=widths[0], height=widths[1])
    figure.set_layout_engine("constrained", w_pad=0.03, h_pad=0.03, wspace=0.01, hspace=0.01)
    for number, row in enumerate(rows):
        images = _on_one_canvas([thumbnail(tile.image, _SHOWN_PX) for tile in row.tiles])
        for axis, tile, image in zip(axes[number], row.tiles, images, strict=True):
            _draw_tile(axis, image, tile.caption)
            if number == 0:
                axis.set_title(tile.title, fontsize=9)
        axes[number, 0].set_ylabel(row.title, rotation=0, ha="right", va="center", fontsize=9)
    save_png(figure, path)


def _draw(kind: str, probabilities: Tensor, image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    values = map_to_size(probabilities, (height, width)).cpu().numpy()
    if kind == MASK:
        return overlay(image, values >= THRESHOLD, colour=FOUND)
    return heatmap(values, image)


def _on_one_canvas(images: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Centre a row's pictures on white of one size, so that titles and captions line up."""
    height, width = (max(image.shape[side] for image in images) for side in (0, 1))
    canvases = []
    for image in images:
        canvas = np.full((height, width, 3), 255, np.uint8)
        top, left = (height - image.shape[0]) // 2, (width - image.shape[1]) // 2
        canvas[top : top + image.shape[0], left : left + image.shape[1]] = image
        canvases.append(canvas)
    return canvases


def _draw_tile(axis: Axes, image: np.ndarray, caption: str) -> None:
    axis.imshow(image)
    axis.set_xticks([])
    axis.set_yticks([])
    for line in axis.spines.values():
        line.set_visible(False)
    axis.set_xlabel(caption, fontsize=8, labelpad=2)
