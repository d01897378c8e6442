"""``fcp episodes``: save the episodes of a test in a file, identified by its hash."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fcp.cli.options import (
    BenchmarkOption,
    DataRootOption,
    SamplerOption,
    require_fold,
)
from fcp.system.words import counted


def episodes(
    *,
    data_root: DataRootOption,
    out: Annotated[Path, typer.Option(help="File to write.", metavar="FILE.json")],
    benchmark: BenchmarkOption = "pascal5i",
    fold: Annotated[int | None, typer.Option(help="Fold whose novel classes are tested.")] = None,
    shots: Annotated[int, typer.Option(min=1, help="Examples of each episode.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Seed for drawing the episodes.")] = 0,
    number: Annotated[int, typer.Option("--episodes", min=1, help="Number of episodes.")] = 1000,
    sampler: SamplerOption = "classic",
    drop_small_classes: Annotated[
        bool,
        typer.Option(
            "--drop-small-classes",
            help="Leave out classes with fewer than shots + 1 pictures (in a part of a data set); "
            "the score is then not comparable with the benchmark's.",
        ),
    ] = False,
) -> None:
    """Save test episodes in a file, and print its SHA-256.

    Each episode depends only on seed and index, so a file of 300 episodes equals the first 300 of
    1,000.

    \b
    Example:
      fcp episodes --data-root data --fold 1 --shots 5 --seed 0 --episodes 1000 --out fold1.json
    """  # noqa: D301  (\b keeps the lines)
    from fcp.data import lists as rule
    from fcp.data.benchmarks import open_benchmark
    from fcp.data.episodes import describe_sampler, sample_episodes, save_episodes

    data = open_benchmark(benchmark, data_root)
    require_fold(data, fold)
    lists = rule.val_lists(data, fold)
    if drop_small_classes:
        kept = rule.drop_small_classes(lists, shots)
        dropped = [name for c, name in lists.names.items() if c not in kept.names]
        typer.echo(f"left out, fewer than {shots + 1} pictures: {', '.join(dropped) or 'none'}")
        lists = kept
    drawn = sample_episodes(lists, shots=shots, episodes=number, seed=seed, sampler=sampler)
    digest = save_episodes(out, drawn)
    typer.echo(f"{counted(len(drawn), 'episode')}, {describe_sampler(lists, sampler)}: {out}")
    typer.echo(f"sha256 {digest}")
