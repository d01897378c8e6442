"""Does a model know that a class of its examples is not in a picture? On classes it never saw.

Pairs of a fold's novel classes over all val pictures (``fcp.data.presence_pairs``): half show the
class, the others show something else, also things that training named. Reported are AUROC, how many
of 100 absent pictures get a mask where 95 % of the present ones do, the same at the model's own
threshold, and how well its probabilities are calibrated. With ``--coco`` the classes are COCO's
other categories (see ``coco_novel.py``), for a model that was trained on all of VOC.

    python benchmarks/presence.py --model runs/tiny-fold1 --fold 1 --data-root DIR
    python benchmarks/presence.py --model tiny --coco --data-root DIR
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from coco_novel import VOC
from sklearn.metrics import roc_auc_score

from fcp import FewShotSegmenter
from fcp.data.benchmarks import open_benchmark
from fcp.data.dataset import FewShotDataset, Split
from fcp.data.images import read_image
from fcp.data.presence_pairs import Pair, draw_pairs
from fcp.engine.calibrate import AnsweredPair, see_pairs
from fcp.errors import FcpError
from fcp.formats.coco import read_coco
from fcp.inference.presence import Presence

RECALL = 0.95
RESAMPLES = 1000
BINS = 10


class CocoPictures:
    """A sample of COCO in its own layout, as a data set whose val pictures are all of its pictures.

    Args:
        root: Holds ``annotations/instances_*.json`` and the pictures.
    """

    title = "COCO's categories that VOC lacks"
    min_pixels = 2 * 32 * 32

    def __init__(self, root: Path) -> None:
        self._masks: dict[str, dict[int, np.ndarray]] = {}
        numbers: dict[str, int] = {}
        for file in sorted((root / "annotations").glob("instances_*.json")):
            for name, examples in read_coco(file).items():
                number = numbers.setdefault(name, len(numbers) + 1)
                for example in examples:
                    self._masks.setdefault(str(example.picture), {})[number] = example.annotation
        self.classes = {number: name for name, number in numbers.items()}

    def novel(self, fold: int | None) -> tuple[int, ...]:
        """Return the categories that are none of VOC's, whatever the fold."""
        del fold
        return tuple(number for number, name in self.classes.items() if name not in VOC)

    def areas(self, split: Split) -> dict[str, dict[int, int]]:
        """Count the pixels of each category in each picture."""
        del split
        return {
            picture: {number: int(mask.sum()) for number, mask in masks.items()}
            for picture, masks in self._masks.items()
        }

    def image(self, picture: str) -> np.ndarray:
        """Read a picture."""
        return read_image(Path(picture))

    def class_mask(self, picture: str, class_id: int) -> np.ndarray:
        """Return the mask of a category."""
        return self._masks[picture][class_id]


def measure(truth: np.ndarray, probability: np.ndarray, threshold: float) -> dict[str, float]:
    """Return the scores of N judgements; rates are in percent."""
    strict = np.quantile(probability[truth], 1 - RECALL)
    return {
        "auroc": round(float(roc_auc_score(truth, probability)), 4),
        "false_per_100_at_95_recall": round(100 * float((probability[~truth] >= strict).mean()), 1),
        "recall_at_threshold": round(100 * float((probability[truth] >= threshold).mean()), 1),
        "false_per_100_at_threshold": round(
            100 * float((probability[~truth] >= threshold).mean()), 1
        ),
        "calibration_error": round(100 * calibration_error(truth, probability), 1),
    }


def calibration_error(truth: np.ndarray, probability: np.ndarray) -> float:
    """Return the mean distance of probability and truth over ten bins, weighted by their size."""
    bins = np.minimum((probability * BINS).astype(int), BINS - 1)
    gaps = [
        abs(probability[bins == b].mean() - truth[bins == b].mean()) * (bins == b).mean()
        for b in np.unique(bins)
    ]
    return float(sum(gaps))


def interval(pairs: Sequence[Pair], truth: np.ndarray, probability: np.ndarray) -> list[float]:
    """Return the 95 % interval of AUROC over resamples of the pictures, not of the pairs."""
    names = sorted({pair.query for pair in pairs})
    rows = {name: [] for name in names}
    for row, pair in enumerate(pairs):
        rows[pair.query].append(row)
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(RESAMPLES):
        chosen = np.concatenate([rows[name] for name in rng.choice(names, len(names))])
        if 0 < truth[chosen].mean() < 1:
            drawn.append(roc_auc_score(truth[chosen], probability[chosen]))
    return [round(float(value), 3) for value in np.percentile(drawn, [2.5, 97.5])]


def report(
    seen: Sequence[AnsweredPair], presence: Presence, names: Mapping[int, str]
) -> dict[str, object]:
    """Judge all pairs; what has no mask cannot be a false mask and counts as judged absent."""
    pairs = [one.pair for one in seen]
    truth = np.array([pair.present for pair in pairs])
    judged = [presence.judge(one.known, one.look) if one.has_mask else 0.0 for one in seen]
    probability = np.array(judged)
    classes = np.array([pair.class_id for pair in pairs])
    return {
        "pairs": len(pairs),
        "pictures": len({pair.query for pair in pairs}),
        "threshold": presence.threshold,
        "false_per_100_without_it": round(
            100 * float(np.mean([one.has_mask for one in seen if not one.pair.present])), 1
        ),
        **measure(truth, probability, presence.threshold),
        "auroc_interval": interval(pairs, truth, probability),
        "auroc_by_class": {
            names[c]: round(float(roc_auc_score(truth[classes == c], probability[classes == c])), 3)
            for c in np.unique(classes)
        },
    }


def main() -> None:
    """Parse, judge, print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="tiny, a model folder, or a hub id")
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--fold", type=int, help="whose novel classes are asked about")
    parser.add_argument("--coco", action="store_true", help="COCO's other categories instead")
    parser.add_argument("--shots", type=int, default=1)
    parser.add_argument("--per-class", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    segmenter = FewShotSegmenter.from_pretrained(arguments.model, device=arguments.device)
    if segmenter.presence is None:
        raise FcpError(f"{arguments.model}: has no presence.json; make it with `fcp calibrate`")
    data: FewShotDataset | CocoPictures = (
        CocoPictures(arguments.data_root / "COCO")
        if arguments.coco
        else open_benchmark("pascal5i", arguments.data_root)
    )
    pairs = draw_pairs(
        data,
        data.novel(arguments.fold),
        per_class=arguments.per_class,
        shots=(arguments.shots,),
        seed=arguments.seed,
    )
    seen = list(see_pairs(segmenter.network, data, pairs))
    print(json.dumps(report(seen, segmenter.presence, data.classes), indent=2))


if __name__ == "__main__":
    main()
