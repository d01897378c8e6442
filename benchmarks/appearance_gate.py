"""With one example, when should the appearance decide? Tasks to choose the gate's figures on.

Each task is a pair of pictures, of which one is the example: COCO's kinds that VOC lacks, VOC's val
pictures, ``objects``, and drawn sets (``synthetic_sets``). Printed is a line of JSON a task: what
the example says (IoU of the network on it and on its changed copy; of network, both and
appearance on its halves) and the IoU on the other picture for each share of the appearance. The
last line is the mean over kinds of tasks of the network alone, of the gate as it is and of the best
share for each task.

    python benchmarks/appearance_gate.py --model small --data-root DIR
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from appearance import mean_iou, photo_sets
from synthetic_sets import SETS, Drawn

from fcp import FewShotSegmenter
from fcp.data.objects import Objects
from fcp.inference.appearance.fitting import Appearance, try_example
from fcp.inference.appearance.gate import Decision, decide_by_halves

SHARES = (0.0, 0.5, 1.0)
LEAST_PIXELS = 50  # of either mask
PHOTOS = frozenset({"coco", "voc", "objects"})


def tasks(root: Path, sets: int, seed: int) -> Iterator[tuple[str, Drawn, Drawn]]:
    """Yield kind of task, example and question; ``sets`` of each kind, in turn."""
    drawn = [(name, draw(seed + n, 2)) for n in range(sets) for name, draw in SETS.items()]
    photos = list(photo_sets(root, 2, sets, seed))
    for name, pair in [*photos, *object_pairs(Objects(root), sets, seed), *drawn]:
        if all(mask.sum() >= LEAST_PIXELS for _, mask in pair):
            yield name, pair[0], pair[1]


def object_pairs(data: Objects, sets: int, seed: int) -> Iterator[tuple[str, list[Drawn]]]:
    """Yield pairs of photos of one kind."""
    rng = np.random.default_rng(seed)
    for kind in rng.permutation(list(data.kinds))[:sets]:
        showing = [photo for photo, kinds in data.shown.items() if kind in kinds]
        chosen = rng.permutation(showing)[:2]
        if len(chosen) == 2:
            yield "objects", [(data.image(p), data.class_mask(p, int(kind))) for p in chosen]


def ask(segmenter: FewShotSegmenter, example: Drawn, asked: Drawn) -> dict[str, object]:
    """Try the example, and ask with each share."""
    tried = try_example(segmenter.network, *example)
    support, found = segmenter.encode([example], appearance="off"), {}
    for share in SHARES:
        own = Appearance(tried.classifier, Decision(share, iou=share, network_iou=1 - share))
        mixed = replace(support, appearances=(own,) if share else ())
        mask = segmenter.predict(asked[0], support=mixed, threshold=0).mask
        found[share] = mean_iou([mask], [asked])
    return {
        "known": [round(iou, 3) for iou in tried.known],
        "halves": [
            round(float(np.mean([half.iou(share) for half in tried.halves])), 3) for share in SHARES
        ],
        "iou": [round(found[share], 3) for share in SHARES],
        "chosen": decide_by_halves(tried.halves, tried.known).share,
    }


def main() -> None:
    """Parse, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="small")
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--sets", type=int, default=20, help="of each kind")
    parser.add_argument("--seed", type=int, default=500)
    args = parser.parse_args()
    segmenter = FewShotSegmenter.from_pretrained(args.model, device="cpu")
    scores = defaultdict(list)
    for name, example, asked in tasks(args.data_root, args.sets, args.seed):
        found = ask(segmenter, example, asked)
        print(json.dumps({"kind": name, **found}), flush=True)
        alone, *others = found["iou"]
        scores[name].append(
            (alone, found["iou"][SHARES.index(found["chosen"])], max(alone, *others))
        )
    means = {name: np.mean(rows, axis=0) for name, rows in scores.items()}
    for group, names in (("photos", PHOTOS), ("no photos", SETS.keys())):
        shown = np.mean([mean for name, mean in means.items() if name in names], axis=0)
        words = ("network", "gate", "best")
        print(
            json.dumps({group: {w: round(100 * v, 1) for w, v in zip(words, shown, strict=True)}})
        )


if __name__ == "__main__":
    main()
