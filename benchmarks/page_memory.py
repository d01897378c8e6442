"""How much memory the page takes while several visitors go through it with one large photo each.

    python benchmarks/page_memory.py --photo large.png --visitors 2

Each visitor marks a thing in a small picture (or, with --as-example, in the large photo itself),
loads the photo, runs, looks at the result, asks why, corrects it and makes three downloads, all at
the same time as the others. Memory is the process's resident one, by its peak, on Linux.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from fcp.app.examples_tab import ExamplesTab
from fcp.app.limits import Limits
from fcp.app.photos_tab import PhotosTab
from fcp.app.results_tab import ResultsTab
from fcp.app.runs import Engine
from fcp.app.sessions import SessionStore
from fcp.app.visits import Visits

KINDS = ("png", "coco", "cvat")
SIDE = 512  # px of the small picture


def main() -> None:
    """Print the peak after loading the model and after all visitors are done."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--photo", type=Path, required=True)
    parser.add_argument("--visitors", type=int, default=2)
    parser.add_argument("--model", default="small")
    parser.add_argument("--as-example", action="store_true")
    options = parser.parse_args()
    engine = Engine(options.model, "cpu")
    print(f"with the model loaded: {peak_mib():,.0f} MiB", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        visits = Visits(SessionStore(Path(folder) / "page", Limits()))
        with gr.Blocks():
            tabs = ExamplesTab(visits), PhotosTab(visits, engine), ResultsTab(visits)
        threads = [
            threading.Thread(target=visit, args=(tabs, number, Path(folder), options))
            for number in range(options.visitors)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    print(f"{options.visitors} visitors: {peak_mib():,.0f} MiB")


def visit(
    tabs: tuple[ExamplesTab, PhotosTab, ResultsTab],
    number: int,
    folder: Path,
    options: argparse.Namespace,
) -> None:
    """Go through the page once."""
    first, second, third = tabs
    asking: Any = SimpleNamespace(session_hash=str(number))
    first.visits.arrive(asking)
    noise = np.random.default_rng(number).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    example = folder / f"example{number}.png"
    if options.as_example:
        shutil.copy(options.photo, example)
    else:
        Image.fromarray(noise).save(example)
    _, _, easel = first.take_pictures([str(example)], asking)
    width, height = easel["canvas_size"]
    paint = np.zeros((height, width, 4), np.uint8)
    paint[height // 4 : height // 2, width // 4 : width // 2] = 255
    first.add_example({"layers": [paint]}, "thing", "paint", False, asking)
    photo = shutil.copy(options.photo, folder / f"photo{number}{options.photo.suffix}")
    second.take_photos([str(photo)], asking)
    for _ in second.start(False, 0, True, asking):
        pass
    third.show_run(asking)
    clicked: Any = SimpleNamespace(index=0)
    third.look_at(0.0, "", clicked, asking)
    third.explain("thing", asking)
    third.put_for_correction("thing", asking)
    for kind in KINDS:
        with suppress(gr.Error):  # of a photo in which nothing was found
            third.make_file(kind, False, 0.0, asking)


def peak_mib() -> float:
    """Return the most memory that this process has had, in MiB."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
