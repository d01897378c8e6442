"""Trainings of the experiments: each in a folder of its name, so that it can be resumed.

A folder holds the settings that it was made by; other settings are refused, not mixed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise, product
from pathlib import Path
from typing import Any

from fcp.checks import from_dict
from fcp.data.benchmarks import open_benchmark
from fcp.data.dataset import FewShotDataset
from fcp.data.episodes import EpisodeSpec, sample_episodes
from fcp.data.lists import ClassLists, val_lists
from fcp.engine.checkpoints import CHECKPOINT_FILE
from fcp.engine.method_recipe import BaseLearnerRecipe, FreeRecipe, MethodRecipe
from fcp.engine.recipe import (
    HeadRecipe,
    Recipe,
    SegmenterRecipe,
    differing_settings,
    flatten_settings,
    trains_nothing,
)
from fcp.engine.tracking import LOG_FILE, Report, read_log
from fcp.engine.train import train
from fcp.engine.train_base_learner import LEARNERS
from fcp.engine.train_segmenter import WEIGHTS
from fcp.errors import FcpError
from fcp.evaluation.run import DrawnEpisodes, EvaluationPlan, plan_folds
from fcp.models.files import BEST_FOLDER, CONFIG_FILE, RECIPE_FILE
from fcp.reproduce.plan import Experiment
from fcp.reproduce.recipes import (
    Workplace,
    learner_file,
    learner_of,
    learner_recipe,
    learner_settings,
    promptable_file,
    promptable_name,
    promptable_recipe,
    promptable_settings,
    recipe_file,
    recipe_of,
    settings_of_row,
    store_of,
)
from fcp.reproduce.settings import OF_BASE_LEARNER, OF_PROMPTABLE, PLACES, RowRecipe
from fcp.system.documents import load_json

EPISODE_SEED = 0


@dataclass(frozen=True)
class FoldTest:
    """Test of a fold's models.

    Attributes:
        data: Data set of the benchmark.
        fold: Fold whose novel classes are tested.
        lists: Test lists of the fold.
    """

    data: FewShotDataset
    fold: int
    lists: ClassLists

    def draw(self, shots: int, episodes: int) -> tuple[EpisodeSpec, ...]:
        """Draw episodes, the same for all rows; a smaller number gives the first of a larger one.

        Raises:
            FcpError: a class with too few pictures for so many shots.
        """
        return sample_episodes(self.lists, shots=shots, episodes=episodes, seed=EPISODE_SEED)

    def plan(
        self, model_folder: Path, *, shots: int, episodes: int, device: str, stored: bool
    ) -> EvaluationPlan:
        """Plan the run of a model on the episodes of ``draw``, with its protocol card.

        Raises:
            FcpError: a class with too few pictures, or a folder without weights.
        """
        asked = DrawnEpisodes(shots=shots, episodes=episodes, seeds=(EPISODE_SEED,))
        folds = [self.fold]
        return plan_folds(
            self.data, folds, model_folder, episodes=asked, device=device, stored=stored
        )


def chosen_of(folder: Path) -> Path:
    """Return the model of a run that its hold-out of base classes chose; else that of its end."""
    best = folder / BEST_FOLDER
    return best if (best / CONFIG_FILE).exists() else folder


def is_trained(experiment: Experiment, place: Workplace) -> bool:
    """Whether an experiment's training is finished."""
    return (run_folder(experiment, place) / CONFIG_FILE).exists()


def run_folder(experiment: Experiment, place: Workplace) -> Path:
    """Return the folder of an experiment's training."""
    return place.out / "runs" / experiment.name


def model_of(experiment: Experiment, place: Workplace, *, report: Report) -> Path:
    """Return the model folder of an experiment, made now if it is not there.

    Raises:
        FcpError: data or weights are missing, or the folder holds a run of other settings.
    """
    out = run_folder(experiment, place)
    recipe = recipe_of(experiment, place)
    refuse_other_run(out, recipe)
    for folder, stage in first_stages(experiment, recipe, place).values():
        refuse_other_run(folder, stage)
    if is_trained(experiment, place):  # its last file is there
        return out
    settings = settings_of_row(experiment, place)
    if isinstance(recipe, HeadRecipe | FreeRecipe) and recipe.segmenter_folder is not None:
        folder = promptable_stage(experiment, place, report=report)
        settings = (*settings, f"segmenter_folder={json.dumps(str(folder))}")
    if isinstance(recipe, MethodRecipe) and recipe.base_learner_recipe is not None:
        folder = base_learner(experiment, recipe, place, report=report)
        settings = (*settings, *_start_at(folder))
    if not trains_nothing(recipe):
        report(f"{experiment.name}: training")
    train(
        recipe_file(experiment, place),
        overrides=settings,
        data_root=place.data_root,
        out=out,
        resume=(out / CHECKPOINT_FILE).exists(),
        report=lambda line: report(f"  {line}"),
        store=store_of(recipe, place, learner_of(experiment, recipe, place)),
    )
    return out


