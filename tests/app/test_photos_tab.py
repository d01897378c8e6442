"""What the handlers of the second step do."""

from __future__ import annotations

from pathlib import Path

import gradio as gr
import numpy as np
import pytest

from fcp.app.photos_tab import PhotosTab
from fcp.data.images import read_size


@pytest.fixture
def tab(visits, engine) -> PhotosTab:
    with gr.Blocks():
        return PhotosTab(visits, engine)


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


def test_names_in_the_error_of_a_run_are_no_markup(tab, session, asking, add, picture):
    mask = np.zeros((40, 60), bool)
    mask[5:9, 5:9] = True
    for name in ("<b>fox</b>", "wolf"):
        add(session, name, picture(40, 60, 30), mask)
    with pytest.raises(gr.Error) as told:
        list(tab.start(False, 0, asking))
    assert "&lt;b&gt;fox&lt;/b&gt;" in told.value.message
    assert "<" not in told.value.message
