"""How fast does the page about thousands of photos open, and what memory does it take?

Makes a page of photos of noise (thumbnails of about 6 kB, five classes), opens it from the disk in
the system's Chromium by Playwright, 1280×800, a new context each time, and prints medians: the
first paint with content, the end of loading, thumbnails given to the browser at first sight, the
JS heap after a forced collection (the thumbnails lie outside it, as text of the document), and how
long a new threshold, a class or a word of search takes until the next frame.

    OMP_NUM_THREADS=1 python benchmarks/report_page.py --pictures 5000
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from playwright.sync_api import Browser, sync_playwright

from fcp.report.entries import ReportClass, ReportPicture
from fcp.report.write import write_report
from fcp.visualize import class_colours, encode

CLASSES = ("dog", "cat", "person", "bicycle", "potted plant")
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
TIMES = """() => {
  const [load] = performance.getEntriesByType("navigation");
  const [paint] = performance.getEntriesByName("first-contentful-paint");
  const decoded = document.querySelectorAll("#grid img[src]").length;
  return { paint_ms: paint.startTime, load_ms: load.loadEventEnd, decoded };
}"""
# From the change to the frame after it.
CHANGE = """([id, value]) => new Promise((resolve) => {
  const start = performance.now();
  const input = document.querySelector(id);
  if (input.type === "radio") input.checked = true;
  else input.value = value;
  input.dispatchEvent(new Event("input", { bubbles: true }));
  requestAnimationFrame(() => setTimeout(() => resolve(performance.now() - start)));
})"""


def make_pictures(count: int) -> Iterator[ReportPicture]:
    """Yield photos of soft noise, each another one."""
    rng = np.random.default_rng(0)
    for number in range(count):
        blocks = rng.integers(0, 256, (24, 32, 3), np.uint8)
        noise = rng.integers(0, 26, (192, 256, 3), np.uint8)
        image = blocks.repeat(8, axis=0).repeat(8, axis=1) // 2 + noise
        classes = tuple(
            ReportClass(name, float(score), float(presence), bool(presence > 0.6), float(area))
            for name, (score, presence, area) in zip(CLASSES, rng.random((5, 3)), strict=True)
        )
        file, jpeg = f"photos/IMG_{number:05d}.jpg", encode(image, "jpeg", quality=58)
        yield ReportPicture(file, jpeg, classes, 0.3, None, size=(3000, 4000))


def visit(browser: Browser, path: Path) -> dict[str, float]:
    """Open the page once and measure it."""
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.goto(path.as_uri())
    page.wait_for_timeout(500)
    values: dict[str, float] = page.evaluate(TIMES)
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    values["heap_mb"] = session.send("Runtime.getHeapUsage")["usedSize"] / 1e6
    for name, change in {
        "threshold_ms": ["#least", "50"],
        "class_ms": ["#classes .option:nth-child(3) input", ""],
        "search_ms": ["#search", "IMG_01"],
    }.items():
        values[name] = page.evaluate(CHANGE, change)
    page.context.close()
    return values


def main() -> None:
    """Write the page, open it some times, print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=5000)
    parser.add_argument("--visits", type=int, default=5)
    parser.add_argument("--browser", default=shutil.which("chromium"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as engine:
        path = Path(folder) / "report.html"
        pictures = make_pictures(options.pictures)
        write_report(path, pictures, title="Noise", facts={}, colours=class_colours(CLASSES))
        print(f"{path.stat().st_size / 1e6:.1f} MB")
        browser = engine.chromium.launch(executable_path=options.browser, args=FLAGS)
        visits = [visit(browser, path) for _ in range(options.visits)]
        print("Chromium", browser.version)
        browser.close()
    for name in visits[0]:
        print(f"{name} {statistics.median(values[name] for values in visits):.0f}")


if __name__ == "__main__":
    main()
