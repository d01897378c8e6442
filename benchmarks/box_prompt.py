"""How good is the promptable stage alone? Box prompt → mask on novel classes of PASCAL-5i's val.

An object is a connected component of a class mask that covers at least 2,048 px; its tight box is
the prompt. IoU at the photo's own size, ignored pixels left out, pooled for each class (ΣI/ΣU) and
averaged over the fold's classes. Beside it: the filled box itself, which is the floor.

    python benchmarks/box_prompt.py --model models/tiny-fold1 --fold 1 --data-root DIR
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import scipy.ndimage
import torch

from fcp.checkpoint import load_model
from fcp.data.folds import class_name, novel_classes
from fcp.data.lists import MIN_PIXELS, val_lists
from fcp.data.pascal import IGNORE, PascalVOC
from fcp.data.transforms import logits_to_size, to_square
from fcp.encoders.base import PromptableSegmenter
from fcp.encoders.tiny import TinySegmenter, load_tiny
from fcp.evaluation.metrics import ScoreBoard, count_pixels


def objects(labels: np.ndarray, class_id: int) -> Iterator[np.ndarray]:
    """Yield the large connected components of a class mask: (H, W) bool each."""
    components, count = scipy.ndimage.label(labels == class_id)
    for index in range(1, count + 1):
        mask = components == index
        if mask.sum() >= MIN_PIXELS:
            yield mask


def tight_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Return x0, y0, x1, y1 in px, the last two exclusive."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def filled(box: tuple[int, int, int, int], size: tuple[int, int]) -> np.ndarray:
    """Return the box as a mask (H, W)."""
    mask = np.zeros(size, dtype=bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return mask


@torch.inference_mode()
def score(
    segmenter: PromptableSegmenter, data: PascalVOC, fold: int, *, image_size: int
) -> dict[str, object]:
    """Score box prompts and filled boxes on a fold's novel classes."""
    lists = val_lists(data, fold)
    boards = {"box prompt": ScoreBoard(), "filled box": ScoreBoard()}
    for picture in lists.rows:
        labels = data.labels(picture)
        embedding = segmenter.encode(to_square(data.image(picture), image_size)[None])
        size = labels.shape
        scale = torch.tensor([size[1], size[0]] * 2)
        for class_id in novel_classes(fold):
            for target in objects(labels, class_id):
                box = tight_box(target)
                prompts = segmenter.embed_prompts(boxes=torch.tensor([box]) / scale)
                logits = logits_to_size(segmenter.decode(embedding, prompts).logits[0], size)
                valid = torch.from_numpy(labels != IGNORE)
                truth = torch.from_numpy(target)
                masks = {"box prompt": logits > 0, "filled box": torch.tensor(filled(box, size))}
                for name, mask in masks.items():
                    boards[name].add(class_name(class_id), count_pixels(mask, truth, valid))
    return {
        name: {"miou": 100 * scores.miou, "mean_object_iou": 100 * scores.mean_episode_iou,
               "class_iou": {n: 100 * v for n, v in scores.class_iou.items()}}
        for name, scores in ((n, board.compute()) for n, board in boards.items())
    }


def main() -> None:
    """Parse, score, print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="model folder, or a segmenter's")
    parser.add_argument("--fold", type=int, required=True)
    parser.add_argument("--data-root", type=Path, required=True)
    arguments = parser.parse_args()
    if (arguments.model / "config.json").exists():
        segmenter = load_model(arguments.model).segmenter
    else:
        segmenter = TinySegmenter().eval()
        load_tiny(segmenter, arguments.model)
    result = score(segmenter, PascalVOC(arguments.data_root), arguments.fold, image_size=320)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
