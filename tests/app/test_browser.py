"""The page in a real Chromium: marked by mouse and finger, run, cut, corrected, taken away.

With FCP_SCREENSHOTS=DIR the pictures of docs/app.md are made on the way.
"""

from __future__ import annotations

import io
import json
import re
import zipfile

import numpy as np
import pytest
from page_steps import (
    NARROW,
    add_example,
    captions,
    download,
    draw_around,
    in_editor,
    load_examples,
    load_photos,
    prepared,
    run,
    shoot,
    start,
)
from PIL import Image

from fcp.app.small import LONGEST
from fcp.visualize import thumbnail

# A page that draws by CPU alone is slow on a busy machine.
pytestmark = pytest.mark.timeout(400)


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


def test_cancelled_run_shows_what_is_done(visit, demo_files, many):
    page = visit()
    prepared(page, demo_files, many)
    start(page)
    page.locator("#cancel").click()
    page.locator("#results img").first.wait_for()
    page.locator("#summary").get_by_text(re.compile(r"[1-9]\d* not done \(cancelled\)")).wait_for()


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
