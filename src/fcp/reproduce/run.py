"""Trainings of the experiments: each in a folder of its name, so that it can be resumed.

A folder holds the settings that it was made by; other settings are refused, not mixed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from fcp.data.benchmarks import open_benchmark
from fcp.data.dataset import FewShotDataset
from fcp.data.episodes import EpisodeSpec, sample_episodes
from fcp.data.lists import ClassLists, val_lists
from fcp.documents import load_json
from fcp.engine.checkpoints import CHECKPOINT_FILE
from fcp.engine.recipe import HeadRecipe, flatten_settings, load_recipe
from fcp.engine.tracking import LOG_FILE, Report, read_log
from fcp.engine.train import train
from fcp.engine.train_segmenter import WEIGHTS
from fcp.errors import FcpError
from fcp.evaluation.run import DrawnEpisodes, EvaluationPlan, plan_folds
from fcp.features.cache import FeatureCache
from fcp.models.files import CONFIG_FILE, RECIPE_FILE
from fcp.reproduce.plan import ROWS, Experiment

EPISODE_SEED = 0
# Places that weights come from; an experiment does not depend on them.
_PLACES = ("backbone_weights", "segmenter_folder")
_OF_PROMPTABLE = "promptable."


@dataclass(frozen=True)
class Workplace:
    """Folders and settings of a reproduction.

    Attributes:
        data_root: Folder of the data sets.
        out: Folder that ``results/`` and ``runs/`` are written to.
        recipes: Folder of the recipes.
        promptable: Folder of trained promptable stages (``tiny-promptable-02``, ``-13``); None to
            train the missing ones, in ``out``.
        settings: Settings ``key=value`` for every head's recipe, such as places of weights;
            ``promptable.key=value`` for the recipe of the promptable stages.
        episodes: Number of episodes of each evaluation.
        cache_bytes: Space allowed for stored features, bytes.
        device: Device that evaluations run on.
    """

    data_root: Path
    out: Path
    recipes: Path
    promptable: Path | None = None
    settings: tuple[str, ...] = ()
    episodes: int = 1000
    cache_bytes: int = 20 << 30
    device: str = "cpu"

    @cached_property
    def store(self) -> FeatureCache:
        """Store of the features that all experiments share."""
        return FeatureCache(self.out / "features", self.cache_bytes)


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

    def plan(self, model_folder: Path, *, shots: int, episodes: int) -> EvaluationPlan:
        """Plan the run of a model on the episodes of ``draw``, with its protocol card.

        Raises:
            FcpError: a class with too few pictures, or a folder without weights.
        """
        asked = DrawnEpisodes(shots=shots, episodes=episodes, seeds=(EPISODE_SEED,))
        return plan_folds(self.data, [self.fold], model_folder, episodes=asked)


def recipe_of(experiment: Experiment, place: Workplace) -> HeadRecipe:
    """Return the recipe of an experiment with its row's settings.

    Raises:
        FcpError: a bad setting.
    """
    file = _recipe_file(experiment, place)
    recipe = load_recipe(file, _overrides(experiment, place))
    if not isinstance(recipe, HeadRecipe):
        raise FcpError(f"{file}: expected the recipe of a head")
    return recipe


def model_of(experiment: Experiment, place: Workplace, *, report: Report) -> Path:
    """Return the model folder of an experiment, trained now if it is not there.

    Raises:
        FcpError: data or weights are missing, or the folder holds a run of other settings.
    """
    out = place.out / "runs" / experiment.name
    settings = _overrides(experiment, place)
    recipe = recipe_of(experiment, place)
    if any((out / name).exists() for name in (RECIPE_FILE, CONFIG_FILE)):
        before = load_json(out / RECIPE_FILE)
        refuse_other_settings(out, settings_of(before), settings_of(asdict(recipe)))
    if (out / CONFIG_FILE).exists():  # the last file that training writes
        return out
    if recipe.segmenter_folder is not None:
        folder = promptable_stage(experiment, place, report=report)
        settings = (*settings, f"segmenter_folder={json.dumps(str(folder))}")
    report(f"{experiment.name}: training")
    train(
        _recipe_file(experiment, place),
        overrides=settings,
        data_root=place.data_root,
        out=out,
        resume=(out / CHECKPOINT_FILE).exists(),
        report=lambda line: report(f"  {line}"),
        store=place.store,
    )
    return out


def promptable_stage(experiment: Experiment, place: Workplace, *, report: Report) -> Path:
    """Return the folder of a promptable stage that never saw the fold's novel classes.

    Folds 0 and 2 share one, and so do 1 and 3. A missing one is trained (an hour on two cores) by
    the recipe beside the head's, RECIPE-segmenter.

    Raises:
        FcpError: data or starting weights are missing.
    """
    excluded = (experiment.fold % 2, experiment.fold % 2 + 2)
    name = f"tiny-promptable-{excluded[0]}{excluded[1]}"
    for parent in (place.promptable, place.out):
        if parent is not None and (parent / name / WEIGHTS).exists():
            return parent / name
    given = (s for s in place.settings if s.startswith(_OF_PROMPTABLE))
    settings = (setting.removeprefix(_OF_PROMPTABLE) for setting in given)
    report(f"{name}: training")
    out = place.out / name
    train(
        place.recipes / f"{experiment.setting.recipe}-segmenter.yaml",
        overrides=(*settings, f"exclude_folds={list(excluded)}"),
        data_root=place.data_root,
        out=out,
        resume=(out / CHECKPOINT_FILE).exists(),
        report=lambda line: report(f"  {line}"),
    )
    return out


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


def _overrides(experiment: Experiment, place: Workplace) -> tuple[str, ...]:
    given = (s for s in place.settings if not s.startswith(_OF_PROMPTABLE))
    own = (f"fold={experiment.fold}", f"seed={experiment.seed}")
    return (*given, *ROWS[experiment.row], *own)


def _recipe_file(experiment: Experiment, place: Workplace) -> Path:
    return place.recipes / f"{experiment.setting.recipe}.yaml"


def refuse_other_settings(
    place: Path | str, before: Mapping[str, Any], now: Mapping[str, Any]
) -> None:
    """Check that an earlier result was made with the wanted settings.

    Raises:
        FcpError: it was not; the message names the first differing setting.
    """
    old, new = (flatten_settings(values, "recipe.") for values in (before, now))
    differing = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
    if differing:
        raise FcpError(
            f"{place}: was made with another {differing[0]}; choose another --out, or delete it to "
            "make it anew"
        )


def settings_of(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe's values as JSON has them, without the places that weights come from."""
    values = json.loads(json.dumps(recipe))
    for name in _PLACES:
        values.pop(name, None)
    for part in ("backbone", "segmenter"):
        values["model"][part].pop("weights", None)
    return values
