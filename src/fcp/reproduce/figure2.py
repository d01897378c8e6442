"""Figure 2: what the features of the segmenter (G) and of the backbone (F) can tell apart.

Every value is a mean cosine similarity over all pairs of cells of two sets. 2a, within a picture:
pairs inside an object minus pairs of object and background. 2b, across pictures: pairs of objects
of one class minus pairs of objects of two classes. Each class counts the same, as in mIoU.

No pair is ever formed: the mean over the pairs of two sets of unit vectors is the product of their
means, (1/nm) ΣΣ u·v = (Σu/n)·(Σv/m).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from torch import Tensor

from fcp.data.dataset import FewShotDataset, Picture
from fcp.data.lists import ClassLists
from fcp.errors import FcpError
from fcp.evaluation.evaluate import Progress, truth_of
from fcp.method.fcp.model import FCP
from fcp.method.fcp.prototypes.prior import unit_cells
from fcp.reproduce.asking import truth_on_grid
from fcp.reproduce.bootstrap import Interval, bootstrap
from fcp.reproduce.output import BLUE, GREY, ORANGE, new_figure, save_png, tidy
from fcp.system.files import write_atomically

SEGMENTER = "G"  # start of the name of the segmenter's feature; all others are the backbone's


@dataclass(frozen=True)
class SeenObject:
    """Similarities in one feature of all objects of a class in a picture.

    Attributes:
        picture: Id of the picture.
        class_id: Class of the objects.
        mean: Mean of the foreground cells' unit vectors (C,), float64.
        inside: Mean similarity of two different foreground cells, -1 … 1.
        across: Mean similarity of a foreground and a background cell, -1 … 1.
    """

    picture: str
    class_id: int
    mean: np.ndarray
    inside: float
    across: float


@dataclass(frozen=True)
class FeatureStatistic:
    """Both values of Figure 2 for one feature: differences of mean cosine similarities.

    Attributes:
        feature: Name of the feature.
        objects: Number of counted pairs of a picture and a class.
        within: Value of Figure 2a, FG-FG minus FG-BG within a picture; high where the feature tells
            an object from its background.
        between: Value of Figure 2b, same class minus other class across pictures; high where the
            feature tells classes apart.
    """

    feature: str
    objects: int
    within: Interval
    between: Interval


@torch.inference_mode()
def feature_statistics(
    model: FCP,
    data: FewShotDataset,
    lists: ClassLists,
    *,
    progress: Progress | None = None,
) -> tuple[FeatureStatistic, ...]:
    """Measure every feature of the model's encoders, on the pictures of a fold's lists.

    A picture and a class that it is listed under are one object. An object needs two foreground
    cells and one of background on a feature's grid; else it is left out for that feature.

    Raises:
        FcpError: fewer than two classes or no class with two objects, or an unreadable picture.
    """
    pictures: dict[str, list[int]] = {}
    for class_id, listed in lists.members.items():
        for picture in listed:
            pictures.setdefault(picture, []).append(class_id)
    seen: dict[str, list[SeenObject]] = {}
    device = next(model.parameters()).device
    for done, (picture, class_ids) in enumerate(pictures.items(), start=1):
        image = Picture(data, picture, model.config.image_size).image()
        for name, maps in features_of(model, image[None].to(device)).items():
            found = _objects(data, picture, class_ids, maps.cpu())
            seen.setdefault(name, []).extend(found)
        if progress is not None:
            progress(done, len(pictures))
    return tuple(_statistic(name, objects) for name, objects in _checked(seen))


def features_of(model: FCP, images: Tensor) -> dict[str, Tensor]:
    """Return every map (C, h, w) of a picture (1, 3, S, S), under a name for the figure.

    The backbone's mid-level map is also split into its levels, where the head's configuration names
    them.
    """
    features = model.backbone(images)
    maps = {f"{SEGMENTER}: segmenter": model.segmenter.encode(images).image[0]}
    levels = model.config.head.contrast_levels
    if len(levels) > 1:
        parts = features.mid[0].split(levels)
        maps |= {f"F: mid level {number}": part for number, part in enumerate(parts, start=1)}
    return maps | {"F: mid, all levels": features.mid[0], "F: stage 4": features.high[0]}


def see_object(maps: Tensor, foreground: Tensor, background: Tensor) -> tuple[Tensor, float, float]:
    """Compare the cells of one object with each other and with the background.

    Args:
        maps: Maps of a feature (C, h, w).
        foreground: Foreground cells (L,) bool, at least two.
        background: Background cells (L,) bool, at least one.

    Returns:
        The mean of the foreground's unit vectors (C,), float64; the mean similarity of two
        different foreground cells; that of a foreground and a background cell.
    """
    units = unit_cells(maps.flatten(1)[None])[0].double()  # (C, L)
    own, rest = units[:, foreground], units[:, background].mean(1)
    n, total = own.shape[1], own.sum(1)
    inside = (total @ total - own.square().sum()) / (n * (n - 1))
    return total / n, float(inside), float(total @ rest / n)


def within(objects: Sequence[SeenObject]) -> Interval:
    """Return Figure 2a's value: mean over classes of the mean over their objects."""
    gained = np.array([one.inside - one.across for one in objects])
    member = _membership(objects)

    def mean(drawn: np.ndarray) -> float:
        return float(((drawn * gained) @ member / (drawn @ member)).mean())

    return bootstrap(mean, [one.class_id for one in objects])


