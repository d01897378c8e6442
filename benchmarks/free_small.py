"""How far does no training get on our own small encoders, beside a head that never saw the kinds?

Without ``--fold``: COCO's categories that VOC lacks, the queries of ``coco_novel.py`` with the next
pictures as examples (``--queries`` of each category at most). With ``--fold``: the novel classes of
that fold of PASCAL-5i, the episodes that ``fcp evaluate`` draws, the first ``--queries`` of them;
the model should be one that was trained without that fold.

Each method takes the frozen encoders of a trained model (its backbone's mid-level map, its
segmenter) and nothing of its head; the trained head answers the same queries. Pictures and masks
are squashed to the model's square; pixels without a truth do not count. IoU pooled for each
category, then averaged; intervals (95 %) by bootstrap over the queries, differences paired.

    python benchmarks/free_small.py --data-root DIR
    python benchmarks/free_small.py --data-root DIR --model runs/small-fold1 --fold 1 --queries 1000
    python benchmarks/free_small.py --data-root DIR --methods head insid3 insid3:released gf-sam
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from coco_novel import novel_pictures
from torch import Tensor, nn

from fcp.data.benchmarks import open_benchmark
from fcp.data.images import read_image
from fcp.data.transforms import mask_to_square, to_square
from fcp.encoders.cells import BackboneCells
from fcp.evaluation.bootstrap import compare, miou_interval
from fcp.evaluation.episode_counts import MASK, EpisodeCounts, EpisodeDraw, EpisodeId
from fcp.evaluation.metrics import count_pixels
from fcp.evaluation.predictor import BoundedCache
from fcp.evaluation.run import DrawnEpisodes
from fcp.method.fcp.model import FCP
from fcp.method.registry import METHODS
from fcp.models.checkpoint import load_model
from fcp.models.loading import find_model
from fcp.structures import Episode

HEAD = "head"  # the trained one
MEMORY = 1 << 30  # bytes of cells that are kept
RULES: dict[str, dict[str, Any]] = {
    "": {},
    "paper": {"released": False},
    "released": {"released": True},
    "pooled": {"shots": "pooled"},
}


@dataclass(frozen=True)
class Task:
    """One query and its examples, squashed to S.

    Attributes:
        category: Name of what is asked for.
        images: (K + 1, 3, S, S), the query first.
        masks: (K + 1, S, S) 0 or 1, the query's truth first.
        known: (S, S) boolean, pixels of the query that count.
    """

    category: str
    images: Tensor
    masks: Tensor
    known: Tensor


class SharedCells(BackboneCells):
    """A backbone's cells, which all methods share: a picture is encoded once."""

    def __init__(self, model: FCP) -> None:
        super().__init__(model.backbone, image_size=model.config.image_size)
        self.cache = BoundedCache(MEMORY)

    def encode(self, images: Tensor) -> Tensor:
        """Encode pictures of this encoder's size, or find what they gave before."""
        encode = super().encode
        one_by_one = [
            self.cache.get(image.numpy().tobytes(), partial(encode, image[None]))
            for image in images
        ]
        return torch.cat(one_by_one)


def build(name: str, model: FCP, shared: SharedCells) -> nn.Module:
    """Return a method on a model's encoders: ``METHOD`` or ``METHOD:RULE``, or the model itself."""
    if name == HEAD:
        return model
    method, _, rule = name.partition(":")
    builder, options = METHODS[method], dict(RULES[rule])
    side = model.config.image_size
    cells = shared if builder.image_size else None
    if method == "gf-sam":
        options["size"] = side
    if method == "matcher":
        options["preset"] = "fss"
    return builder(cells, model.segmenter if builder.has_segmenter else None, **options)


def coco_tasks(root: Path, *, side: int, shots: int, queries: int) -> Iterator[Task]:
    """Ask for the pictures of COCO's categories that VOC lacks, the first of each first."""
    found = {name: shown for name, shown in novel_pictures(root).items() if len(shown) > shots}
    most = min(queries, max(map(len, found.values())))
    for place, (category, pictures) in product(range(most), found.items()):
        if place < len(pictures):
            chosen = [*pictures[place:], *pictures[:place]][: shots + 1]
            images = torch.stack([to_square(read_image(path), side) for path, _ in chosen])
            masks = torch.stack([mask_to_square(mask, side) for _, mask in chosen])
            yield Task(category, images, masks, torch.ones(side, side, dtype=torch.bool))


