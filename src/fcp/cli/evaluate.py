"""``fcp evaluate``: score a model on a benchmark, with the protocol's card beside the numbers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import Progress, TaskID

from fcp.cli.options import (
    BenchmarkOption,
    DataRootOption,
    DeviceOption,
    FeatureCacheOption,
    FeatureCacheSizeOption,
    FusionOption,
    ModelOption,
    PoolOption,
    SamplerName,
    open_store,
    require_fold,
)
from fcp.cli.progress import progress_bar
from fcp.errors import FcpError

if TYPE_CHECKING:
    from collections.abc import Callable

    from fcp.config import Fusion
    from fcp.data.dataset import FewShotDataset
    from fcp.data.episodes import EpisodeSpec
    from fcp.encoders.cache import FeatureCache
    from fcp.evaluation.bootstrap import Comparison
    from fcp.evaluation.episode_counts import EpisodeCounts, Run
    from fcp.evaluation.evaluate import EvaluationResult
    from fcp.evaluation.predictor import FCPPredictor
    from fcp.evaluation.report import ProtocolCard

    Runs = dict[Run, tuple[EpisodeSpec, ...]]

EPISODES = 1000
CLASSIC: SamplerName = "classic"

FoldOption = Annotated[
    str | None,
    typer.Option(
        help="Whose novel classes are tested; several, or all, give the mean of these folds.",
        metavar="FOLD[,FOLD…]|all",
    ),
]
ShotsOption = Annotated[
    int | None,
    typer.Option(min=1, help="Examples of each episode; 1, or as in the file.", show_default=False),
]
EpisodesOption = Annotated[
    int | None, typer.Option(min=1, help=f"How many a run; {EPISODES}.", show_default=False)
]
SeedOption = Annotated[
    int | None,
    typer.Option(min=0, help="What the episodes are drawn with; 0.", show_default=False),
]
SeedsOption = Annotated[
    int | None,
    typer.Option(min=1, help="Runs, with the seeds from --seed on; 1.", show_default=False),
]
SamplerOption = Annotated[
    SamplerName | None,
    typer.Option(
        help="classic: the benchmark's own (default); hsnet: a class fixed for each row.",
        show_default=False,
    ),
]
EpisodesFileOption = Annotated[
    Path | None, typer.Option(help="Run exactly these episodes.", metavar="FILE.json")
]
ScoresOption = Annotated[
    Path | None, typer.Option(help="Write each episode's counts.", metavar="FILE.csv")
]
CompareOption = Annotated[
    Path | None,
    typer.Option(help="Another model's episode scores: report the difference.", metavar="FILE.csv"),
]


@dataclass(frozen=True)
class _Asked:
    """Which episodes are asked for, as the user said it; None where nothing was said."""

    shots: int | None
    episodes: int | None
    seed: int | None
    seeds: int | None
    sampler: SamplerName | None
    file: Path | None


def evaluate(
    *,
    data_root: DataRootOption,
    out: Annotated[Path, typer.Option(help="The report to write.", metavar="FILE.json")],
    fold: FoldOption = None,
    benchmark: BenchmarkOption = "pascal5i",
    shots: ShotsOption = None,
    model: ModelOption = "tiny",
    device: DeviceOption = "auto",
    fusion: FusionOption = "mean",
    episodes: EpisodesOption = None,
    seed: SeedOption = None,
    seeds: SeedsOption = None,
    sampler: SamplerOption = None,
    pool: PoolOption = None,
    episodes_file: EpisodesFileOption = None,
    save_episode_scores: ScoresOption = None,
    compare_with: CompareOption = None,
    feature_cache: FeatureCacheOption = None,
    feature_cache_gib: FeatureCacheSizeOption = 20.0,
) -> None:
    """Score a model on a benchmark.

    The report holds miou and its interval, fb_iou, class_iou, episodes and protocol, the card that
    says exactly what was tested; also the scores at the photos' own size and those of both pseudo
    masks. With several folds or seeds it has each run's too. {fold} in --model is the fold.

    \b
    Examples:
      fcp evaluate --data-root data --fold 1 --shots 1 --model runs/tiny --out fold1.json
      fcp evaluate --data-root data --fold all --seeds 3 --model 'runs/f{fold}' --out all.json
    """  # noqa: D301  (\b keeps the lines)
    from fcp.data.benchmarks import open_benchmark
    from fcp.evaluation.bootstrap import compare
    from fcp.evaluation.episode_counts import save_counts
    from fcp.evaluation.report import write_report

    _check_places(out, save_episode_scores)
    data = open_benchmark(benchmark, data_root, pool=pool)
    asked = _Asked(shots, episodes, seed, seeds, sampler, episodes_file)
    runs = {number: _draw(data, number, asked) for number in _parse_folds(data, fold, asked)}
    other = None if compare_with is None else _load_comparable(compare_with, data, runs)
    cards = _make_cards(data, runs, model, asked, fusion)
    _warn_of_seen(cards)  # before hours of work
    load = partial(_load_predictor, device, open_store(feature_cache, feature_cache_gib), fusion)
    result = _run(data, runs, model, load)
    if save_episode_scores is not None:
        save_counts(save_episode_scores, result.counts)
    comparison = None if other is None else compare(result.counts, other)
    write_report(out, result, cards, comparison)
    _say(result, cards, comparison, out)


def _check_places(*files: Path | None) -> None:
    """Find out before hours of work that a result could not be written."""
    for file in files:
        if file is None:
            continue
        if not file.parent.is_dir():
            raise FcpError(f"{file}: there is no folder {file.parent}; make it first")
        if file.is_dir():
            raise FcpError(f"{file}: is a folder; name a file in it")
        if not os.access(file.parent, os.W_OK):
            raise FcpError(f"{file}: {file.parent} cannot be written; choose another folder")


def _parse_folds(data: FewShotDataset, text: str | None, asked: _Asked) -> list[int | None]:
    """Read ``1``, ``0,1,2,3`` or ``all``; None is a benchmark without folds."""
    if text is None:
        return [None]
    try:
        named = data.folds if text == "all" else tuple(int(part) for part in text.split(","))
    except ValueError:
        expected = "a number, several as in 0,1,2,3, or all"
        raise FcpError(f"--fold: expected {expected}, got {text!r}") from None
    if len(set(named)) < len(named):
        raise FcpError(f"--fold: {text} names a fold twice")
    if asked.file is not None and len(named) > 1:
        raise FcpError("--episodes-file: holds the episodes of one fold; give a single --fold")
    return [*named]


def _draw(data: FewShotDataset, fold: int | None, asked: _Asked) -> Runs:
    """Draw or read the episodes of one fold: one run a seed, or the file's."""
    from fcp.data.episodes import sample_episodes
    from fcp.data.lists import val_lists
    from fcp.evaluation.episode_counts import Run

    require_fold(data, fold)
    if asked.file is not None:
        return {Run(fold): _read_episodes(data, fold, asked, asked.file)}
    lists, first = val_lists(data, fold), asked.seed or 0
    try:
        return {
            Run(fold, seed): sample_episodes(
                lists,
                shots=asked.shots or 1,
                episodes=asked.episodes or EPISODES,
                seed=seed,
                sampler=asked.sampler or CLASSIC,
            )
            for seed in range(first, first + (asked.seeds or 1))
        }
    except FcpError as error:
        raise FcpError(f"{'all classes' if fold is None else f'fold {fold}'}: {error}") from error


