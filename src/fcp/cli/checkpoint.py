"""``fcp import-checkpoint``: a checkpoint of the authors' program → a model folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fcp.config import SegmenterConfig


def import_checkpoint(
    *,
    file: Annotated[Path, typer.Argument(help="Checkpoint to read.", metavar="FILE")],
    out: Annotated[Path, typer.Option(help="Model folder to write.", metavar="DIR")],
    segmenter: Annotated[
        str,
        typer.Option(
            help="SAM of the training, which the checkpoint does not contain: a hub id, folder or "
            "file.",
            metavar="ID|DIR|FILE",
        ),
    ] = "facebook/sam-vit-huge",
    segmenter_kind: Annotated[
        str, typer.Option(help="Kind of that segmenter.", metavar="sam|sam2|sam_hq")
    ] = "sam",
) -> None:
    """Turn a checkpoint of the authors' program into a model folder.

    \b
    Examples:
      fcp import-checkpoint best_model.pt --out models/fcp-fold0
      fcp import-checkpoint best_model.pt --out models/fcp-fold0 --segmenter sam_vit_h_4b8939.pth
      fcp segment --model models/fcp-fold0 --support examples --query photos --out found
    """  # noqa: D301  (\b keeps the lines)
    from fcp.models.checkpoint import import_checkpoint as convert

    convert(file, out, segmenter=SegmenterConfig(name=segmenter_kind, weights=segmenter))
    typer.echo(f"model folder: {out}")
