"""The first step of every handler: find the visitor's session, and show errors in one line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from html import escape

import gradio as gr

from fcp.app.sessions import Session, SessionStore
from fcp.errors import FcpError

MOST_LINES = 6  # number of refused files that are listed one by one


class Visits:
    """Access of the handlers to the visitors' sessions.

    Args:
        store: Store of the sessions.
    """

    def __init__(self, store: SessionStore) -> None:
        self.store = store

    @contextmanager
    def visit(self, request: gr.Request, *, alone: bool = False) -> Iterator[Session]:
        """Return the session of a request as a context, which keeps its folder.

        Args:
            request: Request that Gradio hands to the handler.
            alone: Whether to wait for other handlers with the same flag; for handlers that change
                the lists of pictures and examples.

        Raises:
            gr.Error: An ``FcpError``, as a message on the page.
        """
        with self._told():
            session = self.store.get(_key(request))
            with session.work(), session.alone if alone else nullcontext():
                try:
                    yield session
                except FcpError as error:
                    raise FcpError(session.public_text(error)) from error

    def arrive(self, request: gr.Request) -> None:
        """Begin a visit when the page is loaded, so that no upload of it is swept away."""
        with self._told():
            self.store.begin(_key(request))

    def leave(self, request: gr.Request) -> None:
        """Note that the tab was closed, the page was reloaded or the connection was lost."""
        self.store.leave(_key(request))

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn an ``FcpError`` into a message on the page."""
        try:
            yield
        except FcpError as error:
            text = str(error).replace(str(self.store.root), "")
            raise gr.Error(escape(text), title="Not possible", print_exception=False) from error


def warn_of_refused(refused: Sequence[str]) -> None:
    """Show which files were refused, and why."""
    if not refused:
        return
    lines = [escape(line) for line in refused[:MOST_LINES]]
    if len(refused) > MOST_LINES:
        lines.append(f"… and {len(refused) - MOST_LINES} more")
    gr.Warning("<br>".join(lines), title=f"Refused files: {len(refused)}", duration=15)


def _key(request: gr.Request) -> str:
    return str(request.session_hash or "")
