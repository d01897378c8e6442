"""How well are touching objects told apart, against connected pieces?

Four sets, each from true masks, so that nothing but the splitting is measured: drawn cells
(ellipses of one size, 10 to 80 a picture, touching, with rough and blurred edges), coins (discs
that touch), COCO's objects of one class in one picture, and single objects that must stay whole
(``objects``, and COCO's larger ones). AP50 is TP / (TP + FP + FN) at an IoU above 0.5, over all
objects of a set; "touching" counts only pieces of two objects or more. The count's error is
|found − true| / true, mean over pictures. Things under 1/4,096 of a picture are left out.

    python benchmarks/instances.py --data-root DIR
    python benchmarks/instances.py --data-root DIR --model small
    python benchmarks/instances.py --data-root DIR --prompts small

With ``--model`` the masks are the model's own, on COCO;
another picture of the class is the example.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from itertools import repeat
from pathlib import Path

import numpy as np
import torch
from prompted_objects import draw_objects
from pycocotools import mask as coco_masks
from scipy import ndimage

from fcp.data.images import read_image, read_mask
from fcp.data.pieces import Piece, connected_pieces
from fcp.data.transforms import to_square
from fcp.inference.segmenter import FewShotSegmenter
from fcp.inference.touching import touching_objects

Scene = tuple[np.ndarray, np.ndarray]  # true objects (H, W) int, mask (H, W) bool
Split = Callable[[Piece], Iterable[Piece]]
SMALLEST = 4096  # a thing is at least 1 / SMALLEST of its picture
EIGHT = np.ones((3, 3), bool)
SPLITS: dict[str, Split] = {"pieces": lambda piece: [piece], "split": touching_objects}


def ellipse(size: tuple[int, int], centre: tuple[float, float], axes: np.ndarray) -> np.ndarray:
    """Return a mask (H, W); ``axes`` (2, 2) are the half axes as vectors (y, x)."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    away = np.stack([rows - centre[0], columns - centre[1]], axis=-1)
    return (((away @ np.linalg.inv(axes)) ** 2).sum(-1)) < 1


def cells(seed: int, *, flat: float = 0.6, rough: float = 0.6) -> Scene:
    """Draw cells, most of them beside another one.

    Args:
        seed: Seed of the picture.
        flat: Smallest ratio of the axes; 1 for discs.
        rough: Largest strength of the noise on the edges.
    """
    rng, size = np.random.default_rng(seed), (384, 384)
    count, radius = int(rng.integers(10, 81)), rng.uniform(8, 20)
    truth, placed = np.zeros(size, int), list[tuple[float, float, float]]()
    for _ in range(4000):
        if len(placed) >= count:
            break
        y, x = rng.uniform(0, size[0], 2)
        if placed and rng.random() < 0.7:
            cy, cx, other = placed[rng.integers(len(placed))]
            turn, apart = rng.uniform(0, 2 * np.pi), (other + radius) * rng.uniform(0.85, 1.05)
            y, x = cy + apart * np.sin(turn), cx + apart * np.cos(turn)
        if not (5 < y < size[0] - 5 and 5 < x < size[1] - 5):
            continue
        long, angle = radius * rng.uniform(0.8, 1.25), rng.uniform(0, np.pi)
        short = long * rng.uniform(flat, 1)
        along = np.array([np.sin(angle), np.cos(angle)])
        mask = ellipse(size, (y, x), np.stack([along * long, along[::-1] * [short, -short]]))
        if not mask.any() or (truth[mask] > 0).mean() > 0.15:
            continue
        placed.append((y, x, (long + short) / 2))
        truth[mask & (truth == 0)] = len(placed)
    soft = ndimage.gaussian_filter((truth > 0) * 1.0, rng.uniform(1, 2.5))
    soft += ndimage.gaussian_filter(rng.normal(size=size), 1.5) * rng.uniform(0, rough)
    return truth, ndimage.binary_fill_holes(ndimage.binary_opening(soft > 0.5))


