"""Training on stored views: VOC and `objects` together, some queries without the object."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from fcp.config import IGNORE
from fcp.data.dataset import FewShotDataset
from fcp.data.lists import ClassLists
from fcp.data.mixed import (
    MixedTask,
    Mixture,
    TaskSource,
    kinds_holdout,
    left_out_kinds,
    training_sources,
)
from fcp.data.objects import Objects
from fcp.data.pascal import PascalVOC
from fcp.engine.episodic import EpisodicStage
from fcp.engine.holdout import Holdout
from fcp.engine.processes import processes, to_device
from fcp.engine.recipe import HeadRecipe
from fcp.engine.stored_batches import StoredBatches, answer_stored, make_episode, stack_episodes
from fcp.engine.tracking import Report
from fcp.engine.view_store import ViewStore, build_views, crop_mask
from fcp.evaluation.metrics import ScoreBoard, count_pixels
from fcp.method.fcp.losses.criterion import Criterion
from fcp.method.fcp.model import FCP
from fcp.models.checkpoint import save_model
from fcp.models.files import BEST_FOLDER

VIEWS_FOLDER = "views"  # beside the folders of the runs, which share it
_PHOTOS_OF_A_MEAN = 6  # photos that a class's mean foreground feature is taken over


def stored_stage(
    recipe: HeadRecipe, model: FCP, data_root: Path, out: Path, report: Report
) -> tuple[EpisodicStage, Holdout | None]:
    """Make the stage that trains the head on stored views, and its scoring during training.

    The views lie in ``out.parent/views``, so that runs side by side share them.

    Raises:
        FcpError: data are missing, or the stored views are of other photos.
    """
    size = recipe.model.image_size
    everything = training_sources(data_root, None, hold_out=False)
    photos = stored_photos(everything, Objects(data_root), recipe.photos_per_class)
    store = build_views(
        model.to(processes().device),
        photos,
        out.parent / VIEWS_FOLDER,
        views=recipe.stored_views,
        seed=0,
        report=report,
    )
    mixtures = make_mixtures(recipe, data_root, store)
    batches = StoredBatches(
        mixtures, store, batch=recipe.optim.batch, image_size=size, seed=recipe.seed
    )
    stage = EpisodicStage(
        model,
        batches,
        answer=partial(answer_stored, model, store.steps),
        criterion=Criterion(recipe.loss),
    )
    return stage, kinds_score(recipe, model, data_root, store, out)


def make_mixtures(recipe: HeadRecipe, data_root: Path, store: ViewStore) -> list[Mixture]:
    """Make the source of the episodes for each number of shots of a recipe."""
    sources = [
        keep_stored(source, store)
        for source in training_sources(data_root, recipe.fold, hold_out=recipe.hold_out_kinds)
    ]
    size = recipe.model.image_size
    features = {source.name: mean_features(source, store, size) for source in sources}
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


def kinds_score(
    recipe: HeadRecipe, model: FCP, data_root: Path, store: ViewStore, out: Path
) -> Holdout | None:
    """Make the scoring by 1-shot mIoU on held-out kinds; the best model goes to ``out/best``."""
    if not recipe.holdout_every or not recipe.hold_out_kinds:
        return None
    objects = Objects(data_root)
    left_out = left_out_kinds(objects.kinds, PascalVOC(data_root), recipe.fold)
    lists = keep_photos(kinds_holdout(objects, left_out), store.places)
    mixture = Mixture([TaskSource("kinds", objects, lists, {})], {"kinds": 1.0})
    rng = np.random.default_rng(0)
    tasks = [mixture(rng) for _ in range(recipe.holdout_episodes)]

    def score() -> float:
        return score_stored(model, store, tasks, recipe.model.image_size)

    def save() -> None:
        save_model(model, out / BEST_FOLDER, dtype=getattr(torch, recipe.weights_dtype))

    return Holdout(recipe.holdout_every, score, save)


def score_stored(model: FCP, store: ViewStore, tasks: Sequence[MixedTask], size: int) -> float:
    """Return the mIoU of a model on episodes of whole stored photos."""
    board = ScoreBoard()
    for task in tasks:
        episode = make_episode(store, task, size, None)
        output = answer_stored(model, store.steps, to_device(stack_episodes([episode])))
        found, truth = output.mask_logits[0].cpu() > 0, episode.query_mask
        counts = count_pixels(found, truth == 1, truth != IGNORE)
        board.add(str(task.class_id), counts)
    return board.compute().miou


def stored_photos(
    sources: Sequence[TaskSource], objects: Objects, most: int
) -> list[tuple[FewShotDataset, str]]:
    """List the photos that all models need: each of ``objects``, and enough of VOC's classes.

    Args:
        sources: Sources of a model that leaves nothing of VOC out; the first is VOC's.
        objects: Data set ``objects``, all of whose photos are stored.
        most: Number of stored photos of a class of VOC from which on no photo is added for that
            class.
    """
    voc = sources[0]
    kept = thin_photos(voc.lists, most)
    return [(voc.data, photo) for photo in kept] + [(objects, photo) for photo in objects.shown]


def thin_photos(lists: ClassLists, most: int) -> list[str]:
    """Choose photos, those with rare classes first, until each class has enough.

    Args:
        lists: Classes of all photos.
        most: Number of photos of a class from which on no photo is added for that class.
    """
    total = {c: len(members) for c, members in lists.members.items()}
    counts = dict.fromkeys(total, 0)
    chosen = []
    for photo in sorted(lists.rows, key=lambda row: min(total[c] for c in lists.present[row])):
        shown = lists.present[photo]
        if min(counts[c] for c in shown) < most:
            chosen.append(photo)
            for c in shown:
                counts[c] += 1
    return chosen


def keep_photos(lists: ClassLists, photos: Collection[str]) -> ClassLists:
    """Restrict lists to some photos."""
    return replace(
        lists,
        rows=tuple(row for row in lists.rows if row in photos),
        members={c: tuple(p for p in m if p in photos) for c, m in lists.members.items()},
    )


def mean_features(source: TaskSource, store: ViewStore, size: int) -> dict[int, np.ndarray]:
    """Average the foreground of each class at the coarse levels: class id → (C,)."""
    means = {}
    for class_id, members in source.lists.members.items():
        sums = []
        for photo in members[:_PHOTOS_OF_A_MEAN]:
            coarse = store.read(photo, 0, ["coarse"])["coarse"].float()
            mask = crop_mask(store, photo, 0, source.data.class_mask(photo, class_id), size)
            height, width = coarse.shape[-2:]
            share = functional.adaptive_avg_pool2d(mask[None], (height, width))
            sums.append(functional.normalize((coarse * share).sum((1, 2)), dim=0))
        total = sum(sums, start=torch.zeros(1))
        if total.any():
            means[class_id] = total.numpy()
    return means


def keep_stored(source: TaskSource, store: ViewStore) -> TaskSource:
    """Restrict a source to stored photos."""
    absent = {
        asked: {
            shown: stored
            for shown, photos in by_class.items()
            if (stored := tuple(photo for photo in photos if photo in store.places))
        }
        for asked, by_class in source.absent.items()
    }
    return replace(
        source,
        lists=keep_photos(source.lists, store.places),
        absent={asked: by_class for asked, by_class in absent.items() if by_class},
    )
