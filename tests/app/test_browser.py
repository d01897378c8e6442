"""The page in a real Chromium: marked by mouse and finger, run, cut, corrected, taken away.

With FCP_SCREENSHOTS=DIR the pictures of docs/app.md are made on the way.
"""

from __future__ import annotations

import io
import json
import logging
import os
import re
import socket
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fcp.app import runs
from fcp.app.limits import Limits
from fcp.app.runs import PhotoRun
from fcp.app.serve import Served, serve
from fcp.app.small import LONGEST
from fcp.formats.polygons import mask_polygons
from fcp.visualize import encode, thumbnail

# A page that draws by CPU alone is slow on a busy machine.
pytestmark = pytest.mark.timeout(400)

LOG = logging.getLogger(__name__)
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 400, "height": 800}
SCREENSHOTS = os.environ.get("FCP_SCREENSHOTS")
MODEL = "small" if SCREENSHOTS else "tiny"  # the pictures show what people get; tests want speed
MANY = 12  # photos
PATIENCE = 90_000  # ms; a busy machine is slow, and waiting costs nothing where it is not


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    limits = Limits(total_bytes=20_000_000)
    with serve(MODEL, device="cpu", port=port, limits=limits) as served:
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


def shoot(page, name: str, part: str | None = None) -> None:
    """Take a picture of the page or a part for the documentation, where that was asked for."""
    if SCREENSHOTS:
        page.wait_for_timeout(1500)
        taken = page.locator(part).screenshot() if part else page.screenshot(full_page=True)
        few = Image.open(io.BytesIO(taken)).convert("RGB").quantize(128)
        few.save(Path(SCREENSHOTS) / f"{name}.png", optimize=True)


def load_examples(page, *files: Path) -> None:
    page.locator("#example-upload input[type=file]").set_input_files(files)
    page.locator("#easel canvas").first.wait_for()
    page.wait_for_timeout(1500)  # the canvas fits the picture into itself, with no sign of the end


def load_photos(page, *files: Path, expected: int) -> None:
    page.get_by_role("tab", name="2 · Photos").click()
    page.locator("#photo-upload input[type=file]").set_input_files(files)
    noun = "photo" if expected == 1 else "photos"
    page.locator("#photo-count").get_by_text(f"{expected} {noun}", exact=True).wait_for()


def in_editor(page, size: tuple[int, int]) -> Callable[[float, float], tuple[float, float]]:
    """Return a function: x, y in px of the picture → of the page."""
    height, width = size
    editor = page.locator("#easel")
    editor.scroll_into_view_if_needed()
    box = editor.locator("canvas").first.bounding_box()
    zoom = float(re.search(r"(\d+)%", editor.inner_text())[1]) / 100
    left = box["x"] + box["width"] / 2 - width * zoom / 2
    top = box["y"] + box["height"] / 2 - height * zoom / 2
    return lambda x, y: (left + x * zoom, top + y * zoom)


def draw_around(page, mask: np.ndarray) -> None:
    """Draw along the outline of a mask's largest part, with the mouse; a little inside of it."""
    place = in_editor(page, mask.shape)
    outline = max(mask_polygons(mask), key=len)
    middle, inner = outline.mean(axis=0), 10
    direction = middle - outline
    inside = outline + direction / np.linalg.norm(direction, axis=1, keepdims=True) * inner
    page.mouse.move(*place(*inside[0]))
    page.mouse.down()
    for x, y in [*inside[1:], inside[0]]:
        page.mouse.move(*place(x, y))
    page.mouse.up()
    page.wait_for_timeout(300)


def add_example(page, name: str, kind: str = "") -> None:
    if kind:
        page.locator("#kind").get_by_text(kind).click()
    before = page.locator("#examples img").count()
    page.locator("#class-name").locator("input, textarea").first.fill(name)
    page.locator("#add-example").click()
    page.locator("#examples img").nth(before).wait_for()


def run(page) -> None:
    page.locator("#run").click()
    page.locator("#results img").first.wait_for()


def captions(page) -> list[str]:
    return page.locator("#results .caption-label").all_text_contents()


def download(page, title: str) -> zipfile.ZipFile:
    page.locator("#kind-of-download input").click()
    page.get_by_role("option", name=title, exact=True).click()
    page.locator("#make-download").click()
    page.locator("#download").wait_for()
    with page.expect_download() as waiting:
        page.locator("#download").click()
    return zipfile.ZipFile(io.BytesIO(Path(waiting.value.path()).read_bytes()))


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


