"""How good is a model on kinds of things that VOC does not have? On COCO's other categories.

For each category that is none of VOC's 20 and covers at least 1 % of K + 1 or more pictures: each
such picture is the query once, with the next K (the first after the last) as its examples. IoU at
the photo's own size, pooled for each category (ΣI/ΣU) and averaged over the categories. Not
COCO-20i: no fold is held out, since a model that was trained on VOC has seen none of them.

    python benchmarks/coco_novel.py --model tiny --data-root DIR
    python benchmarks/coco_novel.py --model tiny --shots 5 --data-root DIR

``DIR/COCO`` holds ``annotations/instances_*.json`` and the pictures in COCO's own layout.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from fcp import FewShotSegmenter
from fcp.evaluation.metrics import ScoreBoard, count_pixels
from fcp.formats.coco import read_coco

# VOC's classes by COCO's names.
VOC = frozenset(
    "airplane bicycle bird boat bottle bus car cat chair cow dog horse motorcycle person sheep "
    "couch train tv".split()
) | {"dining table", "potted plant"}
LEAST_AREA = 0.01


def novel_pictures(root: Path) -> dict[str, list[tuple[Path, np.ndarray]]]:
    """Return, for each novel category with at least two pictures, the pictures and its masks."""
    found: dict[str, list[tuple[Path, np.ndarray]]] = {}
    for file in sorted((root / "COCO" / "annotations").glob("instances_*.json")):
        for name, examples in read_coco(file).items():
            masks = [(example.picture, example.annotation) for example in examples]
            kept = [(path, mask) for path, mask in masks if mask.mean() >= LEAST_AREA]
            if name not in VOC:
                found.setdefault(name, []).extend(kept)
    return {name: pictures for name, pictures in sorted(found.items()) if len(pictures) > 1}


def score(
    segmenter: FewShotSegmenter,
    categories: dict[str, list[tuple[Path, np.ndarray]]],
    shots: int = 1,
) -> ScoreBoard:
    """Ask for each picture of each category with its neighbours as examples."""
    board = ScoreBoard()
    for name, pictures in categories.items():
        for place, (query, truth) in enumerate(pictures):
            examples = [*pictures[place + 1 :], *pictures[:place]][:shots]
            segmenter.fit(examples, appearance="off")
            found = torch.from_numpy(segmenter.predict(query, threshold=0).mask)
            everywhere = torch.ones_like(found)
            board.add(name, count_pixels(found, torch.from_numpy(truth), everywhere))
    return board


def main() -> None:
    """Parse, score, print JSON in percent."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="tiny", help="tiny, a model folder, or a hub id")
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--shots", type=int, default=1)
    arguments = parser.parse_args()
    found, shots = novel_pictures(arguments.data_root), arguments.shots
    categories = {name: pictures for name, pictures in found.items() if len(pictures) > shots}
    scores = score(FewShotSegmenter.from_pretrained(arguments.model), categories, shots).compute()
    result = {
        "shots": shots,
        "categories": len(categories),
        "queries": sum(map(len, categories.values())),
        "miou": round(100 * scores.miou, 1),
        "class_iou": {name: round(100 * iou, 1) for name, iou in scores.class_iou.items()},
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
