"""``fcp train``: a recipe and a data root → a run folder with the model."""

from __future__ import annotations

from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fcp.cli.options import (
    DataRootOption,
    FeatureCacheOption,
    FeatureCacheSizeOption,
    needs_extra,
    open_store,
)
from fcp.errors import FcpError

if TYPE_CHECKING:
    from fcp.features.cache import FeatureCache


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
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Estimate memory, steps and time; write nothing."),
    ] = False,
    feature_cache: FeatureCacheOption = None,
    feature_cache_gib: FeatureCacheSizeOption = 20.0,
) -> None:
    """Train a model by a recipe, in one process or in those that torchrun starts.

    \b
    Examples:
      fcp train tiny --data-root data --out runs/tiny
      fcp train my.yaml head.tokens=10 --data-root data --out runs/mine
      fcp train my.yaml head.tokens=10 --data-root data --out runs/mine --resume
      fcp train my.yaml --data-root data --dry-run
      torchrun --nproc-per-node 4 -m fcp train my.yaml --data-root data --out runs/mine
    """  # noqa: D301  (\b keeps the lines)
    settings, file = tuple(overrides or ()), find_recipe(recipe)
    if dry_run:
        if feature_cache is not None:
            raise FcpError("--feature-cache: a dry run does not use it; leave it out")
        with needs_extra("train", "train"):
            from fcp.engine.dry_run import dry_run as measure

        _tell_few_classes(file, settings, data_root)
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

    _tell_few_classes(recipe, settings, data_root)
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


def _tell_few_classes(recipe: Path, settings: tuple[str, ...], data_root: Path) -> None:
    """Say, before hours of training on one's own classes, what calibration will ask for."""
    from fcp.data.benchmarks import open_benchmark
    from fcp.engine.calibrate import CLASSES_APART
    from fcp.engine.recipe import HeadRecipe, load_recipe

    with suppress(FcpError):  # which the training itself reports
        loaded = load_recipe(recipe, settings)
        if not isinstance(loaded, HeadRecipe) or loaded.benchmark != "folder":
            return
        count = len(open_benchmark("folder", data_root).classes)
        if count < CLASSES_APART:
            typer.secho(
                f"{data_root}: {count} classes; fcp calibrate needs {CLASSES_APART}, so the model "
                "will not be able to say that a class is not in a photo",
                fg="yellow",
                err=True,
            )


def find_recipe(name: str) -> Path:
    """Find a recipe: a file, or the name (with or without ``.yaml``) of a shipped recipe.

    Raises:
        FcpError: there is no such file or recipe; the message lists the shipped recipes.
    """
    if Path(name).is_file():
        return Path(name)
    shipped = {path.stem: path for path in _shipped_recipes()}
    stem = name.removesuffix(".yaml")
    if stem not in shipped:
        raise FcpError(
            f"{name}: no such recipe file; shipped recipes: {', '.join(sorted(shipped))}"
        )
    return shipped[stem]


def _shipped_recipes() -> list[Path]:
    return sorted(Path(str(files("fcp") / "recipes")).glob("*.yaml"))