def test_drawn_run_cut_explained_corrected_and_downloaded(visit, demo_photos, demo_files):
    page = visit()
    load_examples(page, demo_files["astronaut"])
    draw_around(page, demo_photos["astronaut"][1])
    page.locator("#class-name").locator("input, textarea").first.fill("person")
    page.locator("#kind").get_by_text("Draw around the object").click()
    shoot(page, "examples")
    add_example(page, "person")
    others = ["grace_hopper", "camera", "coffee", "coins", "motorcycle_left", "chelsea"]
    load_photos(page, *(demo_files[name] for name in others), expected=6)
    run(page)
    page.locator("#summary").get_by_text("not here").wait_for()
    cut(page, 0)
    page.locator("#summary").get_by_text("6 found, 0 not here").wait_for()
    scores = [float(re.search(r"person ([\d.]+)", text)[1]) for text in captions(page)]
    assert scores == sorted(scores, reverse=True)

    maps = download(page, "PNG label maps")
    found = np.asarray(Image.open(io.BytesIO(maps.read("labels/grace_hopper.png")))) > 0
    assert iou(found, demo_photos["grace_hopper"][1]) > 0.4
    assert maps.read("labels/classes.txt").decode().split() == ["background", "person"]

    cut(page, round((scores[2] + scores[3]) / 2, 2))
    page.locator("#summary").get_by_text("3 found, 3 not here").wait_for()
    shoot(page, "results")
    coco = json.loads(download(page, "COCO").read("coco.json"))
    assert len(coco["images"]) == 3

    correct_and_explain(page, demo_photos["grace_hopper"][0], found)


def cut(page, threshold: float) -> None:
    number = page.locator("#threshold input[type=number]")
    number.fill(str(threshold))
    number.press("Enter")


def correct_and_explain(page, photo: np.ndarray, found: np.ndarray) -> None:
    """Repaint the admiral, run again with both examples, and ask why."""
    page.locator("#results button", has=page.get_by_text("grace_hopper")).click()
    page.locator("#picture img").wait_for()
    page.locator("#correct").click()
    page.locator("#easel canvas").first.wait_for()
    page.wait_for_timeout(2500)
    assert page.locator("#class-name").locator("input, textarea").first.input_value() == "person"
    place = in_editor(page, photo.shape[:2])
    page.mouse.move(*place(250, 560))
    page.mouse.down()
    page.mouse.move(*place(420, 560), steps=4)
    page.mouse.up()
    page.wait_for_timeout(300)
    add_example(page, "person")
    marked = tinted(page, photo)
    assert iou(marked, shrunk(found)) > 0.7  # what was found, and the stroke
    y, x = (round(at * LONGEST / max(photo.shape[:2])) for at in (560, 335))
    assert marked[y - 2 : y + 3, x - 2 : x + 3].all()
    page.get_by_role("tab", name="2 · Photos").click()
    page.locator("#run").click()
    page.get_by_role("tab", name="3 · Results", selected=True).wait_for()
    page.locator("#results button", has=page.get_by_text("camera")).click()
    page.locator("#picture img").wait_for()
    page.locator("#why").click()
    page.locator("#reasons img").nth(7).wait_for()
    assert "Of 2 examples of person, " in page.locator("#reason").inner_text()
    assert "had the most influence" in page.locator("#reason").inner_text()
    shoot(page, "why", "#detail")


def tinted(page, photo: np.ndarray) -> np.ndarray:
    """Return where the last example's small picture differs from the photo: what is marked."""
    source = page.locator("#examples img").last.get_attribute("src")
    seen = np.asarray(Image.open(io.BytesIO(page.request.get(source).body())).convert("RGB"))
    return np.abs(seen.astype(int) - thumbnail(photo, LONGEST)).max(axis=-1) > 40


def shrunk(mask: np.ndarray) -> np.ndarray:
    return (
        thumbnail(mask[..., None].repeat(3, axis=-1).astype(np.uint8) * 255, LONGEST)[..., 0] > 99
    )


def test_by_finger_on_a_phone(visit, demo_photos, demo_files):
    page = visit(NARROW, has_touch=True)
    load_examples(page, demo_files["astronaut"])
    place = in_editor(page, (512, 512))
    for x, y in ((230, 110), (180, 330), (300, 420)):
        page.touchscreen.tap(*place(x, y))
        page.wait_for_timeout(200)
    add_example(page, "person", "Points: click on the object")
    assert overflow(page) == 0
    load_photos(page, demo_files["grace_hopper"], demo_files["camera"], expected=2)
    assert overflow(page) == 0
    run(page)
    page.locator("#results button").first.click()
    page.locator("#picture img").wait_for()
    page.locator("#why").click()
    page.locator("#reasons img").nth(5).wait_for()
    assert overflow(page) == 0
    shoot(page, "phone")