def first_stages(
    experiment: Experiment, recipe: RowRecipe, place: Workplace
) -> dict[str, tuple[Path, SegmenterRecipe | BaseLearnerRecipe]]:
    """Return folder and recipe of each stage that is trained before a row, by its prefix.

    A promptable stage that was given is left out, since it is taken as it is.

    Raises:
        FcpError: no such recipe, or one of another stage.
    """
    stages: dict[str, tuple[Path, SegmenterRecipe | BaseLearnerRecipe]] = {}
    if isinstance(recipe, HeadRecipe | FreeRecipe) and recipe.segmenter_folder is not None:
        own = place.out / promptable_name(experiment)
        if find_promptable(experiment, place) in (None, own):
            stages[OF_PROMPTABLE] = own, promptable_recipe(experiment, place)
    if isinstance(recipe, MethodRecipe) and recipe.base_learner_recipe is not None:
        folder = learner_folder(experiment, recipe, place)
        stages[OF_BASE_LEARNER] = folder, learner_recipe(experiment, recipe, place)
    return stages


def promptable_stage(experiment: Experiment, place: Workplace, *, report: Report) -> Path:
    """Return the folder of a promptable stage that never saw the fold's novel classes.

    Folds 0 and 2 share one, and so do 1 and 3. A missing one is trained (an hour on two cores) by
    the recipe beside the head's, RECIPE-segmenter.

    Raises:
        FcpError: data or starting weights are missing.
    """
    found = find_promptable(experiment, place)
    if found is not None:
        return found
    name = promptable_name(experiment)
    report(f"{name}: training")
    out = place.out / name
    train(
        promptable_file(experiment, place),
        overrides=promptable_settings(experiment, place),
        data_root=place.data_root,
        out=out,
        resume=(out / CHECKPOINT_FILE).exists(),
        report=lambda line: report(f"  {line}"),
    )
    return out


def find_promptable(experiment: Experiment, place: Workplace) -> Path | None:
    """Return the folder of the promptable stage of an experiment's fold; None if it is missing."""
    folders = (p / promptable_name(experiment) for p in (place.promptable, place.out) if p)
    return next((folder for folder in folders if (folder / WEIGHTS).exists()), None)


def learner_folder(experiment: Experiment, recipe: MethodRecipe, place: Workplace) -> Path:
    """Return the folder of a method's base learner, which all methods and seeds of a fold share."""
    return place.out / LEARNERS / f"{recipe.base_learner_recipe}-fold{experiment.fold}"


def base_learner(
    experiment: Experiment, recipe: MethodRecipe, place: Workplace, *, report: Report
) -> Path:
    """Return the folder of the base learner of a method, trained now if it is not there.

    Raises:
        FcpError: data or weights are missing.
    """
    out = learner_folder(experiment, recipe, place)
    if not (out / CONFIG_FILE).exists():
        report(f"{out.name}: training")
        train(
            learner_file(recipe, place),
            overrides=learner_settings(experiment, recipe, place),
            data_root=place.data_root,
            out=out,
            resume=(out / CHECKPOINT_FILE).exists(),
            report=lambda line: report(f"  {line}"),
            store=store_of(learner_recipe(experiment, recipe, place), place),
        )
    return out


def _start_at(learner: Path) -> tuple[str, str]:
    """Return the settings by which a method starts from a base learner and the learner's weights.

    Those may have been elsewhere when the learner was trained.
    """
    weights = load_json(learner / RECIPE_FILE).get("backbone_weights")
    return f"base_learner={json.dumps(str(learner))}", f"backbone_weights={json.dumps(weights)}"


def refuse_other_run(out: Path, recipe: Recipe) -> None:
    """Check that a folder holds no run, or one of the same settings.

    Raises:
        FcpError: it holds one of others.
    """
    if any((out / name).exists() for name in (RECIPE_FILE, CONFIG_FILE)):
        refuse_other_settings(out, load_json(out / RECIPE_FILE), recipe)


def training_minutes(folder: Path) -> float | None:
    """Sum the time of a run's steps, from its log, over all resumptions; None without a log."""
    file = folder / LOG_FILE
    if not file.exists():
        return None
    rows = read_log(file)
    steps = pairwise([0, *(int(row["step"]) for row in rows)])
    seconds = [float(row["seconds_per_step"]) for row in rows]
    return sum((end - start) * s for (start, end), s in zip(steps, seconds, strict=True)) / 60


def open_test(experiment: Experiment, place: Workplace) -> FoldTest:
    """Open the data and lists that an experiment is tested on.

    Raises:
        FcpError: data are missing or cannot be read.
    """
    data = open_benchmark(experiment.setting.benchmark, place.data_root)
    return FoldTest(data, experiment.fold, val_lists(data, experiment.fold))


def refuse_other_settings(
    place: Path | str, before: Mapping[str, Any], now: Recipe, prefix: str = "recipe."
) -> None:
    """Check that an earlier result was made with the wanted settings.

    Args:
        place: Place of the result, for the error.
        before: Settings that it was made with. Those that recipes did not have then count as their
            defaults.
        now: Recipe to make it with.
        prefix: Text before a setting's name, in the error.

    Raises:
        FcpError: it was not; the message names the first differing setting.
    """
    filled = asdict(from_dict(type(now), dict(before), f"{place}: recipe"))
    then, wanted = (settings_of(values) for values in (filled, asdict(now)))
    old, new = (flatten_settings(values, prefix) for values in (then, wanted))
    differing = differing_settings(old, new)
    if differing:
        raise FcpError(
            f"{place}: was made with another {differing[0]}; choose another --out, or delete it to "
            "make it anew"
        )


def settings_of(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe's values as JSON has them, without the places that weights come from."""
    values: dict[str, Any] = json.loads(json.dumps(recipe))
    for name in PLACES:
        values.pop(name, None)
    for whole, part in product(("model", "encoders"), ("backbone", "segmenter")):
        values.get(whole, {}).get(part, {}).pop("weights", None)
    return values
