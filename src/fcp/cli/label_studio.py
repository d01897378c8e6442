"""``fcp label-studio``: an ML backend for Label Studio that makes pre-annotations."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fcp.cli.options import (
    DEFAULT_MODEL,
    LOCAL,
    DeviceOption,
    FusionOption,
    ModelOption,
    ThreadsOption,
    settle_model,
)

if TYPE_CHECKING:
    from fcp.inference.segmenter import FewShotSegmenter


UrlOption = Annotated[
    str,
    typer.Option(
        "--label-studio-url",
        help="Address of Label Studio.",
        envvar="LABEL_STUDIO_URL",
        metavar="URL",
    ),
]
KeyOption = Annotated[
    str | None,
    typer.Option(
        help="Access token of Label Studio; safer as environment variable than as option.",
        envvar="LABEL_STUDIO_API_KEY",
        metavar="KEY",
    ),
]
FolderOption = Annotated[Path, typer.Option(help="Folder for the examples.", metavar="DIR")]
ExamplesOption = Annotated[
    int, typer.Option(min=1, help="Number of examples to keep for each label.")
]
AllowOption = Annotated[
    list[str] | None,
    typer.Option(help="Also fetch pictures from this host; repeatable.", metavar="HOST[:PORT]"),
]
HostOption = Annotated[
    str, typer.Option(help="Address to listen at; 127.0.0.1 is reachable from this machine only.")
]
PortOption = Annotated[
    int, typer.Option(min=0, max=65535, help="Port to listen at; 0 takes a free one.")
]


def label_studio(
    *,
    url: UrlOption = "http://localhost:8080",
    api_key: KeyOption = None,
    folder: FolderOption = Path("label-studio-examples"),
    model: ModelOption = DEFAULT_MODEL,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    fusion: FusionOption = "pooled",
    examples: ExamplesOption = 5,
    allow_host: AllowOption = None,
    host: HostOption = "127.0.0.1",
    port: PortOption = 9090,
) -> None:
    """Pre-annotate in Label Studio: annotate a few tasks, and the others are predicted.

    Connect it in the project's settings under Model (docs/label-studio.md). The best annotations of
    each label are the examples: ground truth first, then masks and polygons, boxes, points; newer
    ones before older ones. There is no training.

    \b
    Examples:
      fcp label-studio
      LABEL_STUDIO_API_KEY=… fcp label-studio --label-studio-url http://localhost:8081
    """  # noqa: D301  (\b keeps the lines)
    model = settle_model(model, device)
    # Imported here, because torch takes seconds to load and --help does not need it.
    from fcp.label_studio.backend import Backend
    from fcp.label_studio.client import LabelStudio
    from fcp.label_studio.server import serve
    from fcp.label_studio.store import ExampleStore
    from fcp.system.threads import set_threads

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    studio = LabelStudio(url, api_key, allow_host or [])
    store = ExampleStore(folder)
    segmenter, fingerprint = _load(model, device, fusion)
    set_threads(threads)
    backend = Backend(segmenter, studio, store, fingerprint=fingerprint, keep=examples)
    if host not in LOCAL:
        typer.echo(f"{host}: anybody who can reach this address can use it", err=True)
    serve(backend, host, port, lambda where: typer.echo(f"{where} waits for Label Studio at {url}"))


def _load(model: str, device: str, fusion: str) -> tuple[FewShotSegmenter, str]:
    """Load the model, and return it with a fingerprint of all that determines its results."""
    from fcp.inference.segmenter import FewShotSegmenter
    from fcp.models.loading import model_fingerprint

    segmenter = FewShotSegmenter.from_pretrained(model, device=device, fusion=fusion)
    return segmenter, f"{model_fingerprint(model, device)} {fusion}"
