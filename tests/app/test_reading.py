"""`--bands`, `--range` and `--pages` hold wherever the page reads a picture."""

from __future__ import annotations

import io
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
import tifffile

from fcp.app import why
from fcp.app.examples_tab import ExamplesTab
from fcp.app.gallery import arrange, view
from fcp.app.limits import Limits
from fcp.app.photos_tab import PhotosTab
from fcp.app.sessions import Session, SessionStore
from fcp.app.visits import Visits
from fcp.data.decode import Decoding
from fcp.data.images import read_image
from fcp.data.value_range import ValueRange


def stack(*sizes: tuple[int, int]) -> bytes:
    """Return a TIFF with pages of five bands, the first three black and the fifth half as bright
    as the range allows."""
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as writer:
        for size in sizes:
            page = np.zeros((*size, 5), np.uint16)
            page[..., 4] = 500
            writer.write(page, photometric="minisblack", planarconfig="contig", metadata=None)
    return stream.getvalue()


def grey_of(file: object) -> float:
    return float(read_image(Path(str(file))).mean())


@pytest.fixture
def visits(tmp_path) -> Visits:
    chosen = Decoding(ValueRange("values", 0, 1000), (5, 5, 5))
    return Visits(SessionStore(tmp_path / "root", Limits(), chosen, every_page=True))


@pytest.fixture
def uploaded(visits, engine, asking, tmp_path) -> Session:
    """Return a visitor with an example, the larger of two pages, and four photos, two of them
    pages."""
    with gr.Blocks():
        first, second = ExamplesTab(visits), PhotosTab(visits, engine)
    visits.arrive(asking)
    files = [tmp_path / name for name in ("shown.tif", "pages.tif", "a.tif", "b.tif")]
    pages = ([(30, 40), (40, 60)], [(20, 40)] * 2, [(40, 60)], [(60, 40)])
    for file, sizes in zip(files, pages, strict=True):
        file.write_bytes(stack(*sizes))
    *_, editor = first.take_pictures([str(files[0])], asking)
    assert grey_of(editor["value"]["background"]) == pytest.approx(128, abs=2)
    paint = np.zeros((40, 60, 4), np.uint8)
    paint[5:20, 5:20] = 255
    first.add_example({"layers": [paint]}, "cat", "paint", False, asking)
    *_, previews = second.take_photos([str(file) for file in files[1:]], asking)
    assert [grey_of(one) for one in previews["value"]] == pytest.approx([128] * 4, abs=2)
    return visits.store.get("a")


def test_options_hold_for_examples_photos_and_what_is_shown_of_them(uploaded, engine):
    example = uploaded.marked[0]
    assert example.example.annotation.shape == (40, 60)
    assert read_image(example.shown)[30:, 40:].mean() == pytest.approx(128, abs=3)
    run = uploaded.start_run(engine, tile=None, instances=False, appearance="off")
    assert run.finished.wait(60)
    assert run.error is None
    assert [record.error for record in run.records()] == [None] * 4
    assert [run.originals[record.file] for record in run.records()] == [
        "pages-p001.tif",
        "pages-p002.tif",
        "a.tif",
        "b.tif",
    ]
    for one in arrange(run.records(), run.originals, 1.0):
        assert grey_of(run.small.folder / f"{one.stem}.jpg") == pytest.approx(128, abs=2)
        assert grey_of(view(run, one)) == pytest.approx(128, abs=2)
    reason = why.explain(run, uploaded.photos[2], "cat")
    assert reason.photo.pixels.mean() == pytest.approx(128, abs=1)
    assert reason.alone[0].agreement == 1.0  # the only example is all of them
    drawn = why.pictures(reason, run, run.folder / "why")
    assert read_image(Path(drawn[4][0]))[30:, 40:].mean() == pytest.approx(128, abs=3)
