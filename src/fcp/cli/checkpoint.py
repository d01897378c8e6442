"""``fcp import-checkpoint``: a checkpoint of the authors' program → a model folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fcp.config import SegmenterConfig
from fcp.errors import FcpError
from fcp.system.words import counted

FCP, BASE_LEARNER = "fcp", "base-learner"
_PUBLISHED_SAM = "facebook/sam-vit-huge"
_SIZE = 473  # px, of PASCAL-5i in most of the papers


OptionsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        help="Options of a compared method that the file does not tell.", metavar="KEY=VALUE"
    ),
]
MethodOption = Annotated[
    str,
    typer.Option(
        help="Method of the checkpoint, or base-learner for what BAM and HDMNet start from.",
        metavar="fcp|ssp|pfenet|bam|hdmnet|cyctr|base-learner",
    ),
]
SizeOption = Annotated[
    int | None,
    typer.Option(
        min=32,
        help=f"Side of the square pictures that a compared method takes, px. Default: {_SIZE}.",
        show_default=False,
    ),
]
SegmenterOption = Annotated[
    str | None,
    typer.Option(
        help="SAM of FCP's training, which the checkpoint does not contain: a hub id, folder or "
        f"file. Default: {_PUBLISHED_SAM}.",
        metavar="ID|DIR|FILE",
        show_default=False,
    ),
]
KindOption = Annotated[str, typer.Option(help="Kind of that segmenter.", metavar="sam|sam2|sam_hq")]


def import_checkpoint(
    *,
    file: Annotated[Path, typer.Argument(help="Checkpoint to read.", metavar="FILE")],
    options: OptionsArgument = None,
    out: Annotated[Path, typer.Option(help="Model folder to write.", metavar="DIR")],
    method: MethodOption = FCP,
    image_size: SizeOption = None,
    segmenter: SegmenterOption = None,
    segmenter_kind: KindOption = "sam",
) -> None:
    """Turn a checkpoint of the authors' program into a model folder.

    \b
    Examples:
      fcp import-checkpoint best_model.pt --out models/fcp-fold0
      fcp import-checkpoint best_model.pt --out models/fcp-fold0 --segmenter sam_vit_h_4b8939.pth
      fcp import-checkpoint --method bam bam.pth --out models/bam-fold0
      fcp import-checkpoint --method base-learner base.pth --out models/base-fold0
      fcp import-checkpoint --method pfenet coco.pth 'bins=[1.0,0.5,0.25,0.125]' \\
        --image-size 641 --out models/pfenet
      fcp segment --model models/fcp-fold0 --support examples --query photos --out found
    """  # noqa: D301  (\b keeps the lines)
    _refuse_model(out)
    if method == FCP:
        if options or image_size is not None:
            raise FcpError(
                "import-checkpoint: KEY=VALUE and --image-size are for --method other than fcp"
            )
        from fcp.models.checkpoint import import_checkpoint as convert

        named = SegmenterConfig(name=segmenter_kind, weights=segmenter or _PUBLISHED_SAM)
        convert(file, out, segmenter=named)
    elif method == BASE_LEARNER:
        if options or image_size is not None or segmenter is not None:
            raise FcpError(
                "import-checkpoint: a base learner takes neither KEY=VALUE nor --image-size nor "
                "--segmenter"
            )
        from fcp.encoders.weights import read_state_dict
        from fcp.method.bam.published import import_base_learner
        from fcp.method.published import backbone_of
        from fcp.models.trained import save_base_learner

        learner = import_base_learner(file)
        save_base_learner(learner, backbone_of(read_state_dict(file)), out)
    else:
        if segmenter is not None:
            raise FcpError(f"--segmenter: {method} has no segmenter; leave it out")
        _import_trained(method, file, tuple(options or ()), image_size or _SIZE, out)
    typer.echo(f"{'base learner' if method == BASE_LEARNER else 'model'} folder: {out}")


def _refuse_model(out: Path) -> None:
    """Refuse a folder whose model would be lost."""
    from fcp.models.folder import holds_model

    if holds_model(out):
        raise FcpError(f"{out}: holds a model already; choose another --out")


def _import_trained(
    method: str, file: Path, options: tuple[str, ...], image_size: int, out: Path
) -> None:
    """Write the folder of a compared method, and name what its program itself never reads."""
    from fcp.method.trained import import_checkpoint as read
    from fcp.models.trained import save_trained
    from fcp.system.documents import apply_overrides

    given: dict[str, Any] = apply_overrides({}, options)
    imported = read(method, file, **given)
    save_trained(imported.model, method, imported.options, image_size, out)
    if imported.unused:
        typer.echo(f"{counted(len(imported.unused), 'tensor')} that {method} never reads:")
        for name in imported.unused:
            typer.echo(f"  {name}")