def between(objects: Sequence[SeenObject]) -> Interval:
    """Return Figure 2b's value: mean over classes minus mean over pairs of classes.

    Only objects of different pictures are compared.
    """
    means = np.stack([one.mean for one in objects])
    names = np.array([one.picture for one in objects])
    other_picture = (names[:, None] != names[None]).astype(float)
    statistic = partial(
        _class_contrast, means @ means.T * other_picture, other_picture, _membership(objects)
    )
    return bootstrap(statistic, [one.class_id for one in objects])


def plot_features(folds: Mapping[str, Sequence[FeatureStatistic]], path: Path) -> None:
    """Draw Figure 2: both values of each feature, fold by fold, and the folds' mean.

    Args:
        folds: Statistics of each fold, by its name: the same features in the same order.
        path: PNG file to write.

    Raises:
        FcpError: no fold, folds with other features, or the file cannot be written.
    """
    features = [[one.feature for one in statistics] for statistics in folds.values()]
    if not features or any(names != features[0] for names in features):
        raise FcpError("figure 2: expected at least one fold, and the same features in each")
    height = 1.3 + 0.36 * len(features[0])
    figure, axes = new_figure(2, width=7.6, height=height, share_y=True)
    panels = (
        ("a  Within a picture", "FG-FG minus FG-BG", "within"),
        ("b  Across pictures", "same class minus other class", "between"),
    )
    for axis, (title, label, field) in zip(axes[0], panels, strict=True):
        for row in range(len(features[0])):
            values = [getattr(statistics[row], field) for statistics in folds.values()]
            _draw_feature(axis, row, features[0][row], values)
        axis.axvline(0, color=GREY, linewidth=0.8)
        tidy(axis, title=title, x=f"{label} [cosine similarity]", grid="x")
    axes[0, 0].set_yticks(range(len(features[0])), features[0])
    axes[0, 0].invert_yaxis()
    bars = "bars: mean of the folds; dots" if len(folds) > 1 else "dots"
    figure.supxlabel(f"{bars}: {', '.join(folds)}, with 95 % intervals", fontsize=8, color=GREY)
    save_png(figure, path)


def write_statistics(folds: Mapping[str, Sequence[FeatureStatistic]], path: Path) -> None:
    """Write a line for each fold and feature.

    Raises:
        FcpError: the file cannot be written.
    """
    lines = ["fold,feature,objects,within,within_low,within_high,between,between_low,between_high"]
    for fold, statistics in folds.items():
        for one in statistics:
            both = (*vars(one.within).values(), *vars(one.between).values())
            numbers = ",".join(f"{value:.4f}" for value in both)
            lines.append(f"{fold},{one.feature},{one.objects},{numbers}")
    write_atomically(path, "\n".join([*lines, ""]).encode())


def _draw_feature(axis: Axes, row: int, feature: str, values: Sequence[Interval]) -> None:
    colour = ORANGE if feature.startswith(SEGMENTER) else BLUE
    mean = float(np.mean([value.value for value in values]))
    axis.barh(row, mean, height=0.62, color=colour, alpha=0.45)
    for place, value in zip(_spread(len(values)), values, strict=True):
        axis.plot([value.low, value.high], [row + place] * 2, color=colour, linewidth=1)
        axis.plot(value.value, row + place, "o", color=colour, markersize=3)


def _spread(count: int) -> np.ndarray:
    """Place markers side by side inside a bar."""
    return np.linspace(-0.2, 0.2, count) if count > 1 else np.zeros(1)


def _objects(
    data: FewShotDataset, picture: str, class_ids: Sequence[int], maps: Tensor
) -> Iterator[SeenObject]:
    for class_id in class_ids:
        truth = truth_of(data, picture, class_id)
        foreground, background = truth_on_grid(truth, maps.shape[-1])
        if int(foreground.sum()) >= 2 and bool(background.any()):
            mean, inside, across = see_object(maps, foreground, background)
            yield SeenObject(picture, class_id, mean.numpy(), inside, across)


def _checked(seen: Mapping[str, list[SeenObject]]) -> Iterator[tuple[str, list[SeenObject]]]:
    """Yield the features whose objects can be compared."""
    if not seen:
        raise FcpError("figure 2: the lists name no picture; choose another fold")
    for name, objects in seen.items():
        counts = np.unique([one.class_id for one in objects], return_counts=True)[1]
        if len(counts) < 2 or max(counts) < 2:
            raise FcpError(
                "figure 2: needs objects of two classes, and two of one class, to compare"
            )
        yield name, objects


def _statistic(name: str, objects: Sequence[SeenObject]) -> FeatureStatistic:
    return FeatureStatistic(name, len(objects), within(objects), between(objects))


def _membership(objects: Sequence[SeenObject]) -> np.ndarray:
    """Return (objects, classes), 1 where an object is of a class."""
    class_ids = np.array([one.class_id for one in objects])
    return (class_ids[:, None] == np.unique(class_ids)[None]).astype(float)


def _class_contrast(
    similar: np.ndarray, counted: np.ndarray, member: np.ndarray, drawn: np.ndarray
) -> float:
    """Average similarities by pair of classes; NaN where a draw leaves nothing to compare.

    Args:
        similar: Similarities (n, n), 0 where not counted.
        counted: Counted pairs (n, n), 0 or 1.
        member: Membership of the objects in the classes (n, classes), 0 or 1.
        drawn: Number of times that each object counts (n,).
    """
    weighted = member * drawn[:, None]
    sums, pairs = weighted.T @ similar @ weighted, weighted.T @ counted @ weighted
    means = np.full_like(sums, np.nan)
    np.divide(sums, pairs, out=means, where=pairs > 0)
    same = np.eye(len(means), dtype=bool)
    if np.isnan(means[same]).all() or np.isnan(means[~same]).all():
        return float("nan")
    return float(np.nanmean(means[same]) - np.nanmean(means[~same]))
