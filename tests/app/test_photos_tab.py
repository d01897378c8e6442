"""What the handlers of the second step do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import gradio as gr
import numpy as np
import pytest

from fcp.app import sessions
from fcp.app.examples_tab import ExamplesTab
from fcp.app.photos_tab import PhotosTab
from fcp.app.runs import PhotoRun
from fcp.app.uploads import Upload
from fcp.data.images import read_size
from fcp.errors import FcpError


@pytest.fixture
def tab(visits, engine) -> PhotosTab:
    with gr.Blocks():
        return PhotosTab(visits, engine)


def together(*calls: Callable[[], object]) -> None:
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_other_photo_of_the_same_name_has_its_own_preview(tab, session, asking, tmp_path, picture):
    seen = []
    for size in [(20, 40), (40, 20)]:
        (tmp_path / "cat.png").write_bytes(picture(*size))
        tab.remove_all(asking)
        _, _, shown = tab.take_photos([str(tmp_path / "cat.png")], asking)
        seen += map(Path, shown["value"])
        assert [read_size(seen[-1]), session.photos[0].name] == [size, "cat.png"]
    assert [file.exists() for file in seen] == [False, True]
    assert seen[0] != seen[1]  # a browser may keep what it had from an address


def test_photos_uploaded_again_are_not_taken_twice_after_the_removal_of_all(
    tab, session, asking, tmp_path, picture
):
    tab.remove_all(asking)
    for _ in range(2):
        (tmp_path / "cat.png").write_bytes(picture())
        tab.take_photos([str(tmp_path / "cat.png")], asking)
    assert [photo.name for photo in session.photos] == ["cat.png"]


def test_names_in_the_error_of_a_run_are_no_markup(tab, session, asking, add, picture):
    mask = np.zeros((40, 60), bool)
    mask[5:9, 5:9] = True
    for name in ("<b>fox</b>", "wolf"):
        add(session, name, picture(40, 60, 30), mask)
    with pytest.raises(gr.Error) as told:
        list(tab.start(False, 0, True, asking))
    assert "&lt;b&gt;fox&lt;/b&gt;" in told.value.message
    assert "<" not in told.value.message


def test_two_clicks_start_one_run(session, engine, monkeypatch):
    class Slow(PhotoRun):
        def __init__(self, *args, **options) -> None:
            time.sleep(0.2)
            super().__init__(*args, **options)

    monkeypatch.setattr(sessions, "PhotoRun", Slow)
    runs, told = [], []

    def start() -> None:
        try:
            runs.append(session.start_run(engine, tile=None, instances=False))
        except FcpError as error:
            told.append(str(error))

    with engine.lock:
        together(start, start)
    assert runs == [session.run]
    assert told == ["a run is in progress; wait for it or cancel it"]
    assert session.run.finished.wait(60)


def test_uploads_of_one_visitor_are_taken_one_after_another(tab, visits, session, asking):
    inside, most = [], []

    def take(_uploads: object, **_options: object) -> Upload:
        inside.append(1)
        time.sleep(0.1)
        most.append(len(inside))
        inside.pop()
        return Upload()

    session.photos_in.take = session.examples_in.take = take
    with gr.Blocks():
        examples = ExamplesTab(visits)
    together(
        lambda: tab.take_photos([], asking),
        lambda: tab.take_photos([], asking),
        lambda: examples.take_pictures([], asking),
    )
    assert most == [1, 1, 1]
