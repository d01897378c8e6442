"""How good is the promptable stage alone? Box prompt → mask on novel classes of PASCAL-5i's val.

For each picture and novel class that covers at least 2,048 px, the tight box around the whole class
mask is the prompt. IoU at the photo's own size, ignored pixels left out, pooled for each class
(ΣI/ΣU) and averaged over the fold's classes; also the mean over the masks. Beside it: the filled
box itself, which is the floor; and whether tokens steer the decoder, since tokens are all that the
FCP head gives: the box's corners alone, not painted, and tokens of zeros, which say nothing.

    python benchmarks/box_prompt.py --model runs/tiny-fold1 --fold 1 --data-root DIR
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from fcp.config import IGNORE
from fcp.data.lists import val_lists
from fcp.data.pascal import PascalVOC
from fcp.data.regions import tight_box
from fcp.data.transforms import map_to_size, to_square
from fcp.encoders.base import PromptableSegmenter
from fcp.encoders.tiny import TinySegmenter
from fcp.encoders.weights import read_state_dict
from fcp.engine.train_segmenter import WEIGHTS
from fcp.evaluation.metrics import ScoreBoard, Scores, count_pixels
from fcp.models.checkpoint import load_model
from fcp.models.files import CONFIG_FILE


def filled(box: tuple[int, int, int, int], size: tuple[int, int]) -> np.ndarray:
    """Return the box as a mask (H, W)."""
    mask = np.zeros(size, dtype=bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return mask


def targets(data: PascalVOC, fold: int) -> Iterator[tuple[str, int, np.ndarray]]:
    """Yield each (val picture, novel class) that counts: picture id, class id, labels (H, W)."""
    lists = val_lists(data, fold)
    for class_id, pictures in lists.members.items():
        for picture in pictures:
            yield picture, class_id, data.labels(picture)


@torch.inference_mode()
def score(
    segmenter: PromptableSegmenter, data: PascalVOC, fold: int, *, image_size: int
) -> dict[str, object]:
    """Score box prompts and filled boxes on a fold's novel classes."""
    boards: dict[str, ScoreBoard] = defaultdict(ScoreBoard)
    for picture, class_id, labels in targets(data, fold):
        height, width = labels.shape
        box = tight_box(labels == class_id)
        embedding = segmenter.encode(to_square(data.image(picture), image_size)[None])
        fractions = torch.tensor([box]) / torch.tensor([width, height, width, height])
        corners, painted = segmenter.embed_prompts(boxes=fractions)
        prompts = {
            "box prompt": (corners, painted),
            "corners alone": (corners, None),
            "zeros": (torch.zeros_like(corners), None),
        }
        masks = {
            name: map_to_size(segmenter.decode(embedding, *given).logits[0], labels.shape) > 0
            for name, given in prompts.items()
        }
        masks["filled box"] = torch.from_numpy(filled(box, labels.shape))
        valid = torch.from_numpy(labels != IGNORE)
        for name, mask in masks.items():
            counts = count_pixels(mask, torch.from_numpy(labels == class_id), valid)
            boards[name].add(data.classes[class_id], counts)
    return {name: summary(board.compute()) for name, board in boards.items()}


def summary(scores: Scores) -> dict[str, object]:
    """Turn scores into percent."""
    return {
        "miou": 100 * scores.miou,
        "mean_mask_iou": 100 * scores.mean_episode_iou,
        "class_iou": {name: 100 * iou for name, iou in scores.class_iou.items()},
    }


def main() -> None:
    """Parse, score, print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="model folder, or a segmenter's")
    parser.add_argument("--fold", type=int, required=True)
    parser.add_argument("--data-root", type=Path, required=True)
    arguments = parser.parse_args()
    if (arguments.model / CONFIG_FILE).exists():
        segmenter = load_model(arguments.model).segmenter
    else:
        file = arguments.model / WEIGHTS
        mixer = any(name.startswith("prompt_mixer.") for name in read_state_dict(file))
        segmenter = TinySegmenter(mixer=mixer).eval()
        segmenter.load_start(file)
    result = score(segmenter, PascalVOC(arguments.data_root), arguments.fold, image_size=320)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
