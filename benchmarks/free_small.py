"""How far does no training get on our own small encoders? On COCO's categories that VOC lacks.

The queries of ``coco_novel.py``, the first few of each category with the next pictures as examples.
Each method takes the frozen encoders of a trained model's folder (its backbone's mid-level map, its
segmenter) and nothing of its head; the trained head itself answers the same queries beside them.
Pictures and masks are squashed to the model's square. IoU pooled for each category, then averaged.

    python benchmarks/free_small.py --data-root DIR --queries 2
    python benchmarks/free_small.py --data-root DIR --queries 2 --methods insid3 insid3:paper gf-sam
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from coco_novel import novel_pictures
from torch import Tensor, nn

from fcp.data.images import read_image
from fcp.data.transforms import mask_to_square
from fcp.encoders.pixels import resize
from fcp.evaluation.metrics import ScoreBoard, count_pixels
from fcp.method.fcp.model import FCP
from fcp.method.registry import METHODS, build_on
from fcp.models.checkpoint import load_model
from fcp.models.loading import find_model
from fcp.structures import Episode

HEAD = "head"  # the trained one
RULES = {"": {}, "paper": {"released": False}, "pooled": {"shots": "pooled"}}


def build(name: str, model: FCP) -> nn.Module:
    """Return a method on a model's encoders: ``METHOD`` or ``METHOD:RULE``, or the model itself."""
    if name == HEAD:
        return model
    method, _, rule = name.partition(":")
    options = {**RULES[rule], **({"preset": "fss"} if method == "matcher" else {})}
    side = model.config.image_size
    return build_on(method, model.backbone, model.segmenter, image_size=side, **options)


def read(pictures: Sequence[tuple[Path, np.ndarray]], side: int) -> tuple[Tensor, Tensor]:
    """Return pictures (K, 3, S, S) and masks (K, S, S)."""
    images, masks = [], []
    for path, mask in pictures:
        photo = torch.from_numpy(read_image(path).copy()).permute(2, 0, 1)[None].float() / 255
        images.append(resize(photo, (side, side)))
        masks.append(mask_to_square(mask, side).float())
    return torch.cat(images), torch.stack(masks)


@torch.no_grad()
def score(
    methods: dict[str, nn.Module],
    categories: dict[str, list[tuple[Path, np.ndarray]]],
    *,
    side: int,
    shots: int,
    queries: int,
) -> tuple[dict[str, ScoreBoard], dict[str, float]]:
    """Ask every method the same; scores and seconds of each."""
    boards = {name: ScoreBoard() for name in methods}
    seconds = dict.fromkeys(methods, 0.0)
    for category, pictures in categories.items():
        for place in range(min(queries, len(pictures))):
            chosen = [*pictures[place:], *pictures[:place]][: shots + 1]
            images, masks = read(chosen, side)
            episode = Episode(images[None, 1:], masks[None, 1:], images[:1])
            for name, method in methods.items():
                start = time.process_time()
                found = method(episode).mask_logits[0] > 0
                seconds[name] += time.process_time() - start
                truth = masks[0] > 0
                boards[name].add(category, count_pixels(found, truth, torch.ones_like(truth)))
    return boards, seconds


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, score, print JSON in percent."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="small", help="a shipped model or a folder")
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--shots", type=int, default=1)
    parser.add_argument("--queries", type=int, default=2, help="most of each category")
    parser.add_argument("--methods", nargs="+", default=[HEAD, *METHODS])
    arguments = parser.parse_args(argv)
    model = load_model(find_model(arguments.model))
    side = model.config.image_size
    methods = {name: build(name, model).eval() for name in arguments.methods}
    categories = {
        name: pictures
        for name, pictures in novel_pictures(arguments.data_root).items()
        if len(pictures) > arguments.shots
    }
    boards, seconds = score(
        methods, categories, side=side, shots=arguments.shots, queries=arguments.queries
    )
    asked = sum(min(arguments.queries, len(pictures)) for pictures in categories.values())
    report = {
        name: {
            "miou": round(100 * board.compute().miou, 1),
            "seconds_a_query": round(seconds[name] / asked, 2),
        }
        for name, board in boards.items()
    }
    print(json.dumps({"shots": arguments.shots, "queries": asked, **report}, indent=2))


if __name__ == "__main__":
    main()
