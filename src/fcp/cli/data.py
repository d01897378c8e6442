"""``fcp data``: build data sets from the official downloads, and check them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from fcp.cli.options import (
    BenchmarkName,
    BenchmarkOption,
    DataRootOption,
    PoolOption,
    refuse_overwriting,
    require_fold,
)
from fcp.cli.progress import progress_bar
from fcp.errors import FcpError
from fcp.system.words import counted

if TYPE_CHECKING:
    from fcp.data.archives import Built, Progress
    from fcp.data.check import Check

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
def lvis(
    images: Annotated[Path, typer.Option(help="Folder of train2017/ and val2017/.")],
    annotations: Annotated[
        list[Path],
        typer.Option(help="lvis_v1_val.json; train too where it is wanted.", metavar="FILE.json"),
    ],
    out: OutOption,
) -> None:
    """Build LVIS/lvis92i.sqlite, the masks of LVIS-92i, from the JSON of LVIS v1.

    Its pictures are COCO's of 2017; those of val come from both of COCO's parts. They are not
    moved. If it was stopped or pictures were missing, run it again to continue.

    \b
    Example:
      fcp data lvis --images data/COCO --annotations lvis_v1_val.json --out data
    """  # noqa: D301  (\b keeps the lines)
    from fcp.data.coco_index import LVIS_LAYOUT, build_coco

    with _phases("picture") as progress:
        built = build_coco(
            images, annotations, out, layout=LVIS_LAYOUT, say=typer.echo, progress=progress
        )
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
def bsds500(
    source: Annotated[
        Path, typer.Argument(help="BSR_bsds500.tgz, or unpacked.", metavar="TGZ|DIR")
    ],
    out: OutOption,
) -> None:
    """Build BSDS500/, of which promptable segmenters and backbone statistics are made.

    It is no benchmark: its regions have no classes. If it was stopped, run it again to continue.

    \b
    Example:
      fcp data bsds500 BSR_bsds500.tgz --out data
    """  # noqa: D301  (\b keeps the lines)
    from fcp.data.build_bsds500 import build_bsds500

    with _phases("file") as progress:
        built = build_bsds500(source, out, say=typer.echo, progress=progress)
    _finish(built, out)


@app.command()
def check(
    folder: Annotated[
        Path | None, typer.Argument(help="Data root. Default: --data-root.", metavar="[DIR]")
    ] = None,
    *,
    data_root: Annotated[
        Path | None,
        typer.Option(help="The same, as an option.", envvar="FCP_DATA_ROOT", metavar="DIR"),
    ] = None,
    benchmark: Annotated[
        BenchmarkName | None,
        typer.Option(help="Data set. Default: every one that is there.", show_default=False),
    ] = None,
    pool: PoolOption = None,
    json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Count the data sets of a folder, and explain differences from the known counts.

    What is not there is named, with the page where it is published and the command that builds it.
    The exit status is 1 if a listed picture or mask is missing or damaged, or if nothing is there.

    \b
    Examples:
      fcp data check data
      fcp data check data --benchmark pascal5i
    """  # noqa: D301  (\b keeps the lines)
    from fcp.data.benchmarks import find_benchmarks, open_benchmark
    from fcp.data.check import check as count

    root = folder or data_root
    if root is None:
        raise FcpError("data check: no folder given; as in fcp data check data")
    absent: dict[str, str] = {}
    if benchmark is None and pool is None:
        found, absent = find_benchmarks(root)
    else:
        name = benchmark or "pascal5i"
        found = {name: open_benchmark(name, root, pool=pool)}
    counted = {name: count(data) for name, data in found.items()}
    if json:
        _print_json(counted)
    else:
        _print_checks(counted, absent)
    if not counted or not all(one.usable for one in counted.values()):
        raise typer.Exit(1)


def _print_json(counted: Mapping[str, Check]) -> None:
    from dataclasses import asdict
    from json import dumps

    typer.echo(dumps({name: asdict(one) for name, one in counted.items()}, indent=1))


def _print_checks(counted: Mapping[str, Check], absent: Mapping[str, str]) -> None:
    from fcp.cli.data_table import print_check

    for name, one in counted.items():
        typer.secho(name, bold=True)
        print_check(one)
    for name, reason in absent.items():
        typer.echo(f"{name}: not here: {reason}")


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
    from fcp.data.lists import train_lists, val_lists, write_lists
    from fcp.system.files import write_atomically

    if unfiltered and split == "val":
        raise FcpError("--unfiltered: only training lists are filtered; leave it out for val")
    if pool is not None and split == "val":
        raise FcpError("--pool: is of training pictures; leave it out for val")
    refuse_overwriting([out], [pool])
    data = open_benchmark(benchmark, data_root, pool=pool)
    require_fold(data, fold)
    chosen = (
        val_lists(data, fold)
        if split == "val"
        else train_lists(data, fold, filtered=not unfiltered)
    )
    write_atomically(out, write_lists(chosen))
    typer.echo(f"{counted(len(chosen.rows), 'row')}: {out}")


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
    typer.echo(f"{counted(built.pictures, 'picture')} ready in {out}")
    if built.problems:
        more = len(built.problems) - SHOWN_PROBLEMS
        rest = f" ({more} more than shown)" if more > 0 else ""
        raise FcpError(
            f"{counted(len(built.problems), 'problem')}{rest}; the rest is done: put right what is "
            "named and run again"
        )
