"""Second step: the photos to segment, and the run."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from fcp.app.parts import PRIVATE, filled, grid, heading, keep_names, named, upload_box
from fcp.app.runs import Engine, PhotoRun
from fcp.app.sessions import Session
from fcp.app.small import LONGEST, keep_small
from fcp.app.visits import Visits, warn_of_refused
from fcp.errors import FcpError
from fcp.system.words import counted

POLL_SECONDS = 0.3
PREVIEWED = 12  # number of photos shown before the run


class PhotosTab:
    """The components of the step and their handlers.

    Args:
        visits: Access to the visitors' sessions.
        engine: Model that all visitors share.
    """

    def __init__(self, visits: Visits, engine: Engine) -> None:
        self.visits = visits
        self.engine = engine
        heading("Photos", "Drop photos or a .zip file of photos here, or choose a folder.")
        self.upload = upload_box("photo-upload")
        with gr.Row():
            self.folder = gr.UploadButton(
                "Choose a folder",
                file_count="directory",
                size="sm",
                min_width=120,
                elem_id="folder-upload",
            )
            keep_names(self.folder)
            self.clear = gr.Button("Remove all photos", size="sm", min_width=120)
        self.count = gr.HTML(_count(0), elem_id="photo-count")
        self.preview = grid("preview", "small", fit="cover")
        with gr.Accordion("Advanced options", open=False):
            self.instances = gr.Checkbox(label="Separate the objects of each class")
            self.appearance = gr.Checkbox(
                label="Use colour and texture where they fit your examples better",
                value=True,
            )
            self.tile = gr.Number(
                label="Tile size in px, for small objects in large photos "
                "(0: chosen from the objects in the examples)",
                value=0,
                minimum=0,
                precision=0,
            )
        with gr.Row():
            self.run = gr.Button("Find the object in all photos", variant="primary", elem_id="run")
            self.cancel = gr.Button("Cancel", variant="stop", interactive=False, elem_id="cancel")
        self.progress = gr.HTML(elem_id="progress")
        self._wire()

    def _wire(self) -> None:
        listed = [self.count, self.preview]
        self.upload.upload(self.take_photos, self.upload, [self.upload, *listed], **PRIVATE)
        self.folder.upload(self.take_photos, self.folder, [self.folder, *listed], **PRIVATE)
        self.clear.click(self.remove_all, None, listed, **PRIVATE)
        self.cancel.click(self.stop, None, self.cancel, **PRIVATE)

    def take_photos(self, files: list[str] | None, request: gr.Request) -> tuple[Any, ...]:
        """Store uploads."""
        with self.visits.visit(request, alone=True) as session:
            taken = session.photos_in.take(named(files), every_page=session.every_page)
            warn_of_refused(taken.refused)
            if taken.known:
                gr.Info(f"{counted(taken.known, 'photo')} of an earlier upload left out")
            session.photos += taken.pictures
            return None, *_listed(session)

    def remove_all(self, request: gr.Request) -> tuple[Any, ...]:
        """Remove all photos except examples and the picture in the editor."""
        with self.visits.visit(request, alone=True) as session:
            session.remove_photos()
            return _listed(session)

    def start(
        self, instances: bool, tile: float, appearance: bool, request: gr.Request
    ) -> Iterator[tuple[Any, ...]]:
        """Start a run and show its progress until it ends, successfully or not.

        Yields:
            Updates of the progress, and of the buttons to run and to cancel.
        """
        with self.visits.visit(request) as session:
            run = session.start_run(
                self.engine,
                tile=int(tile or 0) or "auto",
                instances=instances,
                appearance="auto" if appearance else "off",
            )
        while not run.finished.wait(POLL_SECONDS):
            waiting = gr.update(interactive=not run.stopped)
            yield _progress(run), gr.update(interactive=False), waiting
        if run.error is not None:
            text = session.public_text(FcpError(run.error))
            yield "", gr.update(interactive=True), gr.update(interactive=False)
            raise gr.Error(escape(text), title="Run failed", print_exception=False)
        yield _progress(run), gr.update(interactive=True), gr.update(interactive=False)

    def stop(self, request: gr.Request) -> Any:  # noqa: ANN401
        """Cancel the run; the results so far are kept."""
        with self.visits.visit(request) as session:
            if session.run is not None:
                session.run.stop()
            return gr.update(interactive=False)


def _listed(session: Session) -> tuple[Any, ...]:
    small = []
    for photo in session.photos[:PREVIEWED]:
        try:
            small.append(str(_preview(session, photo)))
        except FcpError:  # its header is valid, so it stays; the run reports the error
            continue
    return _count(len(session.photos)), filled(small)


def _preview(session: Session, photo: Path) -> Path:
    if photo not in session.previews:
        file = session.folder / f"preview{session.number()}.jpg"
        keep_small(photo, file, LONGEST // 2, session.decoding)
        session.previews[photo] = file
    return session.previews[photo]


def _count(photos: int) -> str:
    return f"<p>{counted(photos, 'photo')}</p>"


def _progress(run: PhotoRun) -> str:
    """Return the progress of a run as a bar and a line of text."""
    done, total = run.done, len(run.jobs)
    left = run.seconds_left()
    words = f"{done} of {total} photos"
    if run.finished.is_set():
        words += ": cancelled" if run.stopped else ": done"
    elif run.stopped:
        words += ", cancelling …"
    elif left is not None:
        words += f", about {_duration(left)} left"
    bar = f'<progress value="{done}" max="{total}" style="width: 100%"></progress>'
    return f'<div role="status">{bar}<p>{words}</p></div>'


def _duration(seconds: float) -> str:
    whole = max(1, round(seconds))
    return f"{whole} s" if whole < 90 else f"{round(whole / 60)} min"
