"""``fcp evaluate``: score a model on a benchmark, with the protocol card of the numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import TaskID

from fcp.cli.options import (
    DEFAULT_MODEL,
    BenchmarkOption,
    DataRootOption,
    DeviceOption,
    FeatureCacheOption,
    FeatureCacheSizeOption,
    FusionOption,
    ModelOption,
    SamplerName,
    open_store,
    refuse_idle_size,
    refuse_overwriting,
    require_fold,
    settle_model,
)
from fcp.cli.progress import progress_bar
from fcp.errors import FcpError
from fcp.system.files import require_place

if TYPE_CHECKING:
    from fcp.data.dataset import FewShotDataset
    from fcp.evaluation.episode_counts import EpisodeCounts
    from fcp.evaluation.evaluate import EvaluationResult
    from fcp.evaluation.run import DrawnEpisodes, EpisodeFile, EvaluationPlan, FoldProgress

EPISODES = 1000

FoldOption = Annotated[
    str | None,
    typer.Option(
        help="Fold whose novel classes are tested; several folds, or all, give their mean.",
        metavar="FOLD[,FOLD…]|all",
    ),
]
ShotsOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Examples of each episode. Default: 1, or as in --episodes-file.",
        show_default=False,
    ),
]
EpisodesOption = Annotated[
    int | None,
    typer.Option(
        min=1, help=f"Number of episodes in a run. Default: {EPISODES}.", show_default=False
    ),
]
SeedOption = Annotated[
    int | None,
    typer.Option(min=0, help="Seed for drawing the episodes. Default: 0.", show_default=False),
]
SeedsOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Number of runs, with consecutive seeds from --seed. Default: 1.",
        show_default=False,
    ),
]
SamplerOption = Annotated[
    SamplerName | None,
    typer.Option(
        help="classic: the benchmark's own rule (default); hsnet: a fixed class for each row.",
        show_default=False,
    ),
]
EpisodesFileOption = Annotated[
    Path | None, typer.Option(help="Run exactly these episodes.", metavar="FILE.json")
]
ScoresOption = Annotated[
    Path | None, typer.Option(help="Write the pixel counts of each episode.", metavar="FILE.csv")
]
CompareOption = Annotated[
    Path | None,
    typer.Option(
        help="Episode scores of another model; report the difference.", metavar="FILE.csv"
    ),
]


def evaluate(
    *,
    data_root: DataRootOption,
    out: Annotated[Path, typer.Option(help="Report to write.", metavar="FILE.json")],
    fold: FoldOption = None,
    benchmark: BenchmarkOption = "pascal5i",
    shots: ShotsOption = None,
    model: ModelOption = DEFAULT_MODEL,
    device: DeviceOption = "auto",
    fusion: FusionOption = "mean",
    episodes: EpisodesOption = None,
    seed: SeedOption = None,
    seeds: SeedsOption = None,
    sampler: SamplerOption = None,
    episodes_file: EpisodesFileOption = None,
    save_episode_scores: ScoresOption = None,
    compare_with: CompareOption = None,
    feature_cache: FeatureCacheOption = None,
    feature_cache_gib: FeatureCacheSizeOption = None,
) -> None:
    """Score a model on a benchmark.

    The report holds miou and its interval, fb_iou, class_iou, episodes and protocol, the card of
    what was tested; also the scores at the photos' own size and those of both pseudo masks. With
    several folds or seeds it also has the scores of each run. {fold} in --model is the fold. The
    model is FCP, a compared method that was trained or imported, or free:METHOD.

    \b
    Examples:
      fcp evaluate --data-root data --fold 1 --shots 1 --model runs/tiny --out fold1.json
      fcp evaluate --data-root data --fold all --seeds 3 --model 'runs/f{fold}' --out all.json
    """  # noqa: D301  (\b keeps the lines)
    refuse_idle_size(feature_cache, feature_cache_gib)
    _check_places((out, save_episode_scores), (episodes_file, compare_with))
    data, folds = _open_data(benchmark, data_root, fold)
    # Imported here: a wrong folder or fold is told before the models' libraries are loaded.
    from fcp.evaluation.run import evaluate_folds, plan_folds
    from fcp.system.threads import lower_threads

    model = settle_model(model, device)
    asked = _parse_episodes(episodes_file, shots, episodes, seed, seeds, sampler)
    how: dict[str, Any] = {"fusion": fusion, "device": device, "stored": feature_cache is not None}
    plan = plan_folds(data, folds, model, episodes=asked, **how)
    other = None if compare_with is None else _load_comparable(compare_with, plan)
    _warn_of_training_classes(plan)  # before hours of work
    store = open_store(feature_cache, feature_cache_gib)
    lower_threads()
    with _progress() as progress:
        result = evaluate_folds(plan, store=store, progress=progress)
    _save_scores(result, save_episode_scores)
    _report(result, plan, other, out)


def _check_places(outputs: Sequence[Path | None], inputs: Sequence[Path | None]) -> None:
    """Check before hours of work that the files can be written, and that none is lost by it."""
    refuse_overwriting(outputs, inputs)
    for file in filter(None, outputs):
        require_place(file)


def _open_data(
    benchmark: str, data_root: Path, fold: str | None
) -> tuple[FewShotDataset, list[int | None]]:
    """Open the benchmark, and parse the folds that are asked for."""
    from fcp.data.benchmarks import open_benchmark

    data = open_benchmark(benchmark, data_root)
    return data, _parse_folds(data, fold)


def _parse_folds(data: FewShotDataset, text: str | None) -> list[int | None]:
    """Parse ``1``, ``0,1,2,3`` or ``all``; the fold is None for a benchmark without folds.

    Raises:
        FcpError: the text is none of these, a fold comes twice, or the benchmark needs a fold.
    """
    if text is None:
        require_fold(data, None)
        return [None]
    try:
        named = data.folds if text == "all" else tuple(int(part) for part in text.split(","))
    except ValueError:
        expected = "a number, several as in 0,1,2,3, or all"
        raise FcpError(f"--fold: expected {expected}, got {text!r}") from None
    unknown = [one for one in named if one not in data.folds]
    if unknown and data.folds != (None,):
        known = ", ".join(map(str, data.folds))
        raise FcpError(f"--fold: {data.title} has the folds {known}, not {unknown[0]}")
    if len(set(named)) < len(named):
        raise FcpError(f"--fold: {text} names a fold twice")
    return [*named]


def _parse_episodes(
    file: Path | None,
    shots: int | None,
    episodes: int | None,
    seed: int | None,
    seeds: int | None,
    sampler: SamplerName | None,
) -> DrawnEpisodes | EpisodeFile:
    """Return the requested episodes: a random draw or an episode file.

    Raises:
        FcpError: a file is given together with an option of random draws.
    """
    from fcp.evaluation.run import DrawnEpisodes, EpisodeFile

    if file is None:
        drawn_with = range(seed or 0, (seed or 0) + (seeds or 1))
        return DrawnEpisodes(shots or 1, episodes or EPISODES, drawn_with, sampler or "classic")
    drawn = {"episodes": episodes, "seed": seed, "seeds": seeds, "sampler": sampler}
    for option, value in drawn.items():
        if value is not None:
            raise FcpError(f"--{option}: {file} already defines the episodes; leave it out")
    return EpisodeFile(file, shots)


def _load_comparable(file: Path, plan: EvaluationPlan) -> EpisodeCounts:
    """Read another model's counts, and refuse those of other episodes before the long run."""
    from fcp.evaluation.bootstrap import check_same_episodes
    from fcp.evaluation.episode_counts import load_counts

    other = load_counts(file)
    check_same_episodes(plan.episode_ids, other.ids)
    return other