def coco_classes(root: Path) -> Iterator[tuple[Path, int, list[np.ndarray]]]:
    """Yield each picture with each class that it shows, and the masks of its objects."""
    for split in ("train", "val"):
        content = json.loads((root / f"COCO/annotations/instances_{split}2017.json").read_text())
        pictures = {one["id"]: one for one in content["images"]}
        of_class = defaultdict(list)
        for one in content["annotations"]:
            if not one["iscrowd"]:
                of_class[one["image_id"], one["category_id"]].append(one)
        for (image, category), found in of_class.items():
            size = pictures[image]["height"], pictures[image]["width"]
            file = root / f"COCO/{split}2017" / pictures[image]["file_name"]
            runs = (coco_masks.frPyObjects(one["segmentation"], *size) for one in found)
            masks = [coco_masks.decode(coco_masks.merge(one)).astype(bool) for one in runs]
            yield file, category, masks


def scene_of(masks: Iterable[np.ndarray]) -> Scene:
    """Paint the objects of a picture, small ones over large ones."""
    truth = np.zeros(next(iter(masks)).shape, int)
    for number, mask in enumerate(sorted(masks, key=lambda mask: -mask.sum()), start=1):
        truth[mask] = number
    return truth, truth > 0


def labels_of(mask: np.ndarray, split: Split) -> np.ndarray:
    """Return the objects of a mask (H, W) as a label map."""
    labels, count = np.zeros(mask.shape, int), 0
    for piece in connected_pieces(mask):
        if piece.mask.sum() * SMALLEST < mask.size:
            continue
        for one in split(piece):
            count += 1
            x0, y0, x1, y1 = one.box
            labels[y0:y1, x0:x1][one.mask] = count
    return labels


def touching(scene: Scene) -> Scene:
    """Leave only pieces of the mask that hold two objects or more."""
    truth, mask = scene
    pieces, count = ndimage.label(mask, EIGHT)
    held = [len(np.unique(truth[(pieces == n) & (truth > 0)])) > 1 for n in range(1, count + 1)]
    kept = np.array([False, *held])[pieces]
    return np.where(kept, truth, 0), kept


def without_small(labels: np.ndarray) -> np.ndarray:
    """Clear the labels of things that are too small to count."""
    return np.where(np.bincount(labels.ravel())[labels] * SMALLEST < labels.size, 0, labels)


