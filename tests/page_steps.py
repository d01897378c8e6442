"""What a visitor does on the page, by a browser: load, mark, add, run, download."""

from __future__ import annotations

import io
import os
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from fcp.formats.polygons import mask_polygons

WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 400, "height": 800}
SCREENSHOTS = os.environ.get("FCP_SCREENSHOTS")
MANY = 12  # photos
PATIENCE = 90_000  # ms; a busy machine is slow, and waiting costs nothing where it is not


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
