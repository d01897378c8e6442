"""What is the appearance model worth, and does its gate leave photos alone?

Sets that are drawn (``synthetic_sets``: nuclei, cracks, tiles, trays) and, with ``--data-root``,
photos of COCO's kinds that VOC lacks and of VOC's val pictures. Of each set K pictures are the
examples and three others are asked, by the network alone, with the appearance, and by what
interactive pixel classifiers do: a random forest on colours, blurs and gradients. IoU at the
photo's own size, mean over pictures and then over sets, in percent.

    python benchmarks/appearance.py --model tiny --shots 1 --sets 8
    python benchmarks/appearance.py --model tiny --shots 3 --sets 8 --data-root DIR
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from coco_novel import novel_pictures
from scipy.ndimage import gaussian_filter
from sklearn.ensemble import RandomForestClassifier
from synthetic_sets import SETS, Drawn

from fcp import FewShotSegmenter
from fcp.data.images import read_image
from fcp.data.pascal import PascalVOC

ASKED = 3
LEAST_PIXELS = 2000
BLURS = (1, 2, 4, 8)  # px
ANYWHERE, FOREGROUND = 3000, 1000  # pixels of an example that the forest learns


def drawn_sets(count: int, sets: int, seed: int) -> Iterator[tuple[str, list[Drawn]]]:
    """Yield sets of ``count`` pictures that are no photos."""
    for name, draw in SETS.items():
        for number in range(sets):
            yield name, draw(seed + number, count)


def photo_sets(root: Path, count: int, sets: int, seed: int) -> Iterator[tuple[str, list[Drawn]]]:
    """Yield sets of ``count`` photos, each of one kind; ``sets`` kinds of each data set."""
    rng = np.random.default_rng(seed)
    found = [shown for shown in novel_pictures(root).values() if len(shown) >= count]
    for index in rng.permutation(len(found))[:sets]:
        chosen = rng.permutation(len(found[index]))[:count]
        yield "coco", [(read_image(found[index][one][0]), found[index][one][1]) for one in chosen]
    data = PascalVOC(root)
    for kind in rng.permutation(list(data.classes))[:sets]:
        showing = [p for p, areas in data.areas("val").items() if areas.get(kind, 0) > LEAST_PIXELS]
        chosen = rng.permutation(showing)[:count]
        if len(chosen) == count:
            yield "voc", [(data.image(p), data.class_mask(p, kind)) for p in chosen]


def score(
    segmenter: FewShotSegmenter, examples: list[Drawn], asked: list[Drawn]
) -> dict[str, float]:
    """Ask with and without appearance."""
    found: dict[str, float] = {}
    for word in ("off", "auto"):
        started = time.perf_counter()
        segmenter.fit(examples, appearance=word)
        fitted = time.perf_counter()
        masks = [segmenter.predict(picture).mask for picture, _ in asked]
        found[word] = mean_iou(masks, asked)
        found[f"{word} fit s"] = fitted - started
        found[f"{word} photo s"] = (time.perf_counter() - fitted) / len(asked)
    masks = forest_masks(examples, [picture for picture, _ in asked])
    found["forest"] = mean_iou(masks, asked)
    found["by appearance"] = any(one.by_appearance for one in segmenter.fitted.decisions.values())
    return found


def mean_iou(masks: list[np.ndarray], asked: list[Drawn]) -> float:
    """Return the mean IoU of masks with the true ones."""
    pairs = [(found, truth) for found, (_, truth) in zip(masks, asked, strict=True)]
    return float(np.mean([(a & b).sum() / max(1, (a | b).sum()) for a, b in pairs]))


def forest_masks(examples: list[Drawn], pictures: list[np.ndarray]) -> list[np.ndarray]:
    """Learn the examples' pixels with a random forest; return its mask of each picture."""
    rng = np.random.default_rng(0)
    values, truth = [], []
    for picture, mask in examples:
        inside = np.flatnonzero(mask)
        chosen = [rng.integers(mask.size, size=ANYWHERE), rng.choice(inside, FOREGROUND)]
        rows = np.concatenate(chosen)
        values.append(pixel_values(picture)[rows])
        truth.append(mask.ravel()[rows])
    forest = RandomForestClassifier(min_samples_leaf=5, random_state=0)
    forest.fit(np.concatenate(values), np.concatenate(truth))
    return [
        forest.predict_proba(pixel_values(one))[:, 1].reshape(one.shape[:2]) > 0.5
        for one in pictures
    ]


def pixel_values(picture: np.ndarray) -> np.ndarray:
    """Return colour, blurred colours and gradients of each pixel: (H·W, 19)."""
    colours = picture.astype(np.float32) / 255
    found = [colours]
    for sigma in BLURS:
        blur = gaussian_filter(colours, (sigma, sigma, 0))
        down, across = np.gradient(blur.mean(-1))
        found += [blur, np.hypot(down, across)[..., None]]
    return np.concatenate(found, -1).reshape(-1, sum(one.shape[-1] for one in found))


def main() -> None:
    """Parse, ask, print a line of JSON for each kind of set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--shots", type=int, default=1)
    parser.add_argument("--sets", type=int, default=8, help="of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data-root", type=Path, help="with photos of DIR/COCO and DIR/VOC2012")
    args = parser.parse_args()
    segmenter = FewShotSegmenter.from_pretrained(args.model, device="cpu")
    count, scores = args.shots + ASKED, {}
    tasks = list(drawn_sets(count, args.sets, args.seed))
    if args.data_root is not None:
        tasks += photo_sets(args.data_root, count, args.sets, args.seed)
    for name, pictures in tasks:
        found = score(segmenter, pictures[: args.shots], pictures[args.shots :])
        scores.setdefault(name, []).append(found)
    for name, of_sets in scores.items():
        means = {key: float(np.mean([one[key] for one in of_sets])) for key in of_sets[0]}
        shown = {k: round(v, 2) if k.endswith("s") else round(100 * v, 1) for k, v in means.items()}
        print(json.dumps({"set": name, "shots": args.shots, "sets": len(of_sets), **shown}))


if __name__ == "__main__":
    main()