def count_matches(truth: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the numbers of true positives, false positives and false negatives (3,)."""
    (own, a), (found, b) = (np.unique(one, return_inverse=True) for one in (truth, labels))
    both = np.bincount(a.ravel() * len(found) + b.ravel(), minlength=len(own) * len(found))
    both = both.reshape(len(own), len(found))
    iou = both / (both.sum(1)[:, None] + both.sum(0) - both)
    iou = iou[own > 0][:, found > 0]
    right = int((iou > 0.5).sum())  # above 0.5 no object has two matches
    return np.array([right, iou.shape[1] - right, iou.shape[0] - right])


def judge(scenes: Iterable[Scene], splits: Iterable[Split]) -> str:
    """Return AP50 and the count's error of a set, in words."""
    total, errors = np.zeros(3), []
    for (truth, mask), split in zip(scenes, splits, strict=False):
        true = without_small(truth)
        right, wrong, missed = count_matches(true, without_small(labels_of(mask, split)))
        total += right, wrong, missed
        errors += [abs(wrong - missed) / (right + missed)] if right + missed else []
    return (
        f"AP50 {100 * total[0] / total.sum():5.1f}, count wrong by {100 * np.mean(errors):3.0f} %"
    )


def share_split(masks: Iterable[np.ndarray]) -> str:
    """Return the share of single objects that fall apart, in words."""
    cut = []
    for mask in masks:
        counts = [len(np.unique(without_small(labels_of(mask, one)))) for one in SPLITS.values()]
        cut.append(counts[1] > counts[0])
    return f"{100 * np.mean(cut):.1f} % of {len(cut)} split"


def single_objects(root: Path) -> Iterator[np.ndarray]:
    """Yield masks of sets whose pictures show one object of their kind."""
    for name in ("caltech101_24", "eth80", "pets3", "davis2016_train", "flowers17"):
        for kind in sorted((root / f"objects/{name}/masks").iterdir()):
            for file in sorted(kind.glob("*.png"))[:3]:
                photo = root / f"objects/{name}/images/{file.stem}.jpg"
                yield read_mask(file, read_image(photo).shape[:2])


def predicted(root: Path, name: str) -> Iterator[Scene]:
    """Yield COCO's scenes of several objects with the masks that a model finds.

    The example of a class is the next picture that shows it.
    """
    segmenter = FewShotSegmenter.from_pretrained(name)
    shown = defaultdict(list)
    for file, category, masks in coco_classes(root):
        shown[category].append((file, masks))
    for pictures in shown.values():
        for index, (file, masks) in enumerate(pictures):
            other, example = pictures[(index + 1) % len(pictures)]
            if len(masks) > 1 and other != file:
                pair = (read_image(other), scene_of(example)[1])
                support = segmenter.encode([pair], appearance="off")
                found = segmenter.predict(read_image(file), support=support, threshold=0)
                yield scene_of(masks)[0], found.mask


def prompted(segmenter: FewShotSegmenter, file: Path) -> Split:
    """Return a way of splitting that prompts a model's promptable stage with the photo."""
    stage, side = segmenter.network.promptable, segmenter.network.square
    with torch.inference_mode():
        embedding = stage.encode(to_square(read_image(file), side)[None].to(segmenter.device))

    def split(piece: Piece) -> list[Piece]:
        basins = list(touching_objects(piece))
        return basins if len(basins) == 1 else draw_objects(stage, embedding, basins)

    return split


def compare_prompts(root: Path, name: str) -> None:
    """Print the watershed alone and with prompts, on the pictures of COCO with touching objects."""
    segmenter, scenes, files = FewShotSegmenter.from_pretrained(name), list[Scene](), list[Path]()
    for file, _, masks in coco_classes(root):
        scene = touching(scene_of(masks))
        if scene[1].any():
            scenes.append(scene)
            files.append(file)
    print(f"watershed         {judge(scenes, repeat(touching_objects))}", flush=True)
    splits = (prompted(segmenter, file) for file in files)
    print(f"prompts of {name:6} {judge(scenes, splits)}")


def main() -> None:
    """Print a line for each set and way of splitting."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--model", help="also split the masks of this model")
    parser.add_argument("--prompts", help="also prompt this model's promptable stage")
    given = parser.parse_args()
    if given.prompts:
        compare_prompts(given.data_root, given.prompts)
        return
    found = list(coco_classes(given.data_root))
    sets = {
        "cells": [cells(seed) for seed in range(100, 110)],
        "coins": [cells(seed, flat=1, rough=0.2) for seed in range(200, 205)],
        "COCO": [scene_of(masks) for _, _, masks in found if len(masks) > 1],
    }
    if given.model:
        sets = {f"COCO, masks of {given.model}": list(predicted(given.data_root, given.model))}
    for name, scenes in sets.items():
        for part, chosen in ((name, scenes), (f"{name}, touching", map(touching, scenes))):
            rows = list(chosen)
            for way, split in SPLITS.items():
                started = time.perf_counter()
                print(f"{part:30} {way:7} {judge(rows, repeat(split))}", end="", flush=True)
                print(f", {time.perf_counter() - started:.0f} s", flush=True)
    if not given.model:
        print(f"{'single objects':38} {share_split(single_objects(given.data_root))}", flush=True)
        large = [m for *_, masks in found for m in masks if m.mean() > 0.01]
        print(f"{'single objects of COCO':38} {share_split(large)}")


if __name__ == "__main__":
    main()