def overflow(page) -> int:
    """Return by how many px the page is wider than the screen."""
    return page.evaluate("document.documentElement.scrollWidth - window.innerWidth")


def test_bad_input_is_told_and_the_page_goes_on(visit, demo_files, tmp_path, served, picture):
    (tmp_path / "empty.png").touch()
    Image.new("1", (60_000, 1)).save(tmp_path / "long.png")
    for name, members in {
        "escape.zip": {"../../escape.png": picture()},
        "bomb.zip": {"bomb.png": bytes(30_000_000)},
    }.items():
        with zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED) as archive:
            for member, content in members.items():
                archive.writestr(member, content)
    page = visit()
    page.get_by_role("tab", name="2 · Photos").click()
    page.locator("#run").click()
    page.get_by_text("there is no example yet").wait_for()
    load_photos(page, *sorted(tmp_path.iterdir()), demo_files["coins"], expected=1)
    for told in (
        "empty.png: the file is empty",
        "long.png: is 60,000×1 px",
        "escape.zip: unsafe name",
        "bomb.zip: unpacks to 30 MB",
    ):
        page.locator(".toast-wrap").get_by_text(told).first.wait_for()
    assert str(served.root) not in page.locator("body").inner_text()
    assert not list(served.root.parent.glob("escape*"))

    page.get_by_role("tab", name="1 · Examples").click()
    page.locator("#add-example").click()
    page.get_by_text("upload a picture that shows the object").wait_for()
    load_examples(page, demo_files["coffee"])
    page.locator("#class-name").locator("input, textarea").first.fill("cup")
    page.locator("#add-example").click()
    page.get_by_text("nothing is marked yet").wait_for()
    place = in_editor(page, (400, 600))
    page.mouse.click(*place(300, 200))
    page.locator("#negative input").check()
    add_example(page, "")
    page.get_by_role("tab", name="2 · Photos").click()
    page.locator("#run").click()
    page.get_by_text("which does not say what to find").wait_for()


@pytest.fixture
def many(tmp_path, monkeypatch) -> list[Path]:
    """Return photos whose run goes no further than the first until one of their runs is stopped.

    A visit of an earlier test may end during this one, which stops a run of its own.
    """
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


def start(page) -> None:
    """Begin a run over ``many``, and wait until it shows that it is under way."""
    page.locator("#run").click()
    page.locator("#progress").get_by_text(f"1 of {MANY} photos").wait_for()


def prepared(page, demo_files, photos: list[Path]) -> None:
    """Go as far as to the button that runs."""
    load_examples(page, demo_files["astronaut"])
    page.mouse.click(*in_editor(page, (512, 512))(230, 110))
    add_example(page, "face", "Points: click on the object")
    load_photos(page, *photos, expected=len(photos))


def test_cancelled_run_shows_what_is_done(visit, demo_files, many):
    page = visit()
    prepared(page, demo_files, many)
    start(page)
    page.locator("#cancel").click()
    page.locator("#results img").first.wait_for()
    page.locator("#summary").get_by_text(re.compile(r"[1-9]\d* not done \(cancelled\)")).wait_for()


def test_closed_tab_ends_its_run_and_no_other(visit, served, demo_files, many):
    stays, goes = visit(), visit()
    prepared(goes, demo_files, many)
    prepared(stays, demo_files, [demo_files["camera"], demo_files["coins"]])
    folders = [path for path in served.root.glob("visitor-*") if any(path.glob("photos/0.png"))]
    assert len(folders) == 1
    start(goes)
    goes.close()
    run(stays)
    stays.locator("#results .caption-label").nth(1).wait_for()
    assert len(captions(stays)) == 2
    deadline = time.monotonic() + PATIENCE / 1000
    while folders[0].exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not folders[0].exists()
    assert list(served.root.glob("visitor-*"))


def test_photos_are_called_what_the_visitor_calls_them(visit, demo_files):
    names = ["【A】 Don't <i>.png", "【B】 it's & so.png"]
    content = demo_files["camera"].read_bytes()
    photos = [{"name": name, "mimeType": "image/png", "buffer": content} for name in names]
    broken = {"name": "【C】 can't.png", "mimeType": "image/png", "buffer": content[:5000]}
    page = visit()
    prepared(page, demo_files, [*photos, broken])
    run(page)
    cut(page, 0)
    page.locator("#summary").get_by_text("2 found, 0 not here").wait_for()
    assert sorted(text.partition(" · ")[2] for text in captions(page)) == names
    assert "【C】 can't.png: damaged" in page.locator("#summary").inner_text()
    page.locator("#results button", has=page.get_by_text(names[0])).click()
    page.locator("#picture img").wait_for()
    assert page.locator("#facts h3").inner_text() == names[0]
