"""``fcp reproduce --dry-run``: what a table would start, what is done, and what the rest costs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace

from fcp.data.benchmarks import open_benchmark
from fcp.data.lists import train_lists
from fcp.engine.dry_run import Cost, cost_of
from fcp.engine.dry_run_stored import stored_cost
from fcp.engine.method_recipe import BaseLearnerRecipe, FreeRecipe, MethodRecipe
from fcp.engine.recipe import HeadRecipe, SegmenterRecipe, TrainingRecipe, trains_nothing
from fcp.engine.tracking import Report
from fcp.errors import FcpError
from fcp.models.files import CONFIG_FILE
from fcp.reproduce.foresee_evaluations import Missing, report_evaluations
from fcp.reproduce.plan import Experiment
from fcp.reproduce.recipes import (
    Workplace,
    has_stored_features,
    learner_of,
    promptable_name,
    promptable_recipe,
    recipe_of,
)
from fcp.reproduce.results import missing_shots
from fcp.reproduce.run import (
    find_promptable,
    is_trained,
    learner_folder,
    refuse_other_run,
    run_folder,
    settings_of,
)
from fcp.system.words import counted

# What a step does not cost more or less for.
_NO_COST = ("fold", "seed", "benchmark", "unfiltered", "draw", "holdout_every", "exclude_folds")
_STEPS = 6  # measured where a recipe's own number follows from data that are not here
_NO_COST_OPTIM = ("iterations", "epochs", "learning_rate", "warmup", "checkpoint_every")


@dataclass(frozen=True)
class Work:
    """Trainings of a cell, or of a stage that cells start from.

    Attributes:
        name: Name of the cell or stage.
        recipes: Recipes of the trainings that are left.
        trainings: Number of all its trainings.
        left: Number of evaluations that are left.
        evaluations: Number of all its evaluations.
        stored: Whether the trainings take features from the store.
    """

    name: str
    recipes: tuple[TrainingRecipe, ...]
    trainings: int
    left: int = 0
    evaluations: int = 0
    stored: bool = False


@dataclass(frozen=True)
class Kind:
    """Measured cost of trainings that differ in fold, seed, benchmark or length alone.

    Attributes:
        cost: Cost of a step, and its memory.
        encoding: Duration of encoding an episode's pictures, s, once for each; 0 where each step
            encodes them anew.
    """

    cost: Cost
    encoding: float = 0.0

    @property
    def memory(self) -> int:
        """Memory of parameters, gradients, moments and activations, bytes."""
        cost = self.cost
        held = cost.parameter_bytes + cost.gradient_bytes + cost.optimizer_bytes
        return held + cost.activation_bytes


def foresee(wanted: Sequence[Experiment], place: Workplace, *, report: Report) -> None:
    """Report what would be started, what is done, and memory and time of the rest; write nothing.

    Each kind of training is measured once, on this machine, and so are the episodes of each cell.

    Args:
        wanted: Experiments of the target.
        place: Folders and settings of the reproduction.
        report: Function that takes each line of output.

    Raises:
        FcpError: an earlier result or run of other settings, or a bad recipe.
    """
    missing = missing_shots(wanted, place)
    works = [*_stages(missing, place), *_cells(missing, place)]
    for work in works:
        report(_count(work))
    trainings = sum(len(work.recipes) for work in works)
    report(
        f"{counted(trainings, 'training')} and "
        f"{counted(sum(work.left for work in works), 'evaluation')} of "
        f"{counted(place.episodes, 'episode')} to do"
    )
    if any(missing.values()):
        report_evaluations(missing, place, report)
    if trainings:
        _report_costs(works, place, report)


def _cells(left: Missing, place: Workplace) -> list[Work]:
    by_cell: dict[str, list[Experiment]] = {}
    for experiment in left:
        by_cell.setdefault(experiment.cell, []).append(experiment)
    works = []
    for cell, members in by_cell.items():
        shots = [left[experiment] for experiment in members]
        recipes = [recipe_of(experiment, place) for experiment in members]
        untrained: list[TrainingRecipe] = []
        for experiment, missing, recipe in zip(members, shots, recipes, strict=True):
            refuse_other_run(run_folder(experiment, place), recipe)
            if isinstance(recipe, FreeRecipe) or trains_nothing(recipe):
                continue
            if missing and not is_trained(experiment, place):
                untrained.append(recipe)
        count, every = sum(map(len, shots)), sum(len(one.shots) for one in members)
        stored = has_stored_features(recipes[0], learner_of(members[0], recipes[0], place))
        works.append(Work(cell, tuple(untrained), len(members), count, every, stored))
    return works


def _stages(missing: Missing, place: Workplace) -> list[Work]:
    """List the promptable stages and base learners that trainings which are left start from."""
    left: dict[str, TrainingRecipe | None] = {}
    for experiment, shots in missing.items():
        if not shots or is_trained(experiment, place):
            continue
        recipe = recipe_of(experiment, place)
        if isinstance(recipe, HeadRecipe | FreeRecipe) and recipe.segmenter_folder is not None:
            found = find_promptable(experiment, place) is not None
            own = None if found else promptable_recipe(experiment, place)
            left[promptable_name(experiment)] = own
        learner = learner_of(experiment, recipe, place)
        if isinstance(recipe, MethodRecipe) and learner is not None:
            folder = learner_folder(experiment, recipe, place)
            left[folder.name] = None if (folder / CONFIG_FILE).exists() else learner
    return [_stage(name, own) for name, own in left.items()]


def _stage(name: str, own: TrainingRecipe | None) -> Work:
    stored = isinstance(own, BaseLearnerRecipe) and has_stored_features(own)
    return Work(name, () if own is None else (own,), 1, stored=stored)


def _count(work: Work) -> str:
    done = work.trainings - len(work.recipes)
    line = f"{work.name}: {counted(len(work.recipes), 'training')} to do, {done} done or not needed"
    if work.evaluations:
        line += f"; {counted(work.left, 'evaluation')} to do, {work.evaluations - work.left} done"
    return line


def _report_costs(works: Iterable[Work], place: Workplace, report: Report) -> None:
    kinds: dict[str, Kind] = {}
    total, unknown = 0.0, 0
    for work in works:
        if not work.recipes:
            continue
        first = work.recipes[0]
        key = kind_of(first)
        if key not in kinds:
            report(f"{work.name}: measuring a few steps")
            kinds[key] = _measured(work, place, lambda line: report(f"  {line}"))
        kind, count = kinds[key], len(work.recipes)
        seconds = _seconds(kind, work.recipes, place)
        total, unknown = total + (seconds or 0), unknown + (count if seconds is None else 0)
        hours = "unknown time without its data" if seconds is None else _hours(seconds)
        report(
            f"{work.name}: {hours} for {counted(count, 'training')}, "
            f"{kind.cost.seconds:.2f} s a step, memory {kind.memory / 2**30:.1f} GiB"
        )
    device = next(iter(kinds.values())).cost.device
    rest = f" beside {counted(unknown, 'training')} of unknown time" if unknown else ""
    report(f"{_hours(total)} of trainings in all{rest}, measured on {device}, one after the other")
    if device != "cuda":
        report("hours on a GPU are unknown until --dry-run is run on one")


def _seconds(kind: Kind, recipes: Sequence[TrainingRecipe], place: Workplace) -> float | None:
    """Return the duration of trainings of a kind, s; None where it follows from missing data.

    Each picture is encoded once for all of them, where features are stored.
    """
    pictures = [_pictures(recipe, place) for recipe in recipes]
    if None in pictures and (recipes[0].optim.iterations is None or kind.encoding):
        return None
    known = [number or 0 for number in pictures]
    steps = [r.optim.steps(number) for r, number in zip(recipes, known, strict=True)]
    return sum(steps) * kind.cost.seconds + max(known) * kind.encoding


def _pictures(recipe: TrainingRecipe, place: Workplace) -> int | None:
    """Count the listed training pictures of a recipe, an epoch; None without its data."""
    if isinstance(recipe, SegmenterRecipe):
        return None
    try:
        data = open_benchmark(recipe.benchmark, place.data_root)
    except FcpError:
        return None
    return len(train_lists(data, recipe.fold, filtered=not recipe.unfiltered).rows)


def kind_of(recipe: TrainingRecipe) -> str:
    """Return what the cost of a step of a recipe depends on, as text."""
    values = settings_of(asdict(recipe))
    for name in _NO_COST:
        values.pop(name, None)
    for name in _NO_COST_OPTIM:
        values["optim"].pop(name, None)
    return repr(values)


def _measured(work: Work, place: Workplace, report: Report) -> Kind:
    recipe, root = work.recipes[0], place.data_root
    if isinstance(recipe, SegmenterRecipe):
        return Kind(cost_of(recipe, root, report))
    if _pictures(recipe, place) is None:
        optim = replace(recipe.optim, epochs=None, iterations=_STEPS)
        return Kind(cost_of(replace(recipe, optim=optim), root, report))
    if work.stored:
        found = stored_cost(recipe, root, report)
        return Kind(found.cost, found.encoding)
    return Kind(cost_of(recipe, root, report))


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h"
