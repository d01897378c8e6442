"""What the handlers of the first step do."""

from __future__ import annotations

import gradio as gr
import numpy as np
import pytest
from PIL import Image

import fcp.app.examples_tab
from fcp.app.examples_tab import ExamplesTab, open_in_editor
from fcp.data.prompts import annotation_mask


@pytest.fixture
def tab(visits) -> ExamplesTab:
    with gr.Blocks():
        return ExamplesTab(visits)


@pytest.fixture
def drawing() -> dict[str, list[np.ndarray]]:
    """Return paint on a picture of 40 × 60 px."""
    paint = np.zeros((40, 60, 4), np.uint8)
    paint[5:20, 5:20] = 255
    return {"layers": [paint]}


def test_photo_in_the_editor_outlives_the_removal_of_all(tab, session, asking, drawing):
    photo = session.photos[0]
    open_in_editor(session, photo)
    session.remove_photos()
    assert [path.name for path in photo.parent.iterdir()] == ["one.png"]
    tab.add_example(drawing, "cat", "paint", False, asking)
    assert session.marked[-1].example.picture == photo
    assert session.marked[-1].shown.is_file()


def test_example_whose_picture_is_gone_is_none(tab, session, asking, drawing):
    open_in_editor(session, session.photos[0])
    session.photos[0].unlink()
    before = list(session.marked)
    with pytest.raises(gr.Error):
        tab.add_example(drawing, "cat", "paint", False, asking)
    assert session.marked == before


def test_one_damaged_picture_ends_nothing(tab, visits, asking, picture, tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(fcp.app.examples_tab, "warn_of_refused", told.append)
    for upload in ({"broken": -200, "good": None}, {"later": None}, {"alone": -200}):
        files = [tmp_path / f"{name}.png" for name in upload]
        for file, cut in zip(files, upload.values(), strict=True):
            file.write_bytes(picture(40, 60)[:cut])
        tab.take_pictures([str(file) for file in files], asking)
    session = visits.store.get("a")
    assert [path.name for path in session.to_mark] == ["good.png", "later.png"]
    assert [len(lines) for lines in told] == [1, 0, 1]
    assert told[0][0].startswith("broken.png: ")
    assert session.examples_in.budget.pictures == 2
    assert session.open_picture.picture.name == "later.png"


@pytest.mark.parametrize("kind", ["paint", "outline"])
def test_a_correction_changes_only_what_is_painted_or_erased(
    tab, session, asking, monkeypatch, kind
):
    monkeypatch.setattr(fcp.app.examples_tab, "EDITOR_SIDE", 15)  # a quarter of the photo's side
    mask = np.zeros((40, 60), bool)
    mask[:, 1::11] = True  # lines of 1 px
    mask[13:30, 21:38] = True
    update = open_in_editor(session, session.photos[0], mask)
    with Image.open(update["value"]["layers"][0]) as layer:
        paint = np.array(layer)
    assert all(paint[..., -1][:, column // 4].all() for column in range(1, 60, 11))
    paint[0, 0] = 0
    paint[9, 13] = 255
    tab.add_example({"layers": [paint]}, "cat", kind, False, asking)
    mask[:4, :4] = False
    mask[36:, 52:56] = True
    marked = session.marked[-1]
    assert marked.corrects
    assert (annotation_mask(marked.example.annotation, (40, 60)) == mask).all()
