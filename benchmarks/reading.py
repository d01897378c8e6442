"""Seconds to read the examples of a COCO file, and what comparing a PNG's checksums adds to it.

    OMP_NUM_THREADS=1 python benchmarks/reading.py --pictures 5000 --photos DATA/VOC2012/JPEGImages

The file is made up: pictures of 640×480 px (copies of one, hard links), three classes, and four
polygons and run lengths on each. The checksums are those of photos saved as PNG. Medians of
``--runs``.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

from fcp.data.decode import require_whole_png
from fcp.data.images import read_image
from fcp.formats.read import read_examples
from fcp.formats.run_lengths import to_runs

SIZE = (480, 640)
CLASSES = ("cat", "dog", "elk")


def main() -> None:
    """Print both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=5000)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=5)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        file = make_coco(Path(place, "coco"), asked.pictures)
        took = seconds(lambda: read_examples(file), asked.runs)
        print(f"COCO file of {asked.pictures} pictures: {took:.2f} s to read its examples")
        photos = make_pngs(Path(place, "photos"), sorted(asked.photos.glob("*.jpg"))[:20])
        whole = seconds(lambda: [read_image(path) for path in photos], asked.runs)
        checks = seconds(lambda: [_check(path) for path in photos], asked.runs)
        each = 1000 / len(photos)
        print(
            f"PNG: {whole * each:.1f} ms a photo, {checks * each:.2f} ms of them for checksums: "
            f"{whole / (whole - checks):.3f} times the time without"
        )


def seconds(work: Callable[[], object], runs: int) -> float:
    """Return the median processor time of some runs, after one more that does not count.

    Processor time, so that what else the machine does counts less.
    """
    took = []
    for _ in range(runs + 1):
        start = time.process_time()
        work()
        took.append(time.process_time() - start)
    return median(took[1:])


def make_coco(folder: Path, pictures: int) -> Path:
    """Write a COCO file and its pictures; returns the file."""
    draw = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    first = folder / "images/0.jpg"
    Image.new("RGB", SIZE[::-1]).save(first)
    for number in range(1, pictures):
        (folder / f"images/{number}.jpg").hardlink_to(first)
    images = [
        {"id": number, "file_name": f"{number}.jpg", "height": SIZE[0], "width": SIZE[1]}
        for number in range(pictures)
    ]
    annotations = [
        {
            "id": 4 * number + index,
            "image_id": number,
            "category_id": index % len(CLASSES),
            "segmentation": _outline(draw) if index else _runs(draw),
            "iscrowd": int(index == 0),
        }
        for number in range(pictures)
        for index in range(4)
    ]
    categories = [{"id": number, "name": name} for number, name in enumerate(CLASSES)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    file = folder / "instances.json"
    file.write_text(json.dumps(content))
    return file


def _outline(draw: np.random.Generator) -> list[list[float]]:
    """Draw a polygon of 30 corners around a point."""
    angles = np.linspace(0, 2 * np.pi, 30, endpoint=False)
    radius = draw.uniform(40, 90, 30)
    x, y = draw.uniform(100, 540), draw.uniform(100, 380)
    corners = np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], axis=1)
    return [corners.round(2).reshape(-1).tolist()]


def _runs(draw: np.random.Generator) -> dict[str, object]:
    mask = np.zeros(SIZE, bool)
    top, left = draw.integers(0, 200, 2)
    mask[top : top + 150, left : left + 200] = True
    return {"size": list(SIZE), "counts": to_runs(mask)["counts"].decode()}


def make_pngs(folder: Path, photos: list[Path]) -> list[Path]:
    """Save photos as PNG; returns the files."""
    folder.mkdir()
    for photo in photos:
        Image.open(photo).save(folder / f"{photo.stem}.png")
    return sorted(folder.iterdir())


def _check(path: Path) -> None:
    with path.open("rb") as file:
        require_whole_png(file)


if __name__ == "__main__":
    main()
