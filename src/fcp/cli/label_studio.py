"""``fcp label-studio``: the ML backend that Label Studio asks for pre-annotations."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from fcp.cli.options import DeviceOption, FusionOption, ModelOption

_LOCAL = ("127.0.0.1", "localhost", "::1")


def label_studio(
    *,
    url: Annotated[
        str,
        typer.Option(
            "--label-studio-url",
            help="Where Label Studio runs.",
            envvar="LABEL_STUDIO_URL",
            metavar="URL",
        ),
    ] = "http://localhost:8080",
    api_key: Annotated[
        str | None,
        typer.Option(
            help="Its access token (Account & Settings); better in the environment than here.",
            envvar="LABEL_STUDIO_API_KEY",
            show_envvar=True,
            metavar="KEY",
        ),
    ] = None,
    folder: Annotated[
        Path, typer.Option(help="Where the examples are kept.", metavar="DIR")
    ] = Path("label-studio-examples"),
    model: ModelOption = "tiny",
    device: DeviceOption = "auto",
    fusion: FusionOption = "pooled",
    examples: Annotated[int, typer.Option(min=1, help="Examples to keep of each label.")] = 5,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            help="Fetch pictures from this host too; may be repeated.", metavar="HOST[:PORT]"
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 9090,
) -> None:
    """Pre-annotate in Label Studio: annotate a few tasks, the others are predicted.

    Connect it in the project's settings under Model. The annotations made so far are the examples:
    the best of each label (ground truth, then masks and polygons, then boxes, then points; late
    before early). There is no training; a new annotation counts from the next task on.

    \b
    Examples:
      fcp label-studio
      LABEL_STUDIO_API_KEY=… fcp label-studio --label-studio-url http://localhost:8080
    """  # noqa: D301  (\b keeps the lines)
    # Here and not above: torch takes seconds to load, and what is missing is told before that.
    from fcp.checkpoint import CONFIG_FILE, WEIGHTS_FILE
    from fcp.files import sha256_of
    from fcp.label_studio.backend import Backend
    from fcp.label_studio.client import LabelStudio
    from fcp.label_studio.server import serve
    from fcp.label_studio.store import ExampleStore
    from fcp.segmenter import FewShotSegmenter, find_model

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    studio = LabelStudio(url, api_key, allow_host or [])
    store = ExampleStore(folder)
    place = find_model(model)
    hashes = [sha256_of(place / name) for name in (CONFIG_FILE, WEIGHTS_FILE)]
    segmenter = FewShotSegmenter.from_pretrained(place, device=device, fusion=fusion)
    fingerprint = " ".join([*hashes, fusion])
    backend = Backend(segmenter, studio, store, fingerprint=fingerprint, keep=examples)
    if host not in _LOCAL:
        typer.echo(f"{host}: anybody who reaches this address can use it", err=True)
    serve(backend, host, port, lambda where: typer.echo(f"{where} waits for Label Studio at {url}"))
