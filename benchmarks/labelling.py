"""What the helps for people's own pictures are worth, on classes that the model never saw.

    python benchmarks/labelling.py negatives --model runs/tiny-fold1 --fold 1 --data-root DIR
    python benchmarks/labelling.py tiles --model runs/tiny-fold1 --fold 1 --data-root DIR
    python benchmarks/labelling.py odd --model runs/tiny-fold1 --fold 1 --data-root DIR
    python benchmarks/labelling.py classes --model runs/tiny-fold1 --fold 1 --data-root DIR

``negatives``: of each ordered pair of novel classes, one example of the first is given, with and
without one of the second as a negative example; the queries show one of the two, half and half.
``tiles``: the photo is a mosaic of 4×4 val pictures, in one of which the thing is, and so is the
example's; also single pictures in which the thing covers under 2 %. ``odd``: of five examples one
is spoilt in one of three ways, or none. ``classes``: seconds for twenty classes on one photo beside
twenty runs of one class each. The presence threshold is off but for tiles, each of which is judged.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

from fcp import FewShotSegmenter
from fcp.data.pascal import PascalVOC

Marked = tuple[np.ndarray, np.ndarray]  # a picture and its mask

MOSAIC = 4
CELL = (375, 500)  # px of a mosaic's cell
SMALL = 0.02  # of a picture
SPOILS = ("none", "another class", "inverted", "shifted")
CLASSES = 20
EXAMPLES = 5
RUNS = 5


@dataclass(frozen=True)
class Novel:
    """The val pictures that show a fold's novel classes, and a seeded draw."""

    data: PascalVOC
    classes: tuple[int, ...]
    draw: random.Random

    def pictures(self, class_id: int, *, without: int | None = None) -> list[str]:
        """List the pictures in which a class covers the benchmark's least area."""
        return [
            name
            for name, areas in self.data.areas("val").items()
            if areas.get(class_id, 0) >= self.data.min_pixels and without not in areas
        ]

    def read(self, name: str, class_id: int) -> Marked:
        """Read a picture and the mask of a class."""
        return self.data.image(name), self.data.class_mask(name, class_id)


class Pooled:
    """Intersections and unions, added up."""

    def __init__(self) -> None:
        self.intersection = self.union = 0

    def add(self, found: np.ndarray, truth: np.ndarray) -> None:
        """Count one picture's masks."""
        self.intersection += int((found & truth).sum())
        self.union += int((found | truth).sum())

    @property
    def iou(self) -> float:
        """In percent."""
        return round(100 * self.intersection / max(1, self.union), 1)


def negatives(segmenter: FewShotSegmenter, novel: Novel, count: int) -> dict[str, object]:
    """Compare with and without a negative example, ``count`` queries a pair of classes."""
    names, rows = novel.data.classes, {}
    for wanted, other in permutations(novel.classes, 2):
        shown = novel.pictures(wanted, without=other), novel.pictures(other, without=wanted)
        if min(map(len, shown)) < 2:
            continue
        without, with_negative = Pooled(), Pooled()
        for number in range(count):
            example, against = novel.draw.choice(shown[0]), novel.draw.choice(shown[1])
            left = [name for name in shown[number % 2] if name not in (example, against)]
            photo, truth = novel.read(novel.draw.choice(left), wanted)
            examples, marked = [novel.read(example, wanted)], [novel.read(against, other)]
            without.add(segmenter.fit(examples).predict(photo, threshold=0).mask, truth)
            segmenter.fit(examples, negatives=marked)
            with_negative.add(segmenter.predict(photo, threshold=0).mask, truth)
        rows[f"{names[wanted]}, not {names[other]}"] = (without.iou, with_negative.iou)
    return {"iou without, with": rows, "mean": _means(rows.values())}


def tiles(segmenter: FewShotSegmenter, novel: Novel, count: int) -> dict[str, object]:
    """Compare whole photos with chosen tiles, ``count`` queries a class."""
    found = {}
    for kind, pairs in (("mosaics", _mosaics), ("small things", _small_things)):
        rows = {
            novel.data.classes[class_id]: _whole_and_tiles(segmenter, pairs(novel, class_id, count))
            for class_id in novel.classes
            if kind == "mosaics" or len(_small_examples(novel, class_id)) > 1
        }
        found[kind] = {"iou whole, tiles": rows, "mean": _means(rows.values())}
    return found


def _whole_and_tiles(
    segmenter: FewShotSegmenter, pairs: Iterable[tuple[Marked, Marked]]
) -> tuple[float, float]:
    whole, cut = Pooled(), Pooled()
    for example, (photo, truth) in pairs:
        for tile, pooled in ((None, whole), ("auto", cut)):
            segmenter.fit([example], tile=tile)
            pooled.add(segmenter.predict(photo).mask, truth)
    return whole.iou, cut.iou


def _mosaics(novel: Novel, class_id: int, count: int) -> Iterator[tuple[Marked, Marked]]:
    """Yield examples and queries: mosaics with the thing in one of their cells."""
    shown = novel.pictures(class_id)
    others = [name for name, areas in novel.data.areas("val").items() if class_id not in areas]
    for _ in range(count):
        yield tuple(
            _mosaic(novel, name, class_id, novel.draw.sample(others, MOSAIC**2 - 1))
            for name in novel.draw.sample(shown, 2)
        )


