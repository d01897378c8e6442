"""``fcp episodes``: freeze the episodes of a test in a file that is known by its hash."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fcp.cli.options import (
    BenchmarkOption,
    DataRootOption,
    PoolOption,
    SamplerOption,
    require_fold,
)


def episodes(
    *,
    data_root: DataRootOption,
    out: Annotated[Path, typer.Option(help="The file to write.", metavar="FILE.json")],
    benchmark: BenchmarkOption = "pascal5i",
    fold: Annotated[int | None, typer.Option(help="Whose novel classes are tested.")] = None,
    shots: Annotated[int, typer.Option(min=1, help="Examples of each episode.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="What the episodes are drawn with.")] = 0,
    number: Annotated[int, typer.Option("--episodes", min=1, help="How many.")] = 1000,
    sampler: SamplerOption = "classic",
    pool: PoolOption = None,
    drop_small_classes: Annotated[
        bool,
        typer.Option(
            "--drop-small-classes",
            help="Leave out classes with fewer than shots + 1 pictures (a part of a data set): "
            "another number than the benchmark's.",
        ),
    ] = False,
) -> None:
    """Freeze test episodes in a file, and print its SHA-256.

    They are drawn from (seed, index) alone, so the first 300 of 1,000 are the 300.

    \b
    Example:
      fcp episodes --data-root data --fold 1 --shots 5 --seed 0 --episodes 1000 --out fold1.json
    """  # noqa: D301  (\b keeps the lines)
    from fcp.data import lists as rule
    from fcp.data.benchmarks import open_benchmark
    from fcp.data.episodes import describe_sampler, sample_episodes, save_episodes

    data = open_benchmark(benchmark, data_root, pool=pool)
    require_fold(data, fold)
    lists = rule.val_lists(data, fold)
    if drop_small_classes:
        kept = rule.drop_small_classes(lists, shots)
        dropped = [name for c, name in lists.names.items() if c not in kept.names]
        typer.echo(f"left out, fewer than {shots + 1} pictures: {', '.join(dropped) or 'none'}")
        lists = kept
    drawn = sample_episodes(lists, shots=shots, episodes=number, seed=seed, sampler=sampler)
    digest = save_episodes(out, drawn)
    typer.echo(f"{len(drawn)} episodes, {describe_sampler(lists, sampler)}: {out}")
    typer.echo(f"sha256 {digest}")
