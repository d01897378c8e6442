"""A model on the folds of a benchmark: the episodes, their protocol cards, and the run itself.

A plan takes seconds and refuses settings that cannot be run, before hours of work begin.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path

from fcp.config import Fusion
from fcp.data.dataset import FewShotDataset
from fcp.data.episodes import (
    EpisodeSpec,
    Sampler,
    describe_sampler,
    episodes_hash,
    load_episodes,
    sample_episodes,
)
from fcp.data.lists import val_lists
from fcp.errors import FcpError
from fcp.evaluation.episode_counts import EpisodeDraw, EpisodeId, join
from fcp.evaluation.evaluate import EvaluationResult, episode_ids, evaluate_runs
from fcp.evaluation.method_predictor import MethodPredictor
from fcp.evaluation.predictor import FCPPredictor
from fcp.evaluation.report import FROM_FILE, ProtocolCard, make_card
from fcp.evaluation.seen import NOTHING_SEEN, UNKNOWN
from fcp.evaluation.tested import open_predictor
from fcp.features.cache import FeatureCache
from fcp.method.names import PREFIX, is_free
from fcp.models.free import choose_free
from fcp.models.loading import find_device, find_model
from fcp.system.files import sha256_of

Runs = Mapping[EpisodeDraw, tuple[EpisodeSpec, ...]]
FoldProgress = Callable[[int | None, int, int], None]  # (fold, done, all)


@dataclass(frozen=True)
class DrawnEpisodes:
    """Episodes drawn from a fold's test lists, one run a seed.

    Attributes:
        shots: K, supports of each query.
        episodes: Number of episodes a run.
        seeds: Seeds of the runs.
        sampler: Rule of drawing; see ``fcp.data.episodes``.
    """

    shots: int = 1
    episodes: int = 1000
    seeds: Sequence[int] = (0,)
    sampler: Sampler = "classic"

    def runs(self, data: FewShotDataset, fold: int | None) -> Runs:
        """Draw the episodes of one fold.

        Raises:
            FcpError: no such fold, or a class with too few pictures.
        """
        lists = val_lists(data, fold)
        draw = partial(
            sample_episodes,
            lists,
            shots=self.shots,
            episodes=self.episodes,
            sampler=self.sampler,
        )
        try:
            return {EpisodeDraw(fold, seed): draw(seed=seed) for seed in self.seeds}
        except FcpError as error:
            named = "all classes" if fold is None else f"fold {fold}"
            raise FcpError(f"{named}: {error}") from error

    def hash_of(self, episodes: tuple[EpisodeSpec, ...]) -> str:
        """Return the SHA-256 of the file that the episodes would have."""
        return episodes_hash(episodes)

    def describe(self, data: FewShotDataset, fold: int | None) -> str:
        """Return the drawing rule of a fold's episodes, in words for protocol cards."""
        return describe_sampler(val_lists(data, fold), self.sampler)


@dataclass(frozen=True)
class EpisodeFile:
    """Episodes of one fold that a file holds; see ``fcp.data.episodes.load_episodes``.

    Attributes:
        path: File to read.
        shots: K that every episode must have; None for that of the first one.
    """

    path: Path
    shots: int | None = None

    def runs(self, data: FewShotDataset, fold: int | None) -> Runs:
        """Read the episodes and check that they belong to the fold.

        Raises:
            FcpError: no such file, or an episode with a wrong number of supports, a class of
                another fold or a picture outside the test lists; the message names the entry.
        """
        specs = load_episodes(self.path, data)
        novel, pictures = set(data.novel(fold)), set(data.ids("val"))
        shots = self.shots or len(specs[0].supports)
        for index, spec in enumerate(specs):
            where = f"{self.path}: entry {index} (query {spec.query})"
            if spec.class_id not in novel:
                name = data.classes.get(spec.class_id, "unknown")
                tested = data.title if fold is None else f"fold {fold} of {data.title}"
                raise FcpError(
                    f"{where}: class {spec.class_id} ({name}) is none that {tested} tests; choose "
                    "the fold or benchmark that the file was made for"
                )
            if len(spec.supports) != shots:
                raise FcpError(f"{where}: {len(spec.supports)} supports, expected {shots}")
            for picture in {spec.query, *spec.supports} - pictures:
                raise FcpError(f"{where}: {picture} is no val picture of {data.title} here")
        return {EpisodeDraw(fold): specs}

    def hash_of(self, _: tuple[EpisodeSpec, ...]) -> str:
        """Return the SHA-256 of the file."""
        return sha256_of(self.path)

    def describe(self, _data: FewShotDataset, _fold: int | None) -> str:
        """Return the origin of the episodes, in words for protocol cards."""
        return FROM_FILE


@dataclass(frozen=True)
class FoldPlan:
    """One fold of an evaluation.

    Attributes:
        fold: Fold whose novel classes are tested; None where there are no folds.
        folder: Folder of the evaluated model, or name of a method without training.
        runs: Episodes by run.
        cards: Protocol card of each run.
    """

    fold: int | None
    folder: Path | str
    runs: Runs
    cards: Mapping[EpisodeDraw, ProtocolCard]