def fold_tasks(root: Path, fold: int, *, side: int, shots: int, queries: int) -> Iterator[Task]:
    """Ask for the novel classes of a fold of PASCAL-5i, in the episodes of ``fcp evaluate``."""
    data = open_benchmark("pascal5i", root)
    drawn = DrawnEpisodes(shots=shots, episodes=queries).runs(data, fold)
    for episode in next(iter(drawn.values())):
        ids = [episode.query, *episode.supports]
        masks = [mask_to_square(data.class_mask(id, episode.class_id), side) for id in ids]
        known = mask_to_square(data.ignored(episode.query), side) == 0
        images = torch.stack([to_square(data.image(id), side) for id in ids])
        yield Task(data.classes[episode.class_id], images, torch.stack(masks), known)


@torch.no_grad()
def score(
    methods: dict[str, nn.Module], tasks: Iterator[Task]
) -> tuple[dict[str, EpisodeCounts], dict[str, float]]:
    """Ask every method the same; counts and CPU seconds a query of each."""
    counts: dict[str, list[tuple[int, ...]]] = {name: [] for name in methods}
    seconds = dict.fromkeys(methods, 0.0)
    asked: list[EpisodeId] = []
    for number, task in enumerate(tasks):
        episode = Episode(task.images[None, 1:], task.masks[None, 1:], task.images[:1])
        asked.append(EpisodeId(EpisodeDraw(), str(number), str(number), task.category))
        for name, method in methods.items():
            start = time.process_time()
            found = method(episode).mask_logits[0] > 0
            seconds[name] += time.process_time() - start
            counts[name].append(astuple(count_pixels(found, task.masks[0] > 0, task.known)))
    tables = {
        name: EpisodeCounts(tuple(asked), {MASK: np.array(rows, dtype=np.int64)})
        for name, rows in counts.items()
    }
    return tables, {name: total / len(asked) for name, total in seconds.items()}


def summarise(tables: dict[str, EpisodeCounts], seconds: dict[str, float]) -> dict[str, Any]:
    """Return each method's mIoU, its interval, and its differences from those before it."""
    report: dict[str, Any] = {}
    for place, (name, table) in enumerate(tables.items()):
        earlier = list(tables.items())[:place]
        pairs = {other: compare(table, theirs) for other, theirs in earlier}
        report[name] = {
            "miou": percent(table.scores(MASK).miou),
            "interval": [percent(bound) for bound in miou_interval(table)],
            "seconds_a_query": round(seconds[name], 2),
            "minus": {
                other: [
                    percent(value)
                    for value in (pair.miou_difference, *pair.miou_difference_interval)
                ]
                for other, pair in pairs.items()
            },
        }
    return report


def percent(value: float) -> float:
    """Return a share as percent with one decimal."""
    return round(100 * value, 1)


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, score, print JSON in percent."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="small", help="a shipped model or a folder")
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--fold", type=int, help="of PASCAL-5i; without it COCO's categories")
    parser.add_argument("--shots", type=int, default=1)
    parser.add_argument(
        "--queries", type=int, default=1000, help="most of each category, or of the fold"
    )
    parser.add_argument("--methods", nargs="+", default=[HEAD, *METHODS])
    arguments = parser.parse_args(argv)
    model = load_model(find_model(arguments.model))
    shared = SharedCells(model)
    methods = {name: build(name, model, shared).eval() for name in arguments.methods}
    wanted = {
        "side": model.config.image_size,
        "shots": arguments.shots,
        "queries": arguments.queries,
    }
    root, fold = arguments.data_root, arguments.fold
    tasks = coco_tasks(root, **wanted) if fold is None else fold_tasks(root, fold, **wanted)
    tables, seconds = score(methods, tasks)
    asked = len(next(iter(tables.values())).ids)
    report = {"shots": arguments.shots, "queries": asked, **summarise(tables, seconds)}
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
