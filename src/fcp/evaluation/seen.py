"""Tested classes that a model was trained on, as far as its recipe says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fcp.data.benchmarks import name_of
from fcp.data.dataset import FewShotDataset
from fcp.data.folds import PASCAL_CLASSES, PASCAL_IN_COCO, novel_classes
from fcp.models.files import BEST_FOLDER, LEARNER_FILE, RECIPE_FILE
from fcp.system.documents import load_json

NOTHING_SEEN = "none of the tested classes"
UNKNOWN = "unknown"
UNKNOWN_TRAINING = {"training": UNKNOWN}  # in place of the recipe of a base learner without one


def read_recipe(model_folder: Path) -> Mapping[str, Any] | None:
    """Read the recipe that a model was trained by; None where its folder has none.

    Raises:
        FcpError: a damaged recipe.
    """
    return _read(model_folder, RECIPE_FILE)


def learner_is_unfiltered(model_folder: Path) -> bool:
    """Return whether a model's base learner was shown novel classes, as background.

    Raises:
        FcpError: a damaged recipe of the base learner.
    """
    recipe = _read(model_folder, LEARNER_FILE) or {}
    return recipe.get("fold") is not None and bool(recipe.get("unfiltered"))


def learner_is_unknown(model_folder: Path) -> bool:
    """Return whether a model started from a base learner of whose training nothing is known.

    Raises:
        FcpError: a damaged recipe of the base learner.
    """
    return _read(model_folder, LEARNER_FILE) == UNKNOWN_TRAINING


def _read(model_folder: Path, name: str) -> Mapping[str, Any] | None:
    """Read a file of a model's training; None where there is none.

    The best model of a run is in a folder below the run's, which has the recipe of both.
    """
    folders = [model_folder, *([model_folder.parent] if model_folder.name == BEST_FOLDER else [])]
    files = [folder / name for folder in folders]
    return next((load_json(file) for file in files if file.exists()), None)


def seen_in_training(data: FewShotDataset, fold: int | None, model_folder: Path) -> str:
    """Name the tested classes of a fold that the model was trained on.

    Args:
        data: Tested data set.
        fold: Fold whose novel classes are tested; None where there are no folds.
        model_folder: Folder of the model, with the recipe of its training.

    Returns:
        The classes, in words; ``NOTHING_SEEN`` where there are none; or ``UNKNOWN``, without a
        recipe of the model or of its base learner, or where the classes of another data set cannot
        be compared.

    Raises:
        FcpError: a damaged recipe, or one with an unknown fold.
    """
    recipe = read_recipe(model_folder)
    trained = None if recipe is None else _trained_classes(recipe, data)
    if recipe is None or trained is None:
        return UNKNOWN
    seen = [name for class_id in data.novel(fold) if (name := data.classes[class_id]) in trained]
    if learner_is_unknown(model_folder):
        return ", ".join([*seen, f"{UNKNOWN} of its base learner"]) if seen else UNKNOWN
    if seen:
        return ", ".join(seen)
    if recipe.get("unfiltered") or learner_is_unfiltered(model_folder):
        return f"{NOTHING_SEEN}, but pictures that show them, as background"
    return NOTHING_SEEN


def _trained_classes(recipe: Mapping[str, Any], data: FewShotDataset) -> set[str] | None:
    """Return the classes of a training by the names that the tested data set has for them."""
    trained, tested = recipe.get("benchmark", "pascal5i"), name_of(data)
    fold = recipe.get("fold")
    if trained == tested and tested != "folder":  # a recipe does not say which folder it was
        return {data.classes[class_id] for class_id in data.base(fold)}
    if (trained, tested) == ("pascal5i", "coco20i"):
        if recipe.get("shares") and fold is not None:
            return None  # kinds of `objects` too, of which a fold leaves out VOC's alone
        held_out = {PASCAL_CLASSES[i - 1] for i in (() if fold is None else novel_classes(fold))}
        return {PASCAL_IN_COCO.get(name, name) for name in set(PASCAL_CLASSES) - held_out}
    if (trained, tested, fold) == ("coco20i", "pascal5i", None):
        return set(data.classes.values())  # COCO has them all
    return None
