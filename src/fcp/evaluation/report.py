"""A result as JSON, always with its protocol card, which states exactly how it was measured."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from fcp.config import Fusion
from fcp.data.dataset import FewShotDataset
from fcp.data.lists import val_lists, write_lists
from fcp.evaluation.bootstrap import CONFIDENCE, RESAMPLES, Comparison, miou_interval
from fcp.evaluation.episode_counts import MASK, ORIGINAL, EpisodeCounts, EpisodeDraw
from fcp.evaluation.evaluate import COMPARISON_SIZE, THRESHOLD, EvaluationResult
from fcp.evaluation.identity import NO_CONFIG, NO_LOCAL, OWN_SIZE, identify, local_encoders
from fcp.evaluation.seen import (
    NOTHING_SEEN,
    UNKNOWN,
    learner_is_unfiltered,
    learner_is_unknown,
    read_recipe,
    seen_in_training,
)
from fcp.evaluation.tested import (
    NO_SWITCH,
    PRECISION,
    describe_model,
    libraries,
    precision_of,
)
from fcp.method.fusion import RULES
from fcp.models.files import WEIGHTS_FILE
from fcp.models.free import read_free
from fcp.models.settings import FREE_FORMAT, format_of
from fcp.system.files import sha256_of, write_atomically

FROM_FILE = "as the episode file has them"
NOT_TRAINED = "none: published encoders, no training"
NO_LISTS = "none: encoders of another training, no training of the method"
ENCODERS_ELSEWHERE = "none: encoders of unknown training by their places, no training of the method"


@dataclass(frozen=True)
class ProtocolCard:
    """Conditions that a number depends on; docs/protocol.md gives the reason for each line.

    Attributes:
        data_set: Title of the data set.
        pool: Name of the list of training pictures that the data root has.
        fold: Fold whose novel classes are tested; None where there are no folds.
        shots: Number of supports of each query K.
        seed: Seed that the episodes were drawn with; None where they come from a file.
        episode_sha256: Hash of the episodes' file.
        list_sha256: Hash of the test list that ``fcp data lists --split val`` writes.
        checkpoint_sha256: Hash of the model's weights file.
        list_rule: Rule by which pictures are listed for the test.
        sampler: Rule by which the episodes were drawn from the list.
        training_lists: Training lists of the model, not of the test: "filtered, fold 1 of
            pascal5i", "all classes of pascal5i", or "unknown" where the model's folder has no
            recipe.
        seen_in_training: Tested classes that the model's training had, as ``seen.seen_in_training``
            words them.
        code_version: Package version and hash of its source.
        config_sha256: Hash of the settings file of the model's folder.
        image_size: Side of the square pictures that the model takes, px.
        encoders_sha256: Hash of each encoder that the model reads from another folder or file.
        method: Name of the method.
        options: Options of a method beside FCP, as JSON.
        released: Whether a compared method does by accident what its authors' program does: "yes",
            "no", or "does not apply".
        device: Device that the model ran on.
        precision: Precision of the forward pass, and of features that a store keeps.
        libraries: Versions of the libraries that numbers depend on.
    """

    data_set: str
    pool: str
    fold: int | None
    shots: int
    seed: int | None
    episode_sha256: str
    checkpoint_sha256: str
    list_rule: str
    sampler: str
    training_lists: str
    seen_in_training: str
    code_version: str
    list_sha256: str = FROM_FILE
    config_sha256: str = NO_CONFIG
    image_size: int | str = OWN_SIZE
    encoders_sha256: str = NO_LOCAL
    method: str = "fcp"
    options: str = "{}"
    released: str = NO_SWITCH
    device: str = "cpu"
    precision: str = PRECISION
    libraries: str = field(default_factory=libraries)
    split: str = "val"
    resolution: str = (
        f"square{COMPARISON_SIZE}: prediction and nearest-resized mask squashed; "
        "resolution_original: prediction resized to the photo"
    )
    ignore_rule: str = (
        "label 255 left out of the query's count, background in a support (SSP: left out too)"
    )
    fusion_rule: str = f"{RULES['mean']}, foreground at probability >= {THRESHOLD}"
    metric: str = "sum of intersections / sum of unions for each class, mean over classes"
    interval: str = (
        f"percentile {CONFIDENCE:.0%} of {RESAMPLES} resamples of the episodes, with replacement "
        "within each run: the chance of the episodes, not of training nor of the pictures"
    )


def make_card(
    data: FewShotDataset,
    run: EpisodeDraw,
    *,
    shots: int,
    episode_sha256: str,
    model_folder: Path | str,
    sampler: str,
    fusion: Fusion = "mean",
    device: str = "cpu",
    stored: bool = False,
) -> ProtocolCard:
    """Fill in the card of one run, hashing the weights and the code.

    Args:
        data: Tested data set.
        run: Fold and seed of the run; without a seed the episodes come from a file.
        shots: Number of supports of each query K.
        episode_sha256: Hash of the episodes' file.
        model_folder: Folder of the model, or name of a method without training.
        sampler: Rule by which the episodes were drawn, in words.
        fusion: Rule by which the shots become one answer.
        device: Device that the model runs on.
        stored: Whether the run takes features from a store, see ``tested.precision_of``.

    Raises:
        FcpError: the model folder has no weights file, or damaged settings or a damaged recipe.
    """
    tested = describe_model(model_folder, fusion)
    identity = identify(model_folder)
    origin = _origin_of(model_folder, data, run.fold)
    return ProtocolCard(
        data_set=data.title,
        pool=data.pool,
        fold=run.fold,
        shots=shots,
        seed=run.seed,
        episode_sha256=episode_sha256,
        checkpoint_sha256=origin.weights,
        list_rule=FROM_FILE if run.seed is None else _list_rule(data.min_pixels),
        sampler=FROM_FILE if run.seed is None else sampler,
        training_lists=origin.lists,
        seen_in_training=origin.seen,
        code_version=code_version(),
        list_sha256=FROM_FILE if run.seed is None else _hash_of_list(data, run.fold),
        **asdict(identity),
        method=tested.method,
        options=tested.options,
        released=tested.released,
        device=device,
        precision=precision_of(model_folder, stored=stored),
        fusion_rule=f"{tested.shots}, foreground at probability >= {THRESHOLD}",
    )


def _hash_of_list(data: FewShotDataset, fold: int | None) -> str:
    return hashlib.sha256(write_lists(val_lists(data, fold))).hexdigest()


@dataclass(frozen=True)
class _Origin:
    """Weights of a model, the training lists that they come from, and the tested classes seen."""

    weights: str
    lists: str
    seen: str


def _origin_of(model: Path | str, data: FewShotDataset, fold: int | None) -> _Origin:
    folder, free = Path(model), format_of(model) == FREE_FORMAT
    if not free or (folder / WEIGHTS_FILE).exists():
        lists = NO_LISTS if free else training_lists(folder)
        weights = sha256_of(folder / WEIGHTS_FILE)
        return _Origin(weights, lists, seen_in_training(data, fold, folder))
    if read_free(model)[0].is_published and not local_encoders(model):
        return _Origin(NOT_TRAINED, NOT_TRAINED, NOTHING_SEEN)
    return _Origin(ENCODERS_ELSEWHERE, NO_LISTS, UNKNOWN)


def training_lists(model_folder: Path) -> str:
    """Describe a model's training lists, as the recipes in its folder name them.

    Raises:
        FcpError: a damaged recipe.
    """
    recipe = read_recipe(model_folder)
    if recipe is None:
        return UNKNOWN
    fold, benchmark = recipe.get("fold"), recipe.get("benchmark", "pascal5i")
    beside = " and objects" if recipe.get("shares") else ""
    learner = _about_learner(model_folder)
    if fold is None:
        return f"all classes of {benchmark}{beside}{learner}"
    rule = "unfiltered" if recipe.get("unfiltered") else "filtered"
    return f"{rule}, fold {fold} of {benchmark}{beside}{learner}"


def _about_learner(model_folder: Path) -> str:
    """Return what the training lists have to add about a base learner; "" for nothing."""
    if learner_is_unknown(model_folder):
        return "; of its base learner nothing is known"
    return "; its base learner unfiltered" if learner_is_unfiltered(model_folder) else ""


def to_json(
    result: EvaluationResult,
    cards: Mapping[EpisodeDraw, ProtocolCard],
    comparison: Comparison | None = None,
) -> dict[str, Any]:
    """Return the report as plain values; scores 0 … 1, the prediction's at 512×512 on top.

    With several runs the figures on top are the mean over the runs, as tables do with folds. The
    card then lists the values that differ between them, and ``runs`` has a report of each.

    Args:
        result: Result of all runs together.
        cards: Protocol card of each run of the result.
        comparison: Comparison with another model; None where none was made.
    """
    counts = result.counts
    report = _figures(counts, _merge_cards(list(cards.values())))
    if comparison is not None:
        report["comparison"] = asdict(comparison)
    report["seconds"] = round(result.seconds, 3)
    if len(cards) > 1:
        tables = {run: counts.take(rows) for run, rows in counts.runs().items()}
        reports = {run: _figures(tables[run], asdict(card)) for run, card in cards.items()}
        report.update(_means({run: values["miou"] for run, values in reports.items()}))
        report["runs"] = list(reports.values())
    return report


def write_report(
    path: Path,
    result: EvaluationResult,
    cards: Mapping[EpisodeDraw, ProtocolCard],
    comparison: Comparison | None = None,
) -> None:
    """Write the report of ``to_json`` to a file, whole or not at all.

    Raises:
        FcpError: the file cannot be written.
    """
    content = to_json(result, cards, comparison)
    write_atomically(path, json.dumps(content, indent=2).encode() + b"\n")


def _figures(counts: EpisodeCounts, card: dict[str, Any]) -> dict[str, Any]:
    scores = {
        kind: {
            **asdict(counts.scores(kind)),
            "miou_interval": list(miou_interval(counts, kind)),
        }
        for kind in counts.counts
    }
    return {
        **scores.pop(MASK),
        "episodes": len(counts.ids),
        "protocol": card,
        "resolution_original": scores.pop(ORIGINAL),
        "pseudo_masks": scores,
    }


def _means(mious: Mapping[EpisodeDraw, float]) -> dict[str, Any]:
    """Average the runs' mIoU for each fold and for each seed; the spread is that of the seeds."""
    by_fold: dict[int | None, list[float]] = {}
    by_seed: dict[int | None, list[float]] = {}
    for run, miou in mious.items():
        by_fold.setdefault(run.fold, []).append(miou)
        by_seed.setdefault(run.seed, []).append(miou)
    of_seeds = [fmean(values) for values in by_seed.values()]
    return {
        "miou_by_fold": {str(fold): fmean(values) for fold, values in by_fold.items()},
        "miou_by_seed": {str(seed): fmean(values) for seed, values in by_seed.items()},
        "miou_spread": stdev(of_seeds) if len(of_seeds) > 1 else None,
    }


def _merge_cards(cards: list[ProtocolCard]) -> dict[str, Any]:
    """Join cards: a value that all share is kept, others become the list of different values."""
    merged = {}
    for name in asdict(cards[0]):
        values = list(dict.fromkeys(getattr(card, name) for card in cards))
        merged[name] = values[0] if len(values) == 1 else values
    return merged


def _list_rule(min_pixels: int) -> str:
    return (
        f"listed: a novel class covers at least {min_pixels} px at original size; the filter on "
        "novel classes concerns training lists only"
    )


def code_version() -> str:
    """Return the package's version and a hash of its source, such as ``0.1.0+src.1f2e3d4c5b6a``.

    The hash is of the files that run, so that it is right for an edited checkout and for a wheel.
    """
    package = Path(__file__).parent.parent
    digest = hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        digest.update(file.relative_to(package).as_posix().encode() + b"\0" + file.read_bytes())
    return f"{metadata.version('fcp-seg')}+src.{digest.hexdigest()[:12]}"
