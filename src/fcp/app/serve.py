"""The server of the page: its address, its folder for files, and its end."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fcp.app.limits import Limits
from fcp.app.place import place_of_a_page
from fcp.data.decode import Decoding
from fcp.data.images import DEFAULT
from fcp.errors import FcpError


@dataclass(frozen=True)
class Served:
    """A page that is being served.

    Attributes:
        url: Address on this machine or network.
        share_url: Public address; None without ``share``.
        root: Folder of all files of the page.
    """

    url: str
    share_url: str | None
    root: Path


@contextmanager
def serve(
    model: str,
    *,
    device: str = "auto",
    threads: int | None = None,
    host: str = "127.0.0.1",
    port: int = 7860,
    share: bool = False,
    limits: Limits | None = None,
    decoding: Decoding = DEFAULT,
    every_page: bool = False,
) -> Iterator[Served]:
    """Serve the page while the context is open; all its files are removed at the end.

    Args:
        model: Model folder or name, see ``FewShotSegmenter.from_pretrained``.
        device: Device of the model, see ``FewShotSegmenter.from_pretrained``.
        threads: Number of CPU threads; None for a choice at each run.
        host: Address to listen at; 127.0.0.1 is reachable from this machine only.
        port: Port to listen at.
        share: Whether Gradio provides a public address.
        limits: Limits on the uploads of each visitor; None for the defaults.
        decoding: Options for reading all pictures.
        every_page: Whether each page of an uploaded file is a photo of its own.

    Yields:
        The addresses and the folder of the page.

    Raises:
        FcpError: the model or the device does not exist, or the port is in use.
    """
    most = limits or Limits()
    _require_free(host, port)
    with place_of_a_page() as root, _surroundings(root):
        from fcp.app.page import build_page
        from fcp.app.parts import style
        from fcp.app.runs import Engine
        from fcp.app.sessions import SessionStore

        store = SessionStore(root, most, decoding, every_page=every_page)
        page = build_page(Engine(model, device, threads), store)
        _, url, share_url = page.launch(
            server_name=host,
            server_port=port,
            share=share,
            max_file_size=most.total_bytes,
            prevent_thread_lock=True,
            quiet=True,
            ssr_mode=False,
            run_history=False,
            enable_monitoring=False,
            footer_links=[],
            **style(),
        )
        try:
            yield Served(url, share_url, root)
        finally:
            page.close(verbose=False)
            store.close_all()


def _require_free(host: str, port: int) -> None:
    """Refuse an address that cannot be used, before the model is loaded.

    Raises:
        FcpError: another program uses the port, or the host is not an address of this machine.
    """
    try:
        family, kind, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise FcpError(
            f"{host}:{port}: cannot be listened at ({error.strerror}); choose another --port, or "
            "--host"
        ) from error


@contextmanager
def _surroundings(root: Path) -> Iterator[None]:
    """Set environment variables of Gradio: its files go to our folder, and analytics are off."""
    wanted = {"GRADIO_TEMP_DIR": str(root), "GRADIO_ANALYTICS_ENABLED": "False"}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
