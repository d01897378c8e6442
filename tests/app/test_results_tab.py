"""What the handlers of the third step do."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from fcp.app.page import build_page
from fcp.app.results_tab import ResultsTab


def test_download_replaces_the_one_before(visits, session, engine, asking):
    with gr.Blocks():
        tab = ResultsTab(visits)
    run = session.start_run(engine, tile=None, instances=False)
    assert run.finished.wait(60)
    first, second = (Path(tab.make_file(k, True, 0.0, asking)["value"]) for k in ("png", "coco"))
    left = [path for path in run.folder.glob("download*/**/*") if path.is_file()]
    assert left == [second]
    assert first.name == "fcp-png.zip"
    assert len(list(run.folder.glob("download*"))) == 1


def test_a_correction_is_no_negative_example(visits, session, engine, asking):
    run = session.start_run(engine, tile=None, instances=False, appearance="off")
    assert run.finished.wait(60)
    session.chosen = "one"
    page = build_page(engine, visits.store)
    (put,) = [one for one in page.fns.values() if one.name == "put_for_correction"]
    values = put.fn("cat", asking)
    given = {component.elem_id: value for component, value in zip(put.outputs, values, strict=True)}
    assert (given["class-name"], given["kind"], given["negative"]) == ("cat", "paint", False)