@contextmanager
def _progress() -> Iterator[FoldProgress]:
    """Show a bar for each fold."""
    shown: dict[int | None, TaskID] = {}
    with progress_bar("episode") as bar:

        def show(fold: int | None, done: int, total: int) -> None:
            if fold not in shown:
                named = "evaluating" if fold is None else f"fold {fold}"
                shown[fold] = bar.add_task(named, total=total)
            bar.update(shown[fold], completed=done)

        yield show


def _warn_of_training_classes(plan: EvaluationPlan) -> None:
    """Warn of tested classes that were in the model's training."""
    for fold, trained in plan.seen_in_training.items():
        tested = "" if fold is None else f" of fold {fold}"
        typer.secho("WARNING: ", fg="red", bold=True, nl=False, err=True)
        typer.echo(
            f"the model was trained on tested classes{tested} ({trained}): its score does not "
            "measure novel classes",
            err=True,
        )


def _save_scores(result: EvaluationResult, file: Path | None) -> None:
    from fcp.evaluation.episode_counts import save_counts

    if file is not None:
        save_counts(file, result.counts)


def _report(
    result: EvaluationResult, plan: EvaluationPlan, other: EpisodeCounts | None, out: Path
) -> None:
    """Write the report, and print its main numbers."""
    from fcp.evaluation.bootstrap import compare, miou_interval
    from fcp.evaluation.report import write_report

    comparison = None if other is None else compare(result.counts, other)
    write_report(out, result, plan.cards, comparison)
    low, high = miou_interval(result.counts)
    typer.echo(
        f"mIoU {100 * result.square.miou:.1f} ({100 * low:.1f} … {100 * high:.1f}), "
        f"FB-IoU {100 * result.square.fb_iou:.1f}: {out}"
    )
    if comparison is not None:
        low, high = comparison.miou_difference_interval
        typer.echo(
            f"mIoU {100 * comparison.miou_difference:+.1f} ({100 * low:+.1f} … {100 * high:+.1f}) "
            "against the other model"
        )
    _warn_of_training_classes(plan)  # again, beside the number that will be copied
