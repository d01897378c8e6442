"""The page: three steps, and how they hang together."""

from __future__ import annotations

from typing import Any

import gradio as gr

from fcp.app.examples_tab import ExamplesTab
from fcp.app.photos_tab import PhotosTab
from fcp.app.results_tab import ResultsTab
from fcp.app.runs import Engine
from fcp.app.sessions import SessionStore
from fcp.app.visits import Visits

TITLE = "fcp: show it once, find it everywhere"
# The system's own fonts: nothing is fetched from anywhere.
FONTS = ["system-ui", "sans-serif"]
MONO = ["ui-monospace", "monospace"]
CSS = """
.gradio-container {max-width: 1200px !important; margin: 0 auto !important}
#intro p {margin: 0 0 .25rem; font-size: 1.05rem}
#progress progress {accent-color: var(--primary-600); height: 1.1rem}
#facts table {width: 100%; border-collapse: collapse}
#facts th, #facts td {text-align: left; padding: .25rem .5rem .25rem 0}
#results .grid-container, #reasons .grid-container {grid-auto-rows: auto}
@media (max-width: 640px) {
  .gradio-container {padding: 8px !important}
  #results .grid-container {grid-template-columns: repeat(2, minmax(0, 1fr)) !important}
  #examples .grid-container {grid-template-columns: repeat(2, minmax(0, 1fr)) !important}
  #waiting .grid-container {grid-template-columns: repeat(4, minmax(0, 1fr)) !important}
}
"""


def build_page(engine: Engine, store: SessionStore) -> gr.Blocks:
    """Lay out the page.

    Args:
        engine: the model.
        store: of the visitors.
    """
    visits = Visits(store)
    with gr.Blocks(title=TITLE, analytics_enabled=False) as page:
        gr.HTML(f"<h1>fcp</h1><p>{_intro(engine)}</p>", elem_id="intro")
        with gr.Tabs(selected="examples") as tabs:
            with gr.Tab("1 · Examples", id="examples"):
                examples = ExamplesTab(visits)
            with gr.Tab("2 · Photos", id="photos"):
                photos = PhotosTab(visits, engine)
            with gr.Tab("3 · Results", id="results"):
                results = ResultsTab(visits)
        _join(tabs, examples, photos, results)
        page.unload(visits.leave)
    # A run of one visitor does not keep the others waiting: they take turns photo by photo.
    page.queue(default_concurrency_limit=None)
    return page


def look() -> dict[str, Any]:
    """Return what ``launch`` is told of the page's looks."""
    return {"theme": gr.themes.Soft(font=FONTS, font_mono=MONO), "css": CSS}


def _join(tabs: gr.Tabs, examples: ExamplesTab, photos: PhotosTab, results: ResultsTab) -> None:
    """Wire what goes from one step to another."""
    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    photos.run.click(
        photos.start,
        [photos.instances, photos.tile],
        [photos.progress, photos.run, photos.cancel],
        **private,
    ).success(results.show_run, None, results.fresh, **private).success(
        lambda: gr.update(selected="results"), None, tabs, **private
    )
    results.correct.click(lambda: gr.update(selected="examples"), None, tabs, **private).then(
        results.put_for_correction,
        results.which,
        [examples.editor, examples.class_name, examples.kind],
        **private,
    )


def _intro(engine: Engine) -> str:
    return (
        "Mark a thing in one or a few pictures; all your other photos are searched for it. "
        f"Everything stays on the machine that runs this page (model on {engine.device})."
    )
