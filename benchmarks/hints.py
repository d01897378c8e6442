"""How good are Label Studio's smart tools? Boxes and points → masks on novel classes of PASCAL-5i.

For each val picture and novel class, the largest connected piece of the class is the thing. Its
tight box is one hint; one or three random points in its inner half (half the largest distance from
its edge, or more) are others, each without examples of the class and with one, the next picture of
the class with its mask. IoU with the piece at the photo's own size, ignored pixels left out, mean
over the things. Beside it the filled box, which is the floor for a box.

    python benchmarks/hints.py --model runs/tiny-fold1 --fold 1 --data-root DIR
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy import ndimage

from fcp.config import IGNORE
from fcp.data.lists import val_lists
from fcp.data.pascal import PascalVOC
from fcp.data.prompts import Box, annotation_mask
from fcp.data.regions import tight_box
from fcp.inference.segmenter import FewShotSegmenter
from fcp.inference.support import Support
from fcp.label_studio.hints import Hint, find_hinted


def largest_piece(mask: np.ndarray) -> np.ndarray:
    """Return the largest connected piece of a mask (H, W) with at least one pixel."""
    pieces, count = ndimage.label(mask)
    sizes = ndimage.sum(mask, pieces, range(1, count + 1))
    return pieces == 1 + int(np.argmax(sizes))


def inner_points(thing: np.ndarray, generator: np.random.Generator) -> list[tuple[float, float]]:
    """Draw three points in the inner half of a thing."""
    depth = ndimage.distance_transform_edt(thing)
    rows, columns = np.nonzero(depth >= depth.max() / 2)
    chosen = generator.integers(len(rows), size=3)
    return [(float(columns[i]) + 0.5, float(rows[i]) + 0.5) for i in chosen]


def hints_of(thing: np.ndarray, points: list[tuple[float, float]]) -> dict[str, Hint]:
    """Return name → hint."""
    box = Box(*tight_box(thing))
    return {
        "box": Hint("thing", boxes=(box,)),
        "1 point": Hint("thing", points=tuple(points[:1])),
        "3 points": Hint("thing", points=tuple(points)),
    }


def targets(data: PascalVOC, fold: int) -> Iterator[tuple[str, str, int]]:
    """Yield each (val picture, the next one of its class, novel class) that counts."""
    for class_id, pictures in val_lists(data, fold).members.items():
        for index, picture in enumerate(pictures):
            yield picture, pictures[(index + 1) % len(pictures)], class_id


def masks_of(
    segmenter: FewShotSegmenter, photo: np.ndarray, hints: dict[str, Hint], support: Support | None
) -> dict[str, np.ndarray]:
    """Return name → what a hint finds, and of points also with an example."""
    masks = {"filled box": annotation_mask(hints["box"].boxes[0], photo.shape[:2])}
    for name, hint in hints.items():
        masks[name] = find_hinted(segmenter, photo, hint, None)
        if hint.points:
            masks[f"{name}, 1 example"] = find_hinted(segmenter, photo, hint, support)
    return masks


def score(segmenter: FewShotSegmenter, data: PascalVOC, fold: int) -> dict[str, float]:
    """Score each hint, in percent."""
    found: dict[str, list[float]] = defaultdict(list)
    generator = np.random.default_rng(0)
    for picture, other, class_id in targets(data, fold):
        labels, photo = data.labels(picture), np.asarray(data.image(picture))
        thing, valid = largest_piece(labels == class_id), labels != IGNORE
        example = (np.asarray(data.image(other)), data.labels(other) == class_id)
        support = segmenter.encode({"thing": [example]})
        hints = hints_of(thing, inner_points(thing, generator))
        for name, mask in masks_of(segmenter, photo, hints, support).items():
            shared, either = mask & thing & valid, (mask | thing) & valid
            found[name].append(shared.sum() / either.sum())
    return {name: round(100 * float(np.mean(ious)), 1) for name, ious in found.items()}


def main() -> None:
    """Parse, score, print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="as for fcp segment")
    parser.add_argument("--fold", type=int, required=True)
    parser.add_argument("--data-root", type=Path, required=True)
    arguments = parser.parse_args()
    segmenter = FewShotSegmenter.from_pretrained(arguments.model)
    result = score(segmenter, PascalVOC(arguments.data_root), arguments.fold)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
