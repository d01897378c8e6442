"""``fcp calibrate``: teach a model to say "not here"."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fcp.cli.options import BenchmarkOption, DataRootOption, DeviceOption, needs_extra, require_fold
from fcp.errors import FcpError


def calibrate(
    *,
    model: Annotated[Path, typer.Option(help="The model folder; presence.json goes there.")],
    data_root: DataRootOption,
    benchmark: BenchmarkOption = "pascal5i",
    fold: Annotated[
        int | None, typer.Option(help="Whose novel classes the model has never seen.")
    ] = None,
    all_classes: Annotated[
        bool, typer.Option("--all-classes", help="The model was trained on all classes: no fold.")
    ] = False,
    pairs: Annotated[int, typer.Option(min=10, help="Questions for each class.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="What the questions are drawn with.")] = 0,
    device: DeviceOption = "auto",
) -> None:
    """Fit how likely a class is in a picture, on val pictures of training classes.

    Writes presence.json into the model folder: the probability that `fcp segment` and
    FewShotSegmenter report with each class, and the threshold under which they draw nothing.

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
        raise FcpError("--all-classes: the model has no novel classes then; leave out --fold")
    with needs_extra("calibrate", "train"):
        from fcp.engine.calibrate import calibrate as fit
    from fcp.inference.segmenter import FewShotSegmenter

    segmenter = FewShotSegmenter.from_pretrained(model, device=device)
    presence = fit(segmenter.running, data, fold, per_class=pairs, seed=seed)
    presence.save(model)
    facts = presence.facts
    typer.echo(
        f"{facts['pairs']} questions about {facts['classes']} classes; from probability "
        f"{presence.threshold} on: {facts['recall']:.0%} of what is there is found, "
        f"{facts['false_alarms']:.0%} of what is not gets a mask"
    )
