"""Public-domain photos with our masks, and pictures of plain colours."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from page_steps import MANY, PATIENCE, SCREENSHOTS, WIDE

from fcp.visualize import encode

pytest.importorskip("gradio", reason="needs gradio; pip install '.[app]'")

LOG = logging.getLogger(__name__)


@pytest.fixture
def picture() -> Callable[..., bytes]:
    """Return a function: size and seed → a PNG of noise."""

    def make(height: int = 20, width: int = 30, seed: int = 0) -> bytes:
        noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
        return encode(noise, "png")

    return make


@pytest.fixture(scope="module")
def engine(model_folder) -> Any:
    """Return a small model of random weights."""
    from fcp.app.runs import Engine

    return Engine(str(model_folder), "cpu")


@pytest.fixture
def visits(tmp_path) -> Any:
    """Return the visitors, of whom there is one."""
    from fcp.app.limits import Limits
    from fcp.app.sessions import SessionStore
    from fcp.app.visits import Visits

    visits = Visits(SessionStore(tmp_path / "root", Limits()))
    visits.store.begin("a")
    return visits


@pytest.fixture
def asking() -> Any:
    """Return what a handler is told of who asks: the visitor of ``session``."""
    return SimpleNamespace(session_hash="a")


@pytest.fixture
def add() -> Callable[..., None]:
    """Return a function: session, class, picture of 40 × 60 px and mask → one more example."""
    from fcp.app.marks import Marked
    from fcp.formats.examples import Example
    from fcp.formats.run_lengths import to_runs

    def add_example(session: Any, name: str | None, content: bytes, mask: Any = None) -> None:
        number = len(session.marked) + 1
        path = session.examples_in.folder / f"{number}.png"
        path.write_bytes(content)
        if mask is None:
            mask = np.zeros((40, 60), bool)
            mask[5:30, 5 * number : 5 * number + 25] = True
        example = Example(path, to_runs(mask))
        session.marked.append(Marked(number, name, "paint", example, path, path.name))

    return add_example


@pytest.fixture
def session(visits, add, picture) -> Any:
    """Return a visitor: two classes of two examples each, three photos, one of them damaged."""
    session = visits.store.get("a")
    for seed, name in enumerate(["cat", "dog", "cat", "dog"]):
        add(session, name, picture(40, 60, seed))
    for name, content in {
        "one": picture(40, 60, 10),
        "two": picture(60, 40, 11),
        "bad": picture(50, 50, 12)[:2000],
    }.items():
        session.photos.append(session.photos_in.folder / f"{name}.png")
        session.photos[-1].write_bytes(content)
    return session


@pytest.fixture(scope="session")
def demo_photos() -> dict[str, tuple[np.ndarray, np.ndarray | None]]:
    """Return the photos of `fcp demo` by name, each with its mask where we have one."""
    pytest.importorskip("skimage", reason="needs the photos of scikit-image")
    pytest.importorskip("matplotlib", reason="needs the photos of matplotlib")
    from fcp.cli.demo import demo_file, demo_mask, demo_photo
    from fcp.system.documents import load_json

    photos = {}
    for name, source in load_json(demo_file("scenes.json"))["photos"].items():
        photo = demo_photo(**source)
        has_mask = demo_file(f"masks/{name}.png").is_file()
        photos[name] = (photo, demo_mask(name, photo) if has_mask else None)
    return photos


@pytest.fixture(scope="session")
def demo_files(demo_photos, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return these photos as files."""
    folder = tmp_path_factory.mktemp("photos")
    files = {}
    for name, (photo, _) in demo_photos.items():
        files[name] = folder / f"{name}.png"
        files[name].write_bytes(encode(photo, "png"))
    return files


@pytest.fixture(scope="module")
def served() -> Iterator[Any]:
    """Serve the page; with FCP_SCREENSHOTS by the model that people get, else by the faster one."""
    from fcp.app.limits import Limits
    from fcp.app.serve import serve

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    limits = Limits(total_bytes=20_000_000)
    with serve(
        "small" if SCREENSHOTS else "tiny", device="cpu", port=port, limits=limits
    ) as served:
        yield served
    assert not served.root.exists()


@pytest.fixture
def visit(browser, served) -> Iterator[Callable]:
    """Return a function: what the screen is like → the page, in a visit of its own.

    At the end no script may have failed, and nothing have been asked of any other server. What the
    pages show then is logged, and so is what they asked for in vain: pytest tells it of failures.
    """
    trouble: list[str] = []
    asked: list[str] = []
    pages: list = []

    def visit_page(viewport=WIDE, **screen):
        page = browser.new_page(viewport=viewport, **screen)
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.on("requestfailed", lambda one: LOG.warning("%s: %s", one.url, one.failure))
        pages.append(page)
        page.goto(served.url)
        page.locator("#example-upload input[type=file]").wait_for(state="attached")
        return page

    yield visit_page
    for page in pages:
        if not page.is_closed():
            LOG.warning("the page shows:\n%s", page.locator("body").inner_text())
    for context in browser.contexts:
        context.close()
    assert trouble == []
    allowed = (served.url, "data:", "blob:")
    assert [url for url in asked if not url.startswith(allowed)] == []


@pytest.fixture
def many(tmp_path, monkeypatch) -> list[Path]:
    """Return photos whose run goes no further than the first until one of their runs is stopped.

    A visit of an earlier test may end during this one, which stops a run of its own.
    """
    from fcp.app import runs
    from fcp.app.runs import PhotoRun

    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    files = [tmp_path / f"{number}.png" for number in range(MANY)]
    for file in files:
        file.write_bytes(encode(noise, "png"))
    told, segment, stop = threading.Event(), runs.segment_photos, PhotoRun.stop
    begun = []

    def held(segmenter, task, jobs, results, *more, **how):
        begun.append(results)
        batches = segment(segmenter, task, jobs, results, *more, **how)
        yield next(batches)
        assert told.wait(PATIENCE / 1000)
        yield from batches

    def stop_and_tell(run):
        stop(run)
        if any(run.results is one for one in begun):
            told.set()

    monkeypatch.setattr(runs, "segment_photos", held)
    monkeypatch.setattr(PhotoRun, "stop", stop_and_tell)
    return files
