"""``fcp train``: a recipe and a data root → a run folder with the model."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from fcp.cli.options import (
    DataRootOption,
    FeatureCacheOption,
    FeatureCacheSizeOption,
    needs_extra,
    open_store,
    refuse_idle_size,
)
from fcp.engine.recipe import find_recipe, load_recipe, recipe_title, shipped_recipes
from fcp.errors import FcpError
from fcp.system.words import counted

if TYPE_CHECKING:
    from fcp.features.cache import FeatureCache

DryRunOption = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Estimate memory, steps and time, with random weights for missing ones; write "
        "nothing.",
    ),
]


def train(
    *,
    recipe: Annotated[
        str,
        typer.Argument(help="YAML file, or name of a shipped recipe.", metavar="RECIPE"),
    ],
    data_root: DataRootOption,
    out: Annotated[
        Path | None, typer.Option(help="Folder for checkpoints, log and model.", metavar="DIR")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Settings that override the recipe.", metavar="KEY=VALUE"),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue from the last checkpoint in --out.")
    ] = False,
    dry_run: DryRunOption = False,
    feature_cache: FeatureCacheOption = None,
    feature_cache_gib: FeatureCacheSizeOption = None,
) -> None:
    """Train a model by a recipe, in one process or in those that torchrun starts.

    \b
    Examples:
      fcp train tiny --data-root data --dry-run
      fcp train my.yaml model.head.tokens=10 --data-root data --out runs/mine
      fcp train my.yaml model.head.tokens=10 --data-root data --out runs/mine --resume
      fcp train tiny-pfenet fold=0 --data-root data --out runs/pfenet --feature-cache features
      torchrun --nproc-per-node 4 -m fcp train my.yaml --data-root data --out runs/mine
    """  # noqa: D301  (\b keeps the lines)
    refuse_idle_size(feature_cache, feature_cache_gib)
    settings, file = tuple(overrides or ()), find_recipe(recipe)
    load_recipe(file, settings)  # its faults are told before torch is loaded
    if dry_run:
        if feature_cache is not None:
            raise FcpError("--feature-cache: a dry run does not use it; leave it out")
        with needs_extra("train", "train"):
            from fcp.engine.dry_run import dry_run as measure

        _tell_few_classes(file, settings, data_root, out)
        measure(file, overrides=settings, data_root=data_root, report=typer.echo)
    elif out is None:
        raise FcpError("--out: name the folder of the run, or ask for --dry-run")
    else:
        store = open_store(feature_cache, feature_cache_gib)
        _train(file, settings, data_root, out, resume=resume, store=store)


def _train(
    recipe: Path,
    settings: tuple[str, ...],
    data_root: Path,
    out: Path,
    *,
    resume: bool,
    store: FeatureCache | None,
) -> None:
    with needs_extra("train", "train"):
        from fcp.engine.processes import leave
        from fcp.engine.train import train as run_training

    _tell_few_classes(recipe, settings, data_root, out)
    run_training(
        recipe,
        overrides=settings,
        data_root=data_root,
        out=out,
        resume=resume,
        report=typer.echo,
        store=store,
    )
    leave()


def _tell_few_classes(
    recipe: Path, settings: tuple[str, ...], data_root: Path, out: Path | None
) -> None:
    """Say, before hours of training on one's own classes, what calibration will ask for."""
    from fcp.data.benchmarks import open_benchmark
    from fcp.engine.calibrate import CLASSES_APART
    from fcp.engine.labelled import LEAST_PICTURES
    from fcp.engine.recipe import HeadRecipe, load_recipe

    with suppress(FcpError):  # which the training itself reports
        loaded = load_recipe(recipe, settings)
        if not isinstance(loaded, HeadRecipe) or loaded.benchmark != "folder":
            return
        count = len(open_benchmark("folder", data_root).classes)
        if count < CLASSES_APART:
            typer.secho(
                f"{data_root}: {counted(count, 'class', 'classes')}; fcp calibrate --benchmark "
                f"folder needs {CLASSES_APART}. Teach the model from {LEAST_PICTURES} or more "
                "labelled pictures to say that a class is not in a photo: "
                f"fcp calibrate --model {out or 'RUN'} --examples labelled --without other",
                fg="yellow",
                err=True,
            )


class RecipeHelp(TyperCommand):
    """Help that ends with the shipped recipes, one line each."""

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401  (typer's own click)
        """Write the help, then the recipes."""
        super().format_help(ctx, formatter)
        shipped = shipped_recipes()
        width = max(map(len, shipped))
        lines = [f"  {name:{width}}  {recipe_title(file)}" for name, file in shipped.items()]
        typer.echo("\n".join(["Recipes:", *lines]))
