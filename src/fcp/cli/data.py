"""``fcp data``: build data sets from the official downloads, and check them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from fcp.cli.options import BenchmarkOption, DataRootOption, PoolOption, require_fold
from fcp.cli.progress import progress_bar
from fcp.errors import FcpError

if TYPE_CHECKING:
    from fcp.data.archives import Built, Progress

app = typer.Typer(
    name="data",
    help="Build data sets from the official downloads, and check them.",
    no_args_is_help=True,
)

OutOption = Annotated[Path, typer.Option(help="Data root to create or to complete.", metavar="DIR")]
SHOWN_PROBLEMS = 10


@app.command()
def pascal(
    voc: Annotated[
        Path, typer.Option(help="VOCtrainval_11-May-2012.tar, or unpacked.", metavar="TAR|DIR")
    ],
    sbd: Annotated[Path, typer.Option(help="benchmark.tgz, or unpacked.", metavar="TGZ|DIR")],
    out: OutOption,
) -> None:
    """Build VOC2012/ for PASCAL-5i from VOC 2012 and SBD.

    Photos, masks (VOC's own where both have one) and the lists train, val, trainaug and pascal5i,
    the few-shot pool. If it was stopped or files were missing, run it again to continue.

    \b
    Example:
      fcp data pascal --voc VOCtrainval_11-May-2012.tar --sbd benchmark.tgz --out data
    """  # noqa: D301  (\b keeps the lines)
    from fcp.data.build_pascal import build_pascal

    with _phases("file") as progress:
        built = build_pascal(voc, sbd, out, say=typer.echo, progress=progress)
    _finish(built, out)


@app.command()
def coco(
    images: Annotated[
        Path, typer.Option(help="Folder of the pictures, or of train2014/ and val2014/.")
    ],
    annotations: Annotated[
        list[Path],
        typer.Option(help="Instances JSON; once for train, once for val.", metavar="FILE.json"),
    ],
    out: OutOption,
) -> None:
    """Build COCO/coco20i.sqlite, the masks of COCO-20i, from the instances JSON.

    The pictures are not moved. If it was stopped or pictures were missing, run it again to
    continue.

    \b
    Example:
      fcp data coco --images data/COCO --out data
        --annotations annotations/instances_train2014.json
        --annotations annotations/instances_val2014.json
    """  # noqa: D301  (\b keeps the lines)
    from fcp.data.coco_index import build_coco

    with _phases("picture") as progress:
        built = build_coco(images, annotations, out, say=typer.echo, progress=progress)
    _finish(built, out)


@app.command()
def fss1000(
    source: Annotated[Path, typer.Argument(help="The zip, or unpacked.", metavar="ZIP|DIR")],
    out: OutOption,
    splits: Annotated[
        Path | None,
        typer.Option(
            help="Folder with trn.txt, val.txt, test.txt: one class per line.", metavar="DIR"
        ),
    ] = None,
) -> None:
    """Build FSS-1000/ from its download.

    Without --splits, the 240 test classes are the published ones, and 240 of the others, chosen by
    the hash of their names, are for validation. If it was stopped, run it again to continue.

    \b
    Example:
      fcp data fss1000 fewshot_data.zip --out data
    """  # noqa: D301  (\b keeps the lines)
    from fcp.data.build_fss1000 import build_fss1000

    with _phases("file") as progress:
        built = build_fss1000(source, out, splits=splits, say=typer.echo, progress=progress)
    _finish(built, out)


@app.command()
def check(
    data_root: DataRootOption,
    benchmark: BenchmarkOption = "pascal5i",
    pool: PoolOption = None,
    json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Count a data set, and explain differences from the known counts.

    The exit status is 1 if a listed picture or mask is missing or damaged.

    \b
    Example:
      fcp data check --benchmark pascal5i --data-root data
    """  # noqa: D301  (\b keeps the lines)
    from dataclasses import asdict
    from json import dumps

    from fcp.cli.data_table import print_check
    from fcp.data.benchmarks import open_benchmark
    from fcp.data.check import check as count

    found = count(open_benchmark(benchmark, data_root, pool=pool))
    if json:
        typer.echo(dumps(asdict(found), indent=1))
    else:
        print_check(found)
    if not found.usable:
        raise typer.Exit(1)


@app.command()
def lists(
    *,
    data_root: DataRootOption,
    out: Annotated[Path, typer.Option(help="List to write.", metavar="FILE")],
    split: Annotated[Literal["train", "val"], typer.Option(help="Split of the list.")],
    benchmark: BenchmarkOption = "pascal5i",
    fold: Annotated[
        int | None, typer.Option(help="Fold; leave it out for data sets without folds.")
    ] = None,
    unfiltered: Annotated[
        bool, typer.Option("--unfiltered", help="Keep training pictures of novel classes.")
    ] = False,
    pool: PoolOption = None,
) -> None:
    """Write the list of a fold, for comparison with other lists.

    Each line holds the id of a picture and the ids of its classes, separated by tabs.

    \b
    Example:
      fcp data lists --data-root data --fold 0 --split train --out fold0.txt
    """  # noqa: D301  (\b keeps the lines)
    from fcp.data.benchmarks import open_benchmark
    from fcp.data.check import write_lists
    from fcp.data.lists import train_lists, val_lists
    from fcp.files import write_atomically

    if unfiltered and split == "val":
        raise FcpError("--unfiltered: only training lists are filtered; leave it out for val")
    data = open_benchmark(benchmark, data_root, pool=pool)
    require_fold(data, fold)
    chosen = (
        val_lists(data, fold)
        if split == "val"
        else train_lists(data, fold, filtered=not unfiltered)
    )
    write_atomically(out, write_lists(chosen))
    typer.echo(f"{len(chosen.rows)} rows: {out}")


@contextmanager
def _phases(unit: str) -> Iterator[Progress]:
    """Show a progress bar for each phase of a build; ``unit`` is counted."""
    with progress_bar(unit) as bar:
        tasks = {}

        def progress(phase: str, done: int, total: int | None) -> None:
            if phase not in tasks:
                tasks[phase] = bar.add_task(phase, total=total)
            bar.update(tasks[phase], completed=done, total=total)

        yield progress


def _finish(built: Built, out: Path) -> None:
    """Report the outcome of a build; problems make the exit status 1."""
    for line in built.problems[:SHOWN_PROBLEMS]:
        typer.secho(line, fg="yellow", err=True)
    typer.echo(f"{built.pictures} pictures ready in {out}")
    if built.problems:
        more = len(built.problems) - SHOWN_PROBLEMS
        rest = f" ({more} more than shown)" if more > 0 else ""
        raise FcpError(
            f"{len(built.problems)} problems{rest}; the rest is done: put them right and run again"
        )
