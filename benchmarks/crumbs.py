"""How many of the classes that are found in a photo are there: by least area and least score.

    python benchmarks/crumbs.py --data-root DATA --fold 1 --model runs/tiny-fold1

Three examples of each of the fold's classes compete in photos of the fold that show at least one of
them. A class counts as found as ``prediction.Least`` says; it is real if it is in the truth.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator, Mapping
from pathlib import Path

from fcp.data.pascal import PascalVOC
from fcp.inference.prediction import ALL
from fcp.inference.segmenter import FewShotSegmenter

SHOTS, LEAST_PX = 3, 2000
AREAS, SCORES = (0.0, 0.001, 0.0025, 0.005), (0.0, 0.05, 0.1, 0.2, 0.3)


def main() -> None:
    """Print a line for each rule: found, real, and the share of real ones that it loses."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--fold", type=int, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--photos", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    pairs = list(_pairs(asked))
    real = sum(there for _, _, there in pairs)
    print(f"{len(pairs)} found pairs, {real} real")
    print("| least area | least score | found | real | lost |\n|---|---|---|---|---|")
    for area in AREAS:
        for score in SCORES:
            kept = [there for share, sure, there in pairs if share >= area and sure >= score]
            lost = 1 - sum(kept) / max(real, 1)
            print(f"| {area:.2%} | {score} | {len(kept)} | {sum(kept)} | {lost:.0%} |", flush=True)


def _pairs(asked: argparse.Namespace) -> Iterator[tuple[float, float, bool]]:
    """Yield share, score and truth of each class that has a pixel in a photo."""
    data = PascalVOC(asked.data_root)
    segmenter = FewShotSegmenter.from_pretrained(asked.model)
    draw = random.Random(asked.seed)  # noqa: S311  (no secret)
    areas = data.areas("val")
    of_class = {
        class_id: [one for one in data.ids("val") if areas[one].get(class_id, 0) > LEAST_PX]
        for class_id in data.novel(asked.fold)
    }
    shown = {class_id: draw.sample(ids, SHOTS) for class_id, ids in of_class.items()}
    segmenter.fit({data.classes[c]: _examples(data, c, ids) for c, ids in shown.items()})
    used = {one for ids in shown.values() for one in ids}
    photos = sorted({one for ids in of_class.values() for one in ids} - used)
    for photo in draw.sample(photos, min(asked.photos, len(photos))):
        yield from _of_photo(data, segmenter, photo, areas[photo])


def _examples(data: PascalVOC, class_id: int, ids: list[str]) -> list[tuple[object, object]]:
    return [(data.image(one), data.class_mask(one, class_id)) for one in ids]


def _of_photo(
    data: PascalVOC, segmenter: FewShotSegmenter, photo: str, truth: Mapping[int, int]
) -> Iterator[tuple[float, float, bool]]:
    names = {data.classes[class_id] for class_id in truth}
    for name, found in segmenter.predict(data.image(photo), least=ALL).classes.items():
        if found.here:
            yield float(found.mask.mean()), found.score, name in names


if __name__ == "__main__":
    main()
