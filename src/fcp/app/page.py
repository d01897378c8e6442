"""The page: three steps, and the events between them."""

from __future__ import annotations

from html import escape

import gradio as gr

from fcp.app.examples_tab import ExamplesTab
from fcp.app.parts import PRIVATE
from fcp.app.photos_tab import PhotosTab
from fcp.app.results_tab import ResultsTab
from fcp.app.runs import Engine
from fcp.app.sessions import SessionStore
from fcp.app.visits import Visits

TITLE = "fcp: show it once, find it everywhere"


def build_page(engine: Engine, store: SessionStore) -> gr.Blocks:
    """Lay out the page.

    Args:
        engine: Model that all visitors share.
        store: Sessions of the visitors.
    """
    visits = Visits(store)
    with gr.Blocks(title=TITLE, analytics_enabled=False) as page:
        gr.HTML(f"<h1>fcp</h1><p>{escape(_intro(engine))}</p>", elem_id="intro")
        with gr.Tabs(selected="examples") as tabs:
            with gr.Tab("1 · Examples", id="examples"):
                examples = ExamplesTab(visits)
            with gr.Tab("2 · Photos", id="photos"):
                photos = PhotosTab(visits, engine)
            with gr.Tab("3 · Results", id="results"):
                results = ResultsTab(visits)
        _join(tabs, examples, photos, results)
        page.load(visits.arrive, None, None, **PRIVATE)
        page.unload(visits.leave)
    # Runs of several visitors take turns photo by photo, so none waits for another to end.
    page.queue(default_concurrency_limit=None)
    return page


def _join(tabs: gr.Tabs, examples: ExamplesTab, photos: PhotosTab, results: ResultsTab) -> None:
    """Connect the events that lead from one step to another."""
    examples.forth.click(lambda: gr.update(selected="photos"), None, tabs, **PRIVATE)
    photos.run.click(
        photos.start,
        [photos.instances, photos.tile, photos.appearance],
        [photos.progress, photos.run, photos.cancel],
        **PRIVATE,
    ).success(results.show_run, None, results.fresh, **PRIVATE).success(
        lambda: gr.update(selected="results"), None, tabs, **PRIVATE
    )
    results.correct.click(lambda: gr.update(selected="examples"), None, tabs, **PRIVATE).then(
        results.put_for_correction,
        results.which,
        [examples.editor, examples.class_name, examples.kind, examples.negative],
        **PRIVATE,
    )


def _intro(engine: Engine) -> str:
    return (
        "Mark an object in one or more pictures, and find it in all your other photos. "
        "Your uploads are removed half an hour after you close this tab. "
        f"Model: {engine.name}, on {engine.device}."
    )
