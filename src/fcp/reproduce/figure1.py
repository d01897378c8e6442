"""Figure 1: how much of a query's attention lies on its foreground, and both pseudo masks' IoU.

1a: prototype-prototype matching (FCP: the query's tokens at step T) against prototype-pixel
matching (VRP-SAM: its matching layer). The mass is the sum of the attention on foreground cells,
averaged over tokens and shots. 1b: histogram of the episodes' own IoU of both pseudo masks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import cast

import numpy as np
from matplotlib.axes import Axes
from torch import Tensor

from fcp.data.dataset import FewShotDataset
from fcp.data.episodes import EpisodeSpec
from fcp.errors import FcpError
from fcp.evaluation.evaluate import Progress, count_at_square, truth_of
from fcp.evaluation.predictor import ATTENTION, STRETCHED, FCPPredictor, probability_maps
from fcp.reproduce.asking import run_episodes, truth_on_grid
from fcp.reproduce.bootstrap import Interval, mean_over_groups
from fcp.reproduce.output import COLOURS, GREY, new_figure, save_png, tidy

BINS = 20


@dataclass(frozen=True)
class EpisodeLook:
    """Attention of a model in one episode. All values 0 … 1.

    Attributes:
        query: Id of the query picture.
        supports: Ids of the support pictures, with blanks between them.
        class_name: Name of the supports' class.
        foreground: Share of the query's cells that are foreground: the mass of even attention.
        mass: Share of the query branch's attention on the foreground cells, at its last step, T.
        mask_mass: The same share at step T-1, which makes the last pseudo mask and is the last that
            the guide loss (Eq. 9) trains; None where there is no such step.
        conventional_iou: IoU of the conventional pseudo mask, stretched over the picture, at
            512×512.
        attention_iou: IoU of the attention-based pseudo mask; None where the model makes none.
    """

    query: str
    supports: str
    class_name: str
    foreground: float
    mass: float
    mask_mass: float | None
    conventional_iou: float
    attention_iou: float | None


def look(
    predictor: FCPPredictor,
    data: FewShotDataset,
    episodes: Sequence[EpisodeSpec],
    *,
    progress: Progress | None = None,
) -> tuple[EpisodeLook, ...]:
    """Run episodes and measure the model's attention in each, in the order given.

    Raises:
        FcpError: no episodes, or a picture that cannot be read.
    """
    looks: dict[int, EpisodeLook] = {}
    for index, output in run_episodes(predictor, data, episodes, with_maps=True, progress=progress):
        spec = episodes[index]
        truth = truth_of(data, spec.query, spec.class_id)
        attention = cast(Tensor, output.query_attention)[0].cpu()  # (K, T, N, L)
        foreground, background = truth_on_grid(truth, output.conventional_mask.shape[-1])
        masses = [attention_mass(step, foreground, background) for step in attention.unbind(1)]
        maps = probability_maps(output)
        found = maps.get(ATTENTION)
        looks[index] = EpisodeLook(
            query=spec.query,
            supports=" ".join(spec.supports),
            class_name=data.classes[spec.class_id],
            foreground=int(foreground.sum()) / int((foreground | background).sum()),
            mass=masses[-1],
            mask_mass=masses[-2] if len(masses) > 1 else None,
            conventional_iou=count_at_square(maps[STRETCHED], truth).iou,
            attention_iou=None if found is None else count_at_square(found, truth).iou,
        )
    return tuple(looks[index] for index in range(len(episodes)))


def attention_mass(attention: Tensor, foreground: Tensor, background: Tensor) -> float:
    """Return the share of attention (…, L) on the foreground (L,) bool, 0 … 1.

    Cells that are neither foreground nor background (ignored ones) are left out. Each map counts
    the same.
    """
    inside = attention[..., foreground].sum(-1)
    counted = inside + attention[..., background].sum(-1)
    return float((inside / counted).mean())


def mean_mass(looks: Sequence[EpisodeLook]) -> Interval:
    """Average the mass over episodes; query pictures are drawn anew for its interval."""
    return mean_over_groups([one.mass for one in looks], [one.query for one in looks])


def mass_difference(looks: Sequence[EpisodeLook], others: Sequence[EpisodeLook]) -> Interval:
    """Average the difference in mass, first minus second, of two models on the same episodes.

    Raises:
        FcpError: the episodes are not the same.
    """
    if [_task(one) for one in looks] != [_task(other) for other in others]:
        raise FcpError("figure 1a: the two models saw other episodes; give both the same")
    gained = [one.mass - other.mass for one, other in zip(looks, others, strict=True)]
    return mean_over_groups(gained, [one.query for one in looks])


def plot_mass(models: Mapping[str, Sequence[EpisodeLook]], path: Path) -> None:
    """Draw Figure 1a: each model's episodes, their mean and interval, and even attention.

    A model of several steps has a second column, for step T-1.

    Args:
        models: Episodes of each model, by its name; the same ones for each.
        path: PNG file to write.

    Raises:
        FcpError: no or too many models, other episodes, or the file cannot be written.
    """
    if not 1 <= len(models) <= len(COLOURS):
        raise FcpError(f"figure 1a: expected 1 … {len(COLOURS)} models, got {len(models)}")
    first = next(iter(models.values()))
    for looks in models.values():
        mass_difference(looks, first)  # refuses other episodes
    columns: list[tuple[str, list[float], str]] = []
    for (name, looks), colour in zip(models.items(), COLOURS, strict=False):
        columns.append((name, [one.mass for one in looks], colour))
        before = [one.mask_mass for one in looks if one.mask_mass is not None]
        if before:
            columns.append((f"{name},\nstep T − 1", before, colour))
    figure, axes = new_figure(1, width=1.2 + 1.6 * len(columns), height=3.8)
    axis = axes[0, 0]
    for place, (_, masses, colour) in enumerate(columns):
        _draw_column(axis, place, masses, [one.query for one in first], colour)
    even = 100 * fmean(one.foreground for one in first)
    axis.axhline(even, color=GREY, linestyle="--", linewidth=1, label=f"even attention, {even:.1f}")
    axis.legend(frameon=False, fontsize=8, loc="upper right")
    axis.set_xticks(range(len(columns)), [name for name, _, _ in columns])
    axis.set_xlim(-0.5, len(columns) - 0.4)
    axis.set_ylim(0, 100)
    tidy(axis, title="Attention on the query's foreground", y="share of attention [%]")
    axis.tick_params(axis="x", labelsize=9, length=0)
    figure.supxlabel(f"{len(first)} episodes; bar: mean and 95 % interval", fontsize=8, color=GREY)
    save_png(figure, path)


def plot_iou(looks: Sequence[EpisodeLook], path: Path) -> None:
    """Draw Figure 1b: the distribution of both pseudo masks' IoU over episodes.

    Raises:
        FcpError: a model without attention masks, no episodes, or the file cannot be written.
    """
    found = [one.attention_iou for one in looks if one.attention_iou is not None]
    if len(found) < len(looks) or not looks:
        raise FcpError(
            "figure 1b: needs episodes of a model with attention masks; "
            "take one with head.pseudo_mask=attention and at least 2 steps"
        )
    shown = {
        "conventional, stretched": [one.conventional_iou for one in looks],
        "attention-based": found,
    }
    figure, axes = new_figure(1, width=4.6, height=3.2)
    axis, edges = axes[0, 0], np.linspace(0, 100, BINS + 1)
    for (name, values), colour in zip(shown.items(), reversed(COLOURS[:2]), strict=True):
        percent = 100 * np.asarray(values)
        share = np.full(len(percent), 100 / len(percent))
        label = f"{name}, mean {percent.mean():.1f}"
        axis.hist(percent, edges, weights=share, color=colour, alpha=0.35)
        axis.hist(
            percent, edges, weights=share, histtype="step", color=colour, linewidth=1.5, label=label
        )
        axis.axvline(percent.mean(), color=colour, linestyle="--", linewidth=1)
    axis.set_xlim(0, 100)
    axis.legend(frameon=False, fontsize=8)
    tidy(
        axis,
        title="IoU of the pseudo masks, episode by episode",
        x=f"IoU at 512×512 [%]  ({len(looks)} episodes)",
        y="episodes [%]",
    )
    save_png(figure, path)


def _draw_column(
    axis: Axes, place: int, masses: Sequence[float], queries: Sequence[str], colour: str
) -> None:
    jitter = np.random.default_rng(0).uniform(-0.22, 0.22, len(masses))
    axis.scatter(place + jitter, 100 * np.array(masses), s=6, color=colour, alpha=0.3, linewidths=0)
    mean = mean_over_groups(masses, queries)
    axis.errorbar(
        place,
        100 * mean.value,
        [[100 * (mean.value - mean.low)], [100 * (mean.high - mean.value)]],
        fmt="_",
        color="black",
        markersize=26,
        markeredgewidth=2,
        capsize=5,
        linewidth=1.5,
    )
    axis.annotate(
        f"{100 * mean.value:.1f}",
        (place + 0.3, 100 * mean.value),
        va="center",
        fontsize=9,
        fontweight="bold",
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
    )


def _task(one: EpisodeLook) -> tuple[str, str, str]:
    return one.query, one.supports, one.class_name
