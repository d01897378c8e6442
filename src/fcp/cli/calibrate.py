"""``fcp calibrate``: fit the probability that a class is in a photo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fcp.cli.options import BenchmarkOption, DataRootOption, DeviceOption, needs_extra, require_fold
from fcp.errors import FcpError


def calibrate(
    *,
    model: Annotated[Path, typer.Option(help="Model folder; presence.json is written there.")],
    data_root: DataRootOption,
    benchmark: BenchmarkOption = "pascal5i",
    fold: Annotated[
        int | None, typer.Option(help="Fold whose novel classes were not in the model's training.")
    ] = None,
    all_classes: Annotated[
        bool,
        typer.Option(
            "--all-classes", help="Set if the model was trained on all classes; no --fold then."
        ),
    ] = False,
    pairs: Annotated[int, typer.Option(min=10, help="Number of episodes for each class.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Seed for drawing the episodes.")] = 0,
    device: DeviceOption = "auto",
) -> None:
    """Fit the probability that a class is in a picture, on val pictures of training classes.

    Writes presence.json into the model folder: it defines the probability that `fcp segment` and
    FewShotSegmenter report for each class, and the threshold below which a class gets no mask.

    \b
    Examples:
      fcp calibrate --model runs/sam --data-root data --fold 1
      fcp calibrate --model runs/mine --data-root mine --benchmark folder
    """  # noqa: D301  (\b keeps the lines)
    from fcp.data.benchmarks import open_benchmark

    data = open_benchmark(benchmark, data_root)
    if not all_classes:
        require_fold(data, fold)
    elif fold is not None:
        raise FcpError("--all-classes: such a model has no novel classes; leave out --fold")
    with needs_extra("calibrate", "train"):
        from fcp.engine.calibrate import calibrate as fit
    from fcp.inference.segmenter import FewShotSegmenter

    segmenter = FewShotSegmenter.from_pretrained(model, device=device)
    presence = fit(segmenter.network, data, fold, per_class=pairs, seed=seed)
    presence.save(model)
    facts = presence.facts
    typer.echo(
        f"{facts['pairs']} episodes of {facts['classes']} classes; threshold "
        f"{presence.threshold}: {facts['recall']:.0%} of present classes get a mask, and "
        f"{facts['false_alarms']:.0%} of absent ones"
    )
