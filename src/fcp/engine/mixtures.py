"""What trainings on VOC and ``objects`` share: the draw of the episodes, and the held-out kinds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fcp.config import IGNORE
from fcp.data.dataset import FewShotDataset
from fcp.data.mixed import MixedTask, Mixture, TaskSource, kinds_holdout, left_out_kinds
from fcp.data.objects import Objects
from fcp.data.pascal import PascalVOC
from fcp.data.transforms import mask_to_square
from fcp.engine.episodic import save_trained
from fcp.engine.holdout import Holdout
from fcp.engine.recipe import HeadRecipe
from fcp.engine.share import Share
from fcp.evaluation.metrics import ScoreBoard, count_pixels
from fcp.layers.pool import mean_pool
from fcp.method.fcp.model import FCP
from fcp.models.files import BEST_FOLDER

LEAST_SHARE = 0.008  # least share of a view that the class covers; else the whole photo is taken
_PHOTOS_OF_A_MEAN = 6  # photos that a class's mean foreground feature is taken over

See = Callable[[FewShotDataset, str], Tensor]


def make_mixtures(recipe: HeadRecipe, sources: Sequence[TaskSource], see: See) -> list[Mixture]:
    """Make the source of the episodes for each number of shots of a recipe.

    Args:
        recipe: Recipe with the shares.
        sources: Data sets to draw from.
        see: Function from a data set and a photo of it to features (C, h, w) of the whole photo, by
            which classes that look alike are found.
    """
    size = recipe.model.image_size
    features = {source.name: _mean_features(source, see, size) for source in sources}
    return [
        Mixture(
            sources,
            recipe.shares,
            shots=shots,
            absent_share=recipe.absent_share,
            features=features,
        )
        for shots in recipe.shots
    ]


def draw_step(
    mixtures: Sequence[Mixture], share: Share, *, batch: int, seed: int
) -> Iterator[tuple[MixedTask, np.random.Generator]]:
    """Draw the tasks of a part of a step, all with the same number of shots.

    Args:
        mixtures: Sources of the episodes, one for each number of shots.
        share: Step, and part of its batch.
        batch: Number of episodes of a step.
        seed: Seed of the episodes.

    Yields:
        Tasks, each with the generator that draws its views.
    """
    # numpy takes (seed, step, 0) for (seed, step), which draws the shots.
    step = np.random.default_rng((seed, share.step))
    mixture = mixtures[int(step.integers(len(mixtures)))]
    for position in share.positions(batch):
        rng = np.random.default_rng((seed, share.step, position + 1))
        yield mixture(rng), rng


def kinds_score(
    recipe: HeadRecipe,
    model: FCP,
    data_root: Path,
    out: Path,
    ask: Callable[[MixedTask], tuple[Tensor, Tensor]],
) -> Holdout | None:
    """Make the scoring by 1-shot mIoU on held-out kinds; the best model goes to ``out/best``.

    Args:
        recipe: Recipe with the number of episodes and the steps between two scores.
        model: Model that is trained.
        data_root: Folder that holds ``VOC2012/`` and ``objects/``.
        out: Folder of the run.
        ask: Function from an episode of whole photos to the model's logits (S, S) and the truth
            (S, S): 0, 1 or 255.
    """
    if not recipe.holdout_every or not recipe.hold_out_kinds:
        return None
    objects = Objects(data_root)
    lists = kinds_holdout(objects, left_out_kinds(objects.kinds, PascalVOC(data_root), recipe.fold))
    mixture = Mixture([TaskSource("kinds", objects, lists, {})], {"kinds": 1.0})
    rng = np.random.default_rng(0)
    tasks = [mixture(rng) for _ in range(recipe.holdout_episodes)]

    def score() -> float:
        board = ScoreBoard()
        for task in tasks:
            logits, truth = ask(task)
            board.add(
                str(task.class_id), count_pixels(logits.cpu() > 0, truth == 1, truth != IGNORE)
            )
        return board.compute().miou

    def save() -> None:
        save_trained(model, recipe, out / BEST_FOLDER)

    return Holdout(recipe.holdout_every, score, save)


def _mean_features(source: TaskSource, see: See, size: int) -> dict[int, np.ndarray]:
    """Average the foreground of each class over some of its photos: class id → (C,)."""
    means = {}
    for class_id, members in source.lists.members.items():
        sums = []
        for photo in members[:_PHOTOS_OF_A_MEAN]:
            coarse = see(source.data, photo)
            mask = mask_to_square(source.data.class_mask(photo, class_id), size)
            height, width = coarse.shape[-2:]
            share = mean_pool(mask[None, None], (height, width))[0]
            sums.append(functional.normalize((coarse * share).sum((1, 2)), dim=0))
        total = sum(sums, start=torch.zeros(1))
        if total.any():
            means[class_id] = total.numpy()
    return means
