"""What every handler of the page does first: find the visitor, and say errors in one line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from html import escape

import gradio as gr

from fcp.app.sessions import Session, SessionStore
from fcp.errors import FcpError

MOST_LINES = 6  # of refused files that are told one by one


class Visits:
    """The visitors, as handlers meet them.

    Args:
        store: of their sessions.
    """

    def __init__(self, store: SessionStore) -> None:
        self.store = store

    @contextmanager
    def visit(self, request: gr.Request, *, alone: bool = False) -> Iterator[Session]:
        """Give the session of who asks, held while it is used.

        Args:
            request: of who asks.
            alone: whether other handlers that ask for this wait; for what changes the lists of
                pictures and examples.

        Raises:
            gr.Error: for whatever the visitor can put right.
        """
        folder_of = str(self.store.root)
        try:
            session = self.store.get(_key(request))
            with session.work(), session.alone if alone else nullcontext():
                try:
                    yield session
                except FcpError as error:
                    raise FcpError(session.told(error)) from error
        except FcpError as error:
            text = str(error).replace(folder_of, "")
            raise gr.Error(escape(text), title="Not yet", print_exception=False) from error

    def arrive(self, request: gr.Request) -> None:
        """Begin a visit when the page is there, so that no upload of its is taken for forgotten."""
        with self.visit(request):
            pass

    def leave(self, request: gr.Request) -> None:
        """End a visit: the tab was closed or the page loaded again."""
        self.store.close(_key(request))


def tell_refused(refused: Sequence[str]) -> None:
    """Say which files were refused, and why."""
    if not refused:
        return
    lines = [escape(line) for line in refused[:MOST_LINES]]
    if len(refused) > MOST_LINES:
        lines.append(f"… and {len(refused) - MOST_LINES} more")
    gr.Warning("<br>".join(lines), title=f"Left out: {len(refused)}", duration=15)


def _key(request: gr.Request) -> str:
    return str(request.session_hash or "")
