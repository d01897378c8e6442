"""Training on stored views: VOC and `objects` together, some queries without the object."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from torch import Tensor

from fcp.data.dataset import FewShotDataset
from fcp.data.lists import ClassLists
from fcp.data.mixed import MixedTask, TaskSource, training_sources
from fcp.data.objects import Objects
from fcp.engine.episodic import EpisodicStage
from fcp.engine.holdout import Holdout
from fcp.engine.mixtures import kinds_score, make_mixtures
from fcp.engine.processes import processes, to_device
from fcp.engine.recipe import HeadRecipe
from fcp.engine.stored_batches import StoredBatches, answer_stored, make_episode, stack_episodes
from fcp.engine.tracking import Report
from fcp.engine.view_store import ViewStore, build_views
from fcp.method.fcp.losses.criterion import Criterion
from fcp.method.fcp.model import FCP

VIEWS_FOLDER = "views"  # beside the folders of the runs, which share it


def stored_stage(
    recipe: HeadRecipe, model: FCP, data_root: Path, out: Path, report: Report
) -> tuple[EpisodicStage, Holdout | None]:
    """Make the stage that trains the head on stored views, and its scoring during training.

    The views lie in ``out.parent/views``, so that runs side by side share them.

    Raises:
        FcpError: data are missing, or the stored views are of other photos.
    """
    size = recipe.model.image_size
    store = build_views(
        model.to(processes().device),
        photos_to_store(recipe, data_root),
        out.parent / VIEWS_FOLDER,
        views=recipe.stored_views,
        seed=0,
        report=report,
    )
    sources = [
        keep_stored(source, store)
        for source in training_sources(data_root, recipe.fold, hold_out=recipe.hold_out_kinds)
    ]

    def ask(task: MixedTask) -> tuple[Tensor, Tensor]:
        episode = make_episode(store, task, size, None)
        output = answer_stored(model, store.steps, to_device(stack_episodes([episode])))
        return output.mask_logits[0], episode.query_mask

    stage = stage_on_views(recipe, model, sources, store)
    return stage, kinds_score(recipe, model, data_root, out, ask)


def stage_on_views(
    recipe: HeadRecipe, model: FCP, sources: Sequence[TaskSource], store: ViewStore
) -> EpisodicStage:
    """Make the stage that trains on the stored views of the sources' photos."""

    def see(_: FewShotDataset, photo: str) -> Tensor:
        return store.read(photo, 0, ["coarse"])["coarse"].float()

    batches = StoredBatches(
        make_mixtures(recipe, sources, see),
        store,
        batch=recipe.optim.batch,
        image_size=recipe.model.image_size,
        seed=recipe.seed,
    )
    return EpisodicStage(
        model,
        batches,
        answer=partial(answer_stored, model, store.steps),
        criterion=Criterion(recipe.loss),
    )


def photos_to_store(recipe: HeadRecipe, data_root: Path) -> list[tuple[FewShotDataset, str]]:
    """List the photos of a recipe whose views are stored, for all folds alike.

    Raises:
        FcpError: data are missing.
    """
    everything = training_sources(data_root, None, hold_out=False)
    return stored_photos(everything, Objects(data_root), recipe.photos_per_class)


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
