"""``fcp app``: the page in the browser."""

from __future__ import annotations

import threading
from importlib.util import find_spec
from typing import Annotated, Any

import typer

from fcp.cli.options import (
    DEFAULT_MODEL,
    LOCAL,
    DeviceOption,
    ModelOption,
    ThreadsOption,
    settle_model,
)
from fcp.cli.reading_options import BandsOption, PagesOption, RangeOption, read_decoding
from fcp.errors import FcpError


def app(
    *,
    model: ModelOption = DEFAULT_MODEL,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    host: Annotated[
        str,
        typer.Option(help="Address to listen at; 127.0.0.1 is reachable from this machine only."),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen at.")] = 7860,
    share: Annotated[
        bool, typer.Option("--share", help="Let Gradio give the page a public address.")
    ] = False,
    max_upload_mb: Annotated[
        int, typer.Option(min=1, help="Upload limit of each visitor in MB, unpacked.", metavar="N")
    ] = 2000,
    values: RangeOption = "auto",
    bands: BandsOption = None,
    pages: PagesOption = "largest",
) -> None:
    """Open a page in the browser: mark an object in a few pictures, find it in all others.

    Only this machine can reach the page, unless --host or --share say otherwise. Uploads are kept
    in a temporary folder; they are removed when the tab is closed, and all of them when the command
    ends (Ctrl-C, a closed terminal, SIGTERM). Files of a killed page are removed at the next start.
    --range, --bands and --pages apply to all pictures; examples are always one page.

    \b
    Examples:
      fcp app
      fcp app --model runs/tiny --port 8000
      fcp app --range 0:4095 --bands 4,3,2 --pages all
    """  # noqa: D301  (\b keeps the lines)
    if find_spec("gradio") is None:
        raise FcpError("the page needs gradio; pip install '.[app]' in the checkout")
    decoding, every_page = read_decoding(values, bands, pages)
    model = settle_model(model, device)
    from fcp.app.limits import Limits
    from fcp.app.serve import serve

    limits = Limits(total_bytes=max_upload_mb * 10**6)
    place: dict[str, Any] = {"host": host, "port": port, "share": share}
    reading: dict[str, Any] = {"decoding": decoding, "every_page": every_page}
    _warn_of_strangers(host, share=share)
    typer.echo("loading the model …", err=True)
    try:
        computing: dict[str, Any] = {"device": device, "threads": threads}
        with serve(model, limits=limits, **computing, **place, **reading) as served:
            typer.echo(f"open {served.share_url or served.url} (Ctrl-C ends it)")
            _wait()
    except KeyboardInterrupt:  # the usual end of a page
        typer.echo("ended; all uploads are removed", err=True)


def _warn_of_strangers(host: str, *, share: bool) -> None:
    if share or host not in LOCAL:
        reached = "the public address" if share else host
        typer.echo(
            f"{reached}: anybody who can reach it can use the page without a password", err=True
        )


def _wait() -> None:
    threading.Event().wait()