@dataclass(frozen=True)
class EvaluationPlan:
    """All conditions of a result, known before any episode is run.

    Attributes:
        data: Tested data set.
        folds: Folds in the order in which they are run.
        fusion: Rule by which K shots become one answer.
        device: Name of the device.
        stored: Whether the run takes features from a store, as the cards say.
    """

    data: FewShotDataset
    folds: tuple[FoldPlan, ...]
    fusion: Fusion
    device: str
    stored: bool = False

    @property
    def cards(self) -> dict[EpisodeDraw, ProtocolCard]:
        """Protocol card of each run, over all folds."""
        return {run: card for fold in self.folds for run, card in fold.cards.items()}

    @property
    def episode_ids(self) -> tuple[EpisodeId, ...]:
        """Names of all episodes in the order of the result's counts."""
        return tuple(one for fold in self.folds for one in episode_ids(self.data, fold.runs))

    @property
    def seen_in_training(self) -> dict[int | None, str]:
        """Tested classes that the model's training had, in words, by fold; only folds with any.

        The score of such a fold says nothing about classes that the model never saw.
        """
        known = {run.fold: card.seen_in_training for run, card in self.cards.items()}
        return {
            fold: seen
            for fold, seen in known.items()
            if not seen.startswith(NOTHING_SEEN) and seen != UNKNOWN
        }


_ONE_RUN = DrawnEpisodes()


def plan_folds(
    data: FewShotDataset,
    folds: Sequence[int | None],
    model: str | Path,
    *,
    episodes: DrawnEpisodes | EpisodeFile = _ONE_RUN,
    fusion: Fusion = "mean",
    device: str = "auto",
    stored: bool = False,
) -> EvaluationPlan:
    """Draw the episodes of some folds and fill in the protocol card of each run.

    Args:
        data: Data set, such as ``open_benchmark`` gives.
        folds: Folds to test, such as ``data.folds``; ``[None]`` where there are none.
        model: Shipped model, folder or hub id, or ``free:…``; ``{fold}`` in it stands for the fold.
        episodes: Episodes to run, of each fold.
        fusion: Rule by which K shots become one answer; the paper's by default. Methods beside FCP
            have their own.
        device: Device: "auto" (CUDA, then MPS, then CPU), or a name that torch knows.
        stored: Whether ``evaluate_folds`` is given a store, whose features are 16-bit.

    Raises:
        FcpError: no fold, an unknown fold or one given twice, several folds with one episode file,
            episodes that the data cannot give, a missing model, an unknown device, or another
            fusion for a method that has its own.
    """
    if not folds or len(set(folds)) < len(folds):
        raise FcpError(f"folds: expected different ones, at least one; got {[*folds]}")
    if None in folds and data.folds != (None,):
        known = ", ".join(map(str, data.folds))
        raise FcpError(f"folds: {data.title} has folds; name some of {known}")
    if isinstance(episodes, EpisodeFile) and len(folds) > 1:
        raise FcpError(f"{episodes.path}: holds the episodes of one fold; give a single fold")
    runs = {fold: episodes.runs(data, fold) for fold in folds}
    where = str(find_device(device))
    plans = []
    for fold, drawn in runs.items():
        folder = _of_fold(model, fold, where)
        card = partial(
            make_card, data, model_folder=folder, fusion=fusion, device=where, stored=stored
        )
        plans.append(FoldPlan(fold, folder, drawn, _cards(data, drawn, episodes, card)))
    return EvaluationPlan(data, tuple(plans), fusion, where, stored)


def _of_fold(model: str | Path, fold: int | None, device: str) -> str | Path:
    """Return the model of a fold: a folder, or the full name of a method without training.

    What plain ``free`` stands for depends on the free memory, so it is chosen once for the cards
    and the run.
    """
    if model == PREFIX:
        return str(choose_free(device)[0])
    named = model.replace("{fold}", str(fold)) if isinstance(model, str) else model
    return named if isinstance(named, str) and is_free(named) else find_model(named)


def _cards(
    data: FewShotDataset,
    runs: Runs,
    episodes: DrawnEpisodes | EpisodeFile,
    card: Callable[..., ProtocolCard],
) -> dict[EpisodeDraw, ProtocolCard]:
    return {
        run: card(
            run,
            shots=len(specs[0].supports),
            episode_sha256=episodes.hash_of(specs),
            sampler=episodes.describe(data, run.fold),
        )
        for run, specs in runs.items()
    }


def evaluate_folds(
    plan: EvaluationPlan,
    *,
    store: FeatureCache | None = None,
    progress: FoldProgress | None = None,
) -> EvaluationResult:
    """Run a plan, fold after fold.

    All runs of a fold are run together, and neighbouring folds with the same model share it, so
    that each picture is encoded once.

    Args:
        plan: Folds, episodes and models.
        store: Store on disk of the frozen encoders' features, which later evaluations share; only
            for a plan that was made with ``stored=True``.
        progress: Function that is called with (fold, done, all) as a fold begins, and after each
            episode.

    Returns:
        Pixel counts of all episodes; ``write_report`` takes it with ``plan.cards``.

    Raises:
        FcpError: an unknown device, a damaged model, a picture that cannot be read, or a store that
            the plan's cards do not tell of.
    """
    if (store is not None) != plan.stored:
        right = store is not None
        raise FcpError(f"store: the cards of the plan do not say so; plan_folds(stored={right})")
    parts: list[EvaluationResult] = []
    for folder, folds in groupby(plan.folds, key=lambda fold: fold.folder):
        predictor = open_predictor(folder, device=plan.device, store=store, fusion=plan.fusion)
        parts.extend(_run_fold(predictor, plan.data, fold, progress) for fold in folds)
    return EvaluationResult(
        join([part.counts for part in parts]), sum(part.seconds for part in parts)
    )


def _run_fold(
    predictor: FCPPredictor | MethodPredictor,
    data: FewShotDataset,
    plan: FoldPlan,
    progress: FoldProgress | None,
) -> EvaluationResult:
    if progress is not None:
        progress(plan.fold, 0, sum(map(len, plan.runs.values())))
    return evaluate_runs(
        predictor,
        data,
        plan.runs,
        image_size=predictor.image_size,
        progress=None if progress is None else partial(progress, plan.fold),
    )
