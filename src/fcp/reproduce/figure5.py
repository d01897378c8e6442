"""Figure 5: mIoU, and recall and precision of the attention mask, against the steps T."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from matplotlib.axes import Axes

from fcp.errors import FcpError
from fcp.evaluation.predictor import ATTENTION
from fcp.reproduce.output import COLOURS, GREY, new_figure, save_png, tidy

Report = Mapping[str, Any]  # returned by fcp.evaluation.report.to_json


@dataclass(frozen=True)
class SweepPoint:
    """Scores of models with T steps, mean over their reports; all scores 0 … 1.

    Attributes:
        steps: Number of steps T.
        reports: Number of averaged reports: folds, seeds or both.
        miou: Mean mIoU of the prediction.
        lowest: Lowest mIoU of a report.
        highest: Highest mIoU of a report.
        recall: Recall of the attention mask; None where there is none (T = 1).
        precision: Precision of the attention mask; None where there is none.
    """

    steps: int
    reports: int
    miou: float
    lowest: float
    highest: float
    recall: float | None
    precision: float | None


def sweep(reports: Sequence[tuple[int, Report]]) -> tuple[SweepPoint, ...]:
    """Average the reports of each T.

    Args:
        reports: Pairs of T and a report; each T on the same folds and seeds.

    Raises:
        FcpError: no reports, unequally many for the values of T, or a report without its scores.
    """
    by_steps: dict[int, list[Report]] = {}
    for steps, report in reports:
        by_steps.setdefault(steps, []).append(report)
    if len({len(of_one) for of_one in by_steps.values()}) != 1:
        counts = ", ".join(f"T={t}: {len(by_steps[t])}" for t in sorted(by_steps)) or "none"
        raise FcpError(f"figure 5: expected equally many reports for each T, got {counts}")
    return tuple(_point(steps, by_steps[steps]) for steps in sorted(by_steps))


def plot_sweep(series: Mapping[str, Sequence[SweepPoint]], path: Path) -> None:
    """Draw Figure 5: left mIoU, right recall and precision of the attention mask.

    Args:
        series: Points of each series, by its name, such as both values of ``refresh_guidance``.
        path: PNG file to write.

    Raises:
        FcpError: no points, too many series, or the file cannot be written.
    """
    if not any(series.values()) or len(series) > len(COLOURS):
        raise FcpError(f"figure 5: expected 1 … {len(COLOURS)} series with at least one point")
    figure, axes = new_figure(2, width=7.6, height=3.5)
    scores, masks = axes[0]
    for (name, points), colour in zip(series.items(), COLOURS, strict=False):
        label = f"{name}, " if len(series) > 1 else ""
        _draw_scores(scores, points, name, colour)
        with_mask = [point for point in points if point.recall is not None]
        for kind, style in (("recall", "-"), ("precision", "--")):
            values = [100 * getattr(point, kind) for point in with_mask]
            steps = [point.steps for point in with_mask]
            masks.plot(steps, values, f"o{style}", color=colour, label=label + kind, markersize=4)
    tidy(scores, title="Prediction", x="steps T", y="mIoU [%]")
    tidy(masks, title="Attention mask of step T − 1", x="steps T", y="[%]")
    for axis, shown in ((scores, len(series) > 1), (masks, True)):
        axis.set_xticks(sorted({point.steps for points in series.values() for point in points}))
        if shown:
            below = (0.5, -0.2)
            axis.legend(
                frameon=False, fontsize=8, ncols=2, loc="upper center", bbox_to_anchor=below
            )
    masks.set_xlim(scores.get_xlim())
    count = next(points[0].reports for points in series.values() if points)
    if count > 1:
        figure.supxlabel(
            f"mean of {count} runs; band: lowest to highest run", fontsize=8, color=GREY
        )
    save_png(figure, path)


def _draw_scores(axis: Axes, points: Sequence[SweepPoint], name: str, colour: str) -> None:
    steps = [point.steps for point in points]
    low = [100 * point.lowest for point in points]
    high = [100 * point.highest for point in points]
    axis.fill_between(steps, low, high, color=colour, alpha=0.15, linewidth=0)
    values = [100 * point.miou for point in points]
    axis.plot(steps, values, "o-", color=colour, label=name, markersize=4)


def _point(steps: int, reports: Sequence[Report]) -> SweepPoint:
    try:
        mious = [float(report["miou"]) for report in reports]
        masks = [report["pseudo_masks"].get(ATTENTION) for report in reports]
        found = [mask for mask in masks if mask is not None]
        recalls = [float(mask["recall"]) for mask in found]
        precisions = [float(mask["precision"]) for mask in found]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        message = f"figure 5: a report of T={steps} has no such score: {error}"
        raise FcpError(f"{message}; write it again with fcp evaluate") from error
    complete = len(found) == len(reports)
    return SweepPoint(
        steps=steps,
        reports=len(reports),
        miou=fmean(mious),
        lowest=min(mious),
        highest=max(mious),
        recall=fmean(recalls) if complete else None,
        precision=fmean(precisions) if complete else None,
    )