def _read_episodes(
    data: FewShotDataset, fold: int | None, asked: _Asked, file: Path
) -> tuple[EpisodeSpec, ...]:
    """Read an episode file and hold it against the fold and against what else was asked."""
    from fcp.data.episodes import load_episodes

    for option in ("episodes", "seed", "seeds", "sampler"):
        if getattr(asked, option) is not None:
            raise FcpError(f"--{option}: {file} says which episodes are run; leave it out")
    specs = load_episodes(file, data)
    novel, pictures = set(data.novel(fold)), set(data.ids("val"))
    shots = asked.shots or len(specs[0].supports)
    for index, spec in enumerate(specs):
        where = f"{file}: entry {index} (query {spec.query})"
        if spec.class_id not in novel:
            name = data.classes.get(spec.class_id, "unknown")
            raise FcpError(
                f"{where}: class {spec.class_id} ({name}) is none that fold {fold} of "
                f"{data.title} tests; choose the fold or benchmark that the file was made for"
            )
        if len(spec.supports) != shots:
            raise FcpError(f"{where}: {len(spec.supports)} supports, expected {shots}")
        for picture in {spec.query, *spec.supports} - pictures:
            raise FcpError(f"{where}: {picture} is no val picture of {data.title} here")
    return specs


def _load_comparable(
    file: Path, data: FewShotDataset, runs: Mapping[int | None, Runs]
) -> EpisodeCounts:
    """Read another model's counts; find out before hours of work that they do not compare."""
    from fcp.evaluation.bootstrap import check_same_episodes
    from fcp.evaluation.episode_counts import load_counts
    from fcp.evaluation.evaluate import episode_ids

    other = load_counts(file)
    ours = [episode for of_fold in runs.values() for episode in episode_ids(data, of_fold)]
    check_same_episodes(ours, other.ids)
    return other


