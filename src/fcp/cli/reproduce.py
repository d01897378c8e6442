"""``fcp reproduce``: the paper's tables and figures, with the published numbers beside ours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from fcp.cli.options import (
    DataRootOption,
    DeviceOption,
    FeatureCacheSizeOption,
    cache_bytes,
    needs_extra,
)
from fcp.errors import FcpError

TargetName = Literal["table1", "table2", "table3", "table4", "fig1", "fig2", "fig4", "fig5"]

TargetArgument = Annotated[TargetName, typer.Argument(help="Table or figure.")]
OutOption = Annotated[Path, typer.Option(help="Folder for runs, results and table.", metavar="DIR")]
EpisodesOption = Annotated[int, typer.Option(min=1, help="Episodes of each evaluation.")]
SettingsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        help="Settings for all recipes that know the key, such as paths of weights; "
        "CELL.KEY=VALUE for those of a cell, promptable.KEY=VALUE and base_learner.KEY=VALUE for "
        "what is trained before.",
        metavar="KEY=VALUE",
    ),
]
ScaleOption = Annotated[
    Literal["tiny", "paper"], typer.Option(help="tiny runs on a CPU; paper needs a GPU.")
]
FoldsOption = Annotated[str | None, typer.Option(help="Only these folds.", metavar="FOLD[,FOLD…]")]
SeedsOption = Annotated[
    int | None,
    typer.Option(
        min=1, help="Trainings of each row, with seeds 0, 1, …. Default: given by the scale."
    ),
]
OnlyOption = Annotated[
    str | None,
    typer.Option(
        help="Only this cell: a benchmark with its encoders (pascal5i-resnet50) or a row of it "
        "(pascal5i-tiny/PFENet).",
        metavar="CELL",
    ),
]
DryRunOption = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Say which trainings and evaluations would be started and which are done, with memory "
        "and hours measured over a few steps; write nothing.",
    ),
]
PromptableOption = Annotated[
    Path | None,
    typer.Option(
        help="Folder of tiny-promptable-02 and -13; one that is not there is trained.",
        metavar="DIR",
        exists=True,
        file_okay=False,
    ),
]


def reproduce(
    *,
    target: TargetArgument,
    data_root: DataRootOption,
    out: OutOption,
    settings: SettingsArgument = None,
    scale: ScaleOption = "tiny",
    only: OnlyOption = None,
    dry_run: DryRunOption = False,
    fold: FoldsOption = None,
    seeds: SeedsOption = None,
    promptable: PromptableOption = None,
    episodes: EpisodesOption = 1000,
    feature_cache_gib: FeatureCacheSizeOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Make one of the paper's tables or figures: train and evaluate missing rows, then write it.

    Results are kept in --out/results and reused: run it again to continue after an interruption.
    Several processes may share the work by cells or folds, but for BAM and HDMNet of one fold, and
    on the tiny scale folds 0 and 2, and 1 and 3, without --promptable: they share a training.

    \b
    Examples:
      fcp reproduce table1 --data-root data --out runs/tiny --promptable models
      fcp reproduce table1 --data-root data --out runs/tiny --only pascal5i-tiny/PFENet
      fcp reproduce table1 --scale paper --data-root data --out runs/paper --dry-run
      fcp reproduce table1 --scale paper --data-root data --out runs/paper \\
        pascal5i-resnet50.backbone_weights=resnet50.pth
    """  # noqa: D301  (\b keeps the lines)
    with needs_extra("reproduce", "reproduce,train"):
        from fcp.reproduce import targets
        from fcp.reproduce.foresee import foresee
    from fcp.engine.recipe import find_recipe
    from fcp.models.loading import find_device
    from fcp.reproduce.plan import SCALES
    from fcp.reproduce.recipes import Workplace

    place = Workplace(
        data_root=data_root,
        out=out,
        recipes=find_recipe("tiny").parent,
        promptable=promptable,
        settings=tuple(settings or ()),
        episodes=episodes,
        cache_bytes=cache_bytes(feature_cache_gib),
        device=str(find_device(device)),
    )
    asked: dict[str, Any] = {"folds": _parse(fold), "seeds": seeds, "only": only}
    if dry_run:
        foresee(targets.plan(target, SCALES[scale], place, **asked)[1], place, report=typer.echo)
        return
    for file in targets.reproduce(target, SCALES[scale], place, report=typer.echo, **asked):
        typer.echo(str(file))


def _parse(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        return tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError as error:
        raise FcpError(f"--fold: expected numbers such as 1,3, got {text!r}") from error
