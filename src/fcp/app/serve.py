"""The server: where its files lie, what it refuses, and its end."""

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
    """A page that runs.

    Attributes:
        url: where it is.
        share_url: where it is for everyone, if that was asked for.
        root: folder of all its files.
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
    """Serve the page inside the context; all its files go at the end.

    Args:
        model: as ``FewShotSegmenter.from_pretrained`` takes it.
        device: likewise.
        threads: of the CPU; None to choose at each run.
        host: address to listen at; 127.0.0.1 is this machine alone.
        port: to listen at.
        share: whether Gradio gives it a public address.
        limits: of each visitor.
        decoding: of all pictures.
        every_page: whether each page of an uploaded photo's file is a photo of its own.

    Yields:
        Where it is.

    Raises:
        FcpError: no such model or device, or the port is taken.
    """
    most = limits or Limits()
    _require_free(host, port)
    with place_of_a_page() as root, _surroundings(root):
        from fcp.app.page import build_page
        from fcp.app.parts import look
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
            **look(),
        )
        try:
            yield Served(url, share_url, root)
        finally:
            page.close(verbose=False)
            store.close_all()


def _require_free(host: str, port: int) -> None:
    """Refuse an address that cannot be listened at, before the model is loaded.

    Raises:
        FcpError: another program listens there, or the host is not of this machine.
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
    """Set what Gradio reads from the environment: its files go to our folder, and nothing home."""
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