def _make_cards(
    data: FewShotDataset,
    runs: Mapping[int | None, Runs],
    model: str,
    asked: _Asked,
    fusion: Fusion,
) -> dict[Run, ProtocolCard]:
    from fcp.data.episodes import describe_sampler, episodes_hash
    from fcp.data.lists import val_lists
    from fcp.evaluation.report import make_card
    from fcp.files import sha256_of
    from fcp.loading import find_model

    return {
        run: make_card(
            data,
            run,
            shots=len(specs[0].supports),
            episode_sha256=(episodes_hash(specs) if asked.file is None else sha256_of(asked.file)),
            model_folder=find_model(_of_fold(model, fold)),
            sampler=describe_sampler(val_lists(data, fold), asked.sampler or CLASSIC),
            fusion=fusion,
        )
        for fold, of_fold in runs.items()
        for run, specs in of_fold.items()
    }


def _run(
    data: FewShotDataset,
    runs: Mapping[int | None, Runs],
    model: str,
    load: Callable[[str], FCPPredictor],
) -> EvaluationResult:
    """Run fold after fold; all seeds of a fold together, so that each picture is encoded once."""
    from fcp.evaluation.episode_counts import join
    from fcp.evaluation.evaluate import EvaluationResult, evaluate_runs

    parts: list[EvaluationResult] = []
    loaded, predictor = "", None
    with progress_bar("episode") as bar:
        for fold, of_fold in runs.items():
            task = bar.add_task(
                "evaluating" if fold is None else f"fold {fold}",
                total=sum(len(specs) for specs in of_fold.values()),
            )
            if predictor is None or loaded != _of_fold(model, fold):
                loaded = _of_fold(model, fold)
                predictor = load(loaded)
            parts.append(
                evaluate_runs(
                    predictor,
                    data,
                    of_fold,
                    image_size=predictor.model.config.image_size,
                    progress=partial(_advance, bar, task),
                )
            )
    return EvaluationResult(
        join([part.counts for part in parts]), sum(part.seconds for part in parts)
    )


def _advance(bar: Progress, task: TaskID, done: int, _: int) -> None:
    bar.update(task, completed=done)


def _load_predictor(
    device: str, store: FeatureCache | None, fusion: Fusion, model: str
) -> FCPPredictor:
    from fcp.evaluation.predictor import FCPPredictor
    from fcp.frozen import open_encoders
    from fcp.segmenter import FewShotSegmenter

    loaded = FewShotSegmenter.from_pretrained(model, device=device).model
    return FCPPredictor(loaded, encoders=open_encoders(loaded, store), fusion=fusion)


def _of_fold(model: str, fold: int | None) -> str:
    return model.replace("{fold}", str(fold))


def _warn_of_seen(cards: Mapping[Run, ProtocolCard]) -> None:
    """Say loudly which tested classes the model's training had; nothing where it had none."""
    from fcp.evaluation.seen import NOTHING_SEEN, UNKNOWN

    for fold, seen in dict.fromkeys((run.fold, c.seen_in_training) for run, c in cards.items()):
        if seen not in (NOTHING_SEEN, UNKNOWN):
            tested = "" if fold is None else f" of fold {fold}"
            typer.secho("WARNING: ", fg="red", bold=True, nl=False, err=True)
            typer.echo(
                f"the model's training had what{tested} is tested here ({seen}): its score says "
                "nothing about classes that it never saw",
                err=True,
            )


def _say(
    result: EvaluationResult,
    cards: Mapping[Run, ProtocolCard],
    comparison: Comparison | None,
    out: Path,
) -> None:
    from fcp.evaluation.bootstrap import miou_interval

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
    _warn_of_seen(cards)  # again, beside the number that will be copied
