"""``fcp import-checkpoint``: a checkpoint of the authors' program → a model folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from fcp.config import MOST_PX, SegmenterConfig
from fcp.errors import FcpError
from fcp.system.words import counted

FCP, BASE_LEARNER = "fcp", "base-learner"
_PUBLISHED_SAM = "facebook/sam-vit-huge"
_SIZE = 473  # px, of PASCAL-5i in most of the papers
_COCO_CLASSES = 60  # base classes of COCO-20i, of which a base learner's file tells the number

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
        max=MOST_PX,
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
KindOption = Annotated[
    Literal["sam", "sam2", "sam_hq"] | None,
    typer.Option(help="Kind of that segmenter. Default: sam.", show_default=False),
]


def import_checkpoint(
    *,
    file: Annotated[Path, typer.Argument(help="Checkpoint to read.", metavar="FILE")],
    options: OptionsArgument = None,
    out: Annotated[Path, typer.Option(help="Model folder to write.", metavar="DIR")],
    method: MethodOption = FCP,
    image_size: SizeOption = None,
    segmenter: SegmenterOption = None,
    segmenter_kind: KindOption = None,
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
    _refuse_idle(
        method,
        {
            "KEY=VALUE": bool(options),
            "--image-size": image_size is not None,
            "--segmenter": segmenter is not None,
            "--segmenter-kind": segmenter_kind is not None,
        },
    )
    if method == FCP:
        from fcp.encoders.places import settle
        from fcp.models.checkpoint import import_checkpoint as convert

        place = settle(segmenter or _PUBLISHED_SAM)
        convert(file, out, segmenter=SegmenterConfig(name=segmenter_kind or "sam", weights=place))
    elif method == BASE_LEARNER:
        from fcp.encoders.weights import read_state_dict
        from fcp.method.bam.published import import_base_learner
        from fcp.method.published import backbone_of
        from fcp.models.trained import save_base_learner

        learner = import_base_learner(file)
        save_base_learner(learner, backbone_of(read_state_dict(file)), out)
    else:
        _import_trained(method, file, tuple(options or ()), image_size, out)
    typer.echo(f"{'base learner' if method == BASE_LEARNER else 'model'} folder: {out}")


def _refuse_idle(method: str, given: Mapping[str, bool]) -> None:
    """Refuse options without effect: FCP's file tells its sizes, the others have no segmenter.

    Args:
        method: Method of the checkpoint.
        given: Whether each option was given.

    Raises:
        FcpError: an option is without effect; it is named.
    """
    of_method, of_segmenter = {"KEY=VALUE", "--image-size"}, {"--segmenter", "--segmenter-kind"}
    idle = {FCP: of_method, BASE_LEARNER: of_method | of_segmenter}.get(method, of_segmenter)
    for option in (name for name, is_given in given.items() if is_given and name in idle):
        raise FcpError(f"{option}: without effect with --method {method}; leave it out")


def _refuse_model(out: Path) -> None:
    """Refuse a folder whose model would be lost."""
    from fcp.models.folder import holds_model

    if holds_model(out):
        raise FcpError(f"{out}: holds a model already; choose another --out")


def _import_trained(
    method: str, file: Path, options: tuple[str, ...], image_size: int | None, out: Path
) -> None:
    """Write the folder of a compared method; say what was assumed and what its program never reads.

    Raises:
        FcpError: no size is given for a file of COCO's base classes.
    """
    from fcp.method.trained import import_checkpoint as read
    from fcp.models.trained import save_trained
    from fcp.system.documents import apply_overrides

    given: dict[str, Any] = apply_overrides({}, options)
    imported = read(method, file, **given)
    if image_size is None and imported.options.get("base_classes") == _COCO_CLASSES:
        raise FcpError(
            f"--image-size: {file} has COCO's {_COCO_CLASSES} base classes; name the side of its "
            "training, 641 px for BAM and 633 for HDMNet in their papers"
        )
    save_trained(imported.model, method, imported.options, image_size or _SIZE, out)
    if image_size is None:
        typer.echo(f"pictures of {_SIZE} px, as on PASCAL-5i; another side by --image-size")
    if method == "pfenet" and "bins" not in given:
        typer.echo("bins as on PASCAL-5i; those of COCO: 'bins=[1.0,0.5,0.25,0.125]'")
    if imported.unused:
        typer.echo(f"{counted(len(imported.unused), 'tensor')} that {method} never reads:")
        for name in imported.unused:
            typer.echo(f"  {name}")
