"""Third step: results with threshold, detail view, correction, explanation and download."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from fcp.app import why
from fcp.app.download import TITLES, make_download
from fcp.app.drawn import drawn_on, put_over
from fcp.app.examples_tab import open_in_editor
from fcp.app.gallery import PAGE, GalleryPhoto, arrange, facts, pages, pictures_of, summary, view
from fcp.app.marks import Marked
from fcp.app.parts import PRIVATE, filled, grid, heading
from fcp.app.runs import PhotoRun
from fcp.app.sessions import Session
from fcp.app.threshold import first_threshold
from fcp.app.visits import Visits
from fcp.errors import FcpError
from fcp.labelling.export import read_back
from fcp.labelling.photo_results import PictureResult

ALL = ""  # value of the choice "all classes"


class ResultsTab:
    """The components of the step and their handlers.

    Args:
        visits: Access to the visitors' sessions.
    """

    def __init__(self, visits: Visits) -> None:
        self.visits = visits
        self.summary = gr.HTML("<p>No results yet.</p>", elem_id="summary")
        with gr.Row():
            self.threshold = gr.Slider(
                0,
                1,
                value=0,
                step=0.01,
                label="Threshold",
                info="Smallest probability that the class is in the photo (or smallest score, if "
                "the model does not estimate presence). Photos below it are marked “not here” "
                "and left out of the download.",
                elem_id="threshold",
            )
            self.wanted = gr.Dropdown(
                [("all classes", ALL)], value=ALL, label="Class", visible=False, elem_id="wanted"
            )
        self.gallery = grid("results", "large")
        with gr.Row():
            self.back = gr.Button("Previous photos", size="sm", visible=False, min_width=80)
            self.forth = gr.Button("Next photos", size="sm", visible=False, min_width=80)
        with gr.Column(visible=False, elem_id="detail") as self.detail:
            self._lay_out_detail()
        heading("Download")
        self._lay_out_download()
        self._wire()

    def _lay_out_detail(self) -> None:
        with gr.Row(equal_height=False):
            with gr.Column(scale=3, min_width=320):
                self.picture = gr.Image(
                    show_label=False, interactive=False, buttons=["fullscreen"], elem_id="picture"
                )
            with gr.Column(scale=2, min_width=280):
                self.facts = gr.HTML(elem_id="facts")
                self.which = gr.Dropdown(label="Class", visible=False, elem_id="which")
                self.correct = gr.Button("Correct and use as example", elem_id="correct")
                self.why = gr.Button("Explain this result", elem_id="why")
        self.reason = gr.HTML(elem_id="reason")
        self.reasons = grid("reasons", "pairs", preview=True)

    def _lay_out_download(self) -> None:
        with gr.Row(equal_height=True):
            self.kind = gr.Dropdown(
                [(title, kind) for kind, title in TITLES.items()],
                value="png",
                label="Format",
                min_width=220,
                elem_id="kind-of-download",
            )
            self.with_photos = gr.Checkbox(label="Include the photos", elem_id="with-photos")
        self.make = gr.Button("Prepare the download", elem_id="make-download")
        self.download = gr.DownloadButton(
            "Download", visible=False, variant="primary", elem_id="download"
        )

    def _wire(self) -> None:
        choice = [self.threshold, self.wanted]
        gr.on(
            [self.threshold.input, self.wanted.input],
            self.redraw,
            choice,
            self.listed,
            trigger_mode="always_last",
            **PRIVATE,
        )
        self.back.click(self.turn_back, choice, self.listed, **PRIVATE)
        self.forth.click(self.turn_forth, choice, self.listed, **PRIVATE)
        self.gallery.select(
            self.show_detail, choice, self.detailed, scroll_to_output=True, **PRIVATE
        )
        self.why.click(
            self.explain,
            self.which,
            [self.reason, self.reasons],
            scroll_to_output=True,
            api_visibility="private",
        )
        self.make.click(
            self.make_file,
            [self.kind, self.with_photos, self.threshold],
            self.download,
            api_visibility="private",
        )

    @property
    def listed(self) -> list[Any]:
        """Components that change with the order of photos."""
        return [self.summary, self.gallery, self.back, self.forth, self.detail, self.download]

    @property
    def detailed(self) -> list[Any]:
        """Components that change with the photo in the detail view."""
        return [self.detail, self.picture, self.facts, self.which, self.reason, self.reasons]

    @property
    def fresh(self) -> list[Any]:
        """Components that change with a new run."""
        return [self.threshold, self.wanted, *self.listed]

    def show_run(self, request: gr.Request) -> tuple[Any, ...]:
        """Show the results of the run that has just ended."""
        with self.visits.visit(request) as session:
            run = session.finished_run()
            names, decisions = run.task.names, run.results.appearance
            # The presence of a class is not used where its appearance model decides.
            judged = [n for n in names if n not in decisions or not decisions[n].by_appearance]
            threshold = first_threshold(run.segmenter.presence) if judged else 0.0
            choices = [("all classes", ALL), *((name, name) for name in names)]
            wanted = gr.update(choices=choices, value=ALL, visible=len(names) > 1)
            session.page = 0
            return threshold, wanted, *_listed(session, run, threshold, ALL)

    def redraw(self, threshold: float, wanted: str, request: gr.Request) -> tuple[Any, ...]:
        """Apply a new threshold or class."""
        return self._turn(0, threshold, wanted, request)

    def turn_back(self, threshold: float, wanted: str, request: gr.Request) -> tuple[Any, ...]:
        """Show the previous page of photos."""
        return self._turn(-1, threshold, wanted, request)

    def turn_forth(self, threshold: float, wanted: str, request: gr.Request) -> tuple[Any, ...]:
        """Show the next page of photos."""
        return self._turn(1, threshold, wanted, request)

    def _turn(
        self, step: int, threshold: float, wanted: str, request: gr.Request
    ) -> tuple[Any, ...]:
        with self.visits.visit(request) as session:
            session.page = session.page + step if step else 0
            return _listed(session, session.finished_run(), threshold, wanted)

    def show_detail(
        self, threshold: float, wanted: str, event: gr.SelectData, request: gr.Request
    ) -> tuple[Any, ...]:
        """Show the clicked photo in the detail view."""
        with self.visits.visit(request) as session:
            run = session.finished_run()
            index = int(event.index)
            if not 0 <= index < len(session.shown):
                raise FcpError("this photo was removed; run the photos again")
            session.chosen = session.shown[index]
            one = _chosen(session, run, threshold, wanted)
            names = sorted(one.record.classes, key=lambda n: -one.record.classes[n].confidence)
            which = gr.update(choices=names, value=names[0], visible=len(names) > 1)
            with run.engine.room_for(Path(one.record.file)):
                drawn = str(view(run, one))
            return gr.update(visible=True), drawn, _table(one), which, "", filled([])

    def explain(self, name: str, request: gr.Request) -> tuple[Any, ...]:
        """Explain the result of the selected photo."""
        with self.visits.visit(request) as session:
            run = session.finished_run()
            photo = Path(_chosen(session, run, 0.0, ALL).record.file)
            with run.engine.large:  # each example is encoded again
                reason = why.explain(run, photo, name)
                drawn = why.pictures(reason, run, run.folder / f"why{session.number()}")
            return f"<p>{escape(reason.sentence)}</p>", filled(drawn)

    def put_for_correction(self, name: str, request: gr.Request) -> tuple[Any, ...]:
        """Open the selected photo in the editor, with the mask of a class as painting.

        Returns:
            Updates of the editor, the class name, the way of marking and the box for negative
            examples.
        """
        with self.visits.visit(request, alone=True) as session:
            run = session.finished_run()
            record = _chosen(session, run, 0.0, ALL).record
            names = run.task.names
            with run.engine.room_for(Path(record.file)):
                labels, error = read_back(record, run.folder, several=len(names) > 1)
                if labels is None:
                    raise FcpError(error or "its mask is missing; run the photos again")
                _, labels = put_over(record, labels, names, _known(session, record, names))
                mask = labels == names.index(name) + 1
                del labels
                return open_in_editor(session, Path(record.file), mask), name, "paint", False

    def make_file(
        self,
        kind: str,
        photos: bool,
        threshold: float,
        request: gr.Request,
    ) -> Any:  # noqa: ANN401
        """Write the download, and show its button."""
        with self.visits.visit(request) as session:
            run = session.finished_run()
            if kind not in TITLES:
                raise FcpError(f"unknown format; known: {', '.join(TITLES.values())}")
            folder = run.folder / f"download{session.number()}"
            file = make_download(run, kind, threshold, folder, photos=photos, marked=session.marked)
            with session.alone:
                before, run.download = run.download, file
            if before is not None:  # it may hold copies of all photos
                shutil.rmtree(before.parent, ignore_errors=True)
            label = f"Download {file.name} ({max(1, file.stat().st_size // 1000):,} kB)"
            return gr.update(value=str(file), label=label, visible=True)


def _listed(session: Session, run: PhotoRun, threshold: float, wanted: str) -> tuple[Any, ...]:
    shown = arrange(run.records(), run.originals, threshold, wanted or None)
    session.page = min(max(session.page, 0), pages(len(shown)) - 1)
    first = session.page * PAGE
    here = shown[first : first + PAGE]
    session.shown = [one.stem for one in here]
    return (
        _summary(session, run, shown, first),
        filled(pictures_of(run, here)),
        gr.update(visible=session.page > 0),
        gr.update(visible=session.page < pages(len(shown)) - 1),
        gr.update(visible=False),
        gr.update(visible=False),
    )


def _known(session: Session, record: PictureResult, names: Sequence[str]) -> list[Marked]:
    """Return the drawings on a photo, without classes that were not in its run."""
    drawn = drawn_on([record], session.marked)[record.file]
    return [one for one in drawn if one.class_name is None or one.class_name in names]


def _summary(session: Session, run: PhotoRun, shown: Sequence[GalleryPhoto], first: int) -> str:
    text = summary(run, shown)
    if len(shown) > PAGE:
        text += f" · showing photos {first + 1} to {min(first + PAGE, len(shown))}"
    failed = [record.error for record in run.records() if record.error is not None]
    lines = "".join(f"<li>{escape(session.public_text(FcpError(e)))}</li>" for e in failed[:20])
    return f"<p><b>{text}</b></p>{_decisions(run)}" + (f"<ul>{lines}</ul>" if lines else "")


def _decisions(run: PhotoRun) -> str:
    """Return a line for each class that says whether its appearance model decides."""
    decisions = run.results.appearance.items()
    return "".join(f"<p>{escape(name)} is {escape(one.sentence)}</p>" for name, one in decisions)


def _chosen(session: Session, run: PhotoRun, threshold: float, wanted: str) -> GalleryPhoto:
    everything = arrange(run.records(), run.originals, threshold, wanted or None)
    found = next((one for one in everything if one.stem == session.chosen), None)
    if found is None:
        raise FcpError("select a photo first")
    return found


def _table(one: GalleryPhoto) -> str:
    head = "".join(f"<th>{text}</th>" for text in ("class", "presence", "score", "area"))
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(text)}</td>" for text in row) + "</tr>"
        for row in facts(one.record, one.here)
    )
    notes = "".join(f"<p>{escape(note)}</p>" for note in one.record.notes)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    return f"<h3>{escape(one.name)}</h3>{notes}{table}"