def _mosaic(novel: Novel, name: str, class_id: int, others: list[str]) -> Marked:
    height, width = CELL
    place = novel.draw.randrange(MOSAIC**2)
    image = np.zeros((MOSAIC * height, MOSAIC * width, 3), dtype=np.uint8)
    mask = np.zeros(image.shape[:2], dtype=bool)
    for cell, picture in enumerate([*others[:place], name, *others[place:]]):
        top, left = height * (cell // MOSAIC), width * (cell % MOSAIC)
        inside = slice(top, top + height), slice(left, left + width)
        photo, marked = novel.read(picture, class_id)
        image[inside] = np.asarray(Image.fromarray(photo).resize((width, height)))
        mask[inside] = np.asarray(Image.fromarray(marked).resize((width, height)))
    return image, mask


def _small_things(novel: Novel, class_id: int, count: int) -> Iterator[tuple[Marked, Marked]]:
    """Yield examples and queries in which the thing covers little."""
    small = _small_examples(novel, class_id)
    for _ in range(count):
        example, query = novel.draw.sample(small, 2)
        yield example, query


def _small_examples(novel: Novel, class_id: int) -> list[Marked]:
    shown = [name for name, areas in novel.data.areas("val").items() if class_id in areas]
    read = [novel.read(name, class_id) for name in shown]
    return [one for one in read if 0.002 < one[1].mean() < SMALL]


def odd(segmenter: FewShotSegmenter, novel: Novel, count: int) -> dict[str, object]:
    """Count which examples are called odd, in ``count`` sets of five."""
    called: dict[str, list[tuple[bool, int]]] = {spoil: [] for spoil in SPOILS}
    for number in range(count):
        spoil, class_id = SPOILS[number % len(SPOILS)], novel.draw.choice(novel.classes)
        names = novel.draw.sample(novel.pictures(class_id), EXAMPLES)
        examples = [novel.read(name, class_id) for name in names]
        examples[0] = _spoil(novel, spoil, examples[0], class_id)
        quality = segmenter.check_examples(examples)["thing"]
        called[spoil].append((quality[0].is_odd, sum(one.is_odd for one in quality[1:])))
    return {
        spoil: {
            "sets": len(found),
            "the spoilt one is called odd": round(100 * float(np.mean([o for o, _ in found])), 1),
            "a good one is called odd": round(
                100 * float(np.mean([n / (EXAMPLES - 1) for _, n in found])), 1
            ),
        }
        for spoil, found in called.items()
    }


def _spoil(novel: Novel, how: str, example: Marked, class_id: int) -> Marked:
    image, mask = example
    if how == "inverted":
        return image, ~mask
    if how == "shifted":
        return image, np.roll(mask, (mask.shape[0] // 2, mask.shape[1] // 2), (0, 1))
    if how == "another class":
        other = novel.draw.choice([c for c in novel.classes if c != class_id])
        return novel.read(novel.draw.choice(novel.pictures(other, without=class_id)), other)
    return example


def classes(segmenter: FewShotSegmenter, novel: Novel, count: int) -> dict[str, object]:
    """Time twenty classes at once, and one class twenty times; the median of five."""
    del count
    shown = [(name, class_id) for class_id in novel.classes for name in novel.pictures(class_id)]
    chosen = novel.draw.sample(shown, CLASSES)
    named = {f"{number}": [novel.read(*one)] for number, one in enumerate(chosen)}
    photo, _ = novel.read(novel.pictures(novel.classes[0])[0], novel.classes[0])
    segmenter.fit(named)
    together = _seconds(lambda: segmenter.predict(photo, threshold=0))
    segmenter.fit(named["0"])
    alone = _seconds(lambda: segmenter.predict(photo, threshold=0))
    ratio = round(CLASSES * alone / together, 1)
    return {"seconds together": together, "seconds of one": alone, "times cheaper": ratio}


def _seconds(call: Callable[[], object]) -> float:
    times = []
    for _ in range(RUNS):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return round(median(times), 4)


def _means(rows: Iterable[tuple[float, ...]]) -> tuple[float, ...]:
    return tuple(round(float(np.mean(column)), 1) for column in zip(*rows, strict=True))


MEASURES = {"negatives": negatives, "tiles": tiles, "odd": odd, "classes": classes}


def main() -> None:
    """Parse, measure, print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("measure", choices=MEASURES)
    parser.add_argument("--model", required=True, help="tiny, a model folder, or a hub id")
    parser.add_argument("--fold", type=int, required=True, help="whose classes are novel")
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--count", type=int, default=40, help="queries a class, or sets")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    data = PascalVOC(arguments.data_root)
    draw = random.Random(arguments.seed)  # noqa: S311  (not for secrets)
    novel = Novel(data, data.novel(arguments.fold), draw)
    segmenter = FewShotSegmenter.from_pretrained(arguments.model, device="cpu")
    found = MEASURES[arguments.measure](segmenter, novel, arguments.count)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
