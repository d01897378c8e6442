"""A result as JSON, never without its protocol card: what exactly was tested, and how."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from fcp.checkpoint import RECIPE_FILE, WEIGHTS_FILE
from fcp.config import Fusion, load_json
from fcp.data.pascal import MIN_PIXELS
from fcp.evaluation.evaluate import COMPARISON_SIZE, THRESHOLD, EvaluationResult
from fcp.files import sha256_of, write_atomically
from fcp.fusion import RULES


@dataclass(frozen=True)
class ProtocolCard:
    """What a number depends on; docs/protocol.md says why each line is here.

    Attributes:
        fold: whose novel classes are tested.
        shots: K, supports of each query.
        seed: that the episodes were drawn with; None where they come from a file.
        episode_sha256: hash of the episodes' file.
        checkpoint_sha256: hash of the model's weights file.
        training_lists: how the model's training pictures were chosen, not the test's: "filtered,
            fold 1", "all classes", or "unknown" where the model's folder has no recipe.
        code_version: package version and hash of its source.
    """

    fold: int
    shots: int
    seed: int | None
    episode_sha256: str
    checkpoint_sha256: str
    training_lists: str = "unknown"
    code_version: str = ""
    data_set: str = "PASCAL-5i (VOC 2012, masks of VOC 2012 + SBD)"
    split: str = "val"
    list_rule: str = (
        f"listed: a novel class covers at least {MIN_PIXELS} px at original size; the filter on "
        "novel classes concerns training lists only"
    )
    sampler: str = (
        "classic: query = row (index mod rows), its class among the novel classes with >= 1 px "
        "in it, supports from the class list without replacement, never the query"
    )
    resolution: str = (
        f"square{COMPARISON_SIZE}: prediction and nearest-resized mask squashed; "
        "resolution_original: prediction resized to the photo"
    )
    ignore_rule: str = "label 255 left out of the query's count, background in a support"
    fusion_rule: str = f"{RULES['mean']}, foreground at probability >= {THRESHOLD}"
    metric: str = "sum of intersections / sum of unions for each class, mean over classes"


def make_card(
    *,
    fold: int,
    shots: int,
    seed: int | None,
    episode_sha256: str,
    model_folder: Path,
    fusion: Fusion = "mean",
) -> ProtocolCard:
    """Fill in the card of an evaluation on PASCAL-5i, hashing the weights and the code.

    Raises:
        FcpError: the model folder has no weights file, or a damaged recipe.
    """
    return ProtocolCard(
        fold=fold,
        shots=shots,
        seed=seed,
        episode_sha256=episode_sha256,
        checkpoint_sha256=sha256_of(model_folder / WEIGHTS_FILE),
        training_lists=training_lists(model_folder),
        code_version=code_version(),
        fusion_rule=f"{RULES[fusion]}, foreground at probability >= {THRESHOLD}",
    )


def training_lists(model_folder: Path) -> str:
    """Say from a model folder's recipe which of PASCAL-5i's training lists it was trained on.

    Raises:
        FcpError: a damaged recipe.
    """
    file = model_folder / RECIPE_FILE
    if not file.exists():
        return "unknown"
    fold = load_json(file).get("fold")
    return "all classes" if fold is None else f"filtered, fold {fold}"


def to_json(result: EvaluationResult, card: ProtocolCard) -> dict[str, Any]:
    """Return the report as plain values; scores 0 … 1, the prediction's at 512×512 on top."""
    return {
        **asdict(result.square),
        "episodes": result.episodes,
        "protocol": asdict(card),
        "resolution_original": asdict(result.original),
        "pseudo_masks": {name: asdict(scores) for name, scores in result.pseudo_masks.items()},
        "seconds": round(result.seconds, 3),
    }


def write_report(path: Path, result: EvaluationResult, card: ProtocolCard) -> None:
    """Write the report to a JSON file, whole or not at all.

    Raises:
        FcpError: the file cannot be written.
    """
    write_atomically(path, json.dumps(to_json(result, card), indent=2).encode() + b"\n")


def code_version() -> str:
    """Return the package's version and a hash of its source, such as ``0.1.0+src.1f2e3d4c5b6a``.

    The hash is of the files that run, so it holds for a checkout with edits and for a wheel alike.
    """
    package = Path(__file__).parent.parent
    digest = hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        digest.update(file.relative_to(package).as_posix().encode() + b"\0" + file.read_bytes())
    return f"{metadata.version('fcp')}+src.{digest.hexdigest()[:12]}"
