"""Typed recipes, which `fcp train` reads from YAML files. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from itertools import takewhile
from pathlib import Path
from typing import Any, Literal

from fcp.checks import check, from_dict, require_least, require_seed
from fcp.config import LossWeights, ModelConfig
from fcp.engine.method_recipe import BaseLearnerRecipe, FreeRecipe, MethodRecipe
from fcp.engine.optim import OptimConfig
from fcp.errors import FcpError
from fcp.system.documents import load_yaml


@dataclass(frozen=True)
class SegmenterRecipe:
    """Class-agnostic training of the small promptable segmenter with boxes, points and masks.

    Attributes:
        stage: Kind of recipe, always "segmenter".
        optim: Schedule and settings of the optimiser.
        backbone_weights: MobileNetV2 in transformers' layout (folder or hub id): start of the
            trunk, and source of the features that the region hierarchies are merged by.
        start: Folder of an earlier run of this stage to go on from; None to start from
            ``backbone_weights`` alone.
        options: Options of ``encoders.tiny.TinySegmenter``.
        exclude_folds: PASCAL-5i folds to keep novel; pictures that show one of their classes are
            left out.
        objects: Whether to learn from the masks of ``objects`` too, without kinds that overlap with
            the excluded folds' classes or that COCO names.
        masks: Number of regions drawn a picture and step.
        seed: Seed of all random numbers.
    """

    stage: Literal["segmenter"]
    optim: OptimConfig
    backbone_weights: str = "google/mobilenet_v2_1.0_224"
    start: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    exclude_folds: list[int] = field(default_factory=list)
    objects: bool = False
    masks: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the settings."""
        check(self)
        require_least(self, 1, "masks")
        require_seed(self.seed)


@dataclass(frozen=True)
class HeadRecipe:
    """Episodic training of the FCP head.

    Attributes:
        stage: Kind of recipe, always "head".
        model: Settings of the model; its encoders are built from its own weights entries.
        optim: Schedule and settings of the optimiser.
        benchmark: Benchmark to learn from, a key of ``data.benchmarks``.
        fold: Fold of the benchmark whose classes stay novel; None to train on all classes.
        unfiltered: Whether to keep training pictures that show a novel class, as background (the
            released lists drop them).
        draw: Rule that draws the episodes: "query", in an epoch each listed picture is the query
            once (the paper's); or "class", classes nearly evenly, then two of the class's pictures
            (ours).
        views: Pictures as they are ("whole", the paper's) or cropped, flipped and coloured
            ("augmented", ours).
        loss: Weights of the loss terms.
        distractor_share: Share of the training queries that get an object of another class pasted
            in, 0 … 1 (ours; 0 is the paper's).
        region_share: Share of the training episodes that ask for a human-drawn region of BSDS500 in
            two views of one picture, 0 … 1 (ours; 0 is the paper's).
        shares: Share of the episodes that is drawn from "voc" and from each set of ``objects``
            (ours; empty: all are the benchmark's).
        absent_share: Share of the training queries that do not show the class, 0 … 1 (ours; with
            ``shares``).
        shots: Numbers of supports, one of which is drawn at each step (with ``shares``).
        stored_views: Number of stored views of each photo, encoded once in all (with ``shares``).
        photos_per_class: Approximate number of stored photos of a common class of VOC.
        hold_out_kinds: Whether to leave out the kinds of ``objects`` that settings are chosen by,
            and score the model on them.
        train_backbone: Whether to train the backbone too, at ``optim.pretrained_scale`` (ours; the
            paper freezes it); with ``shares``, on views that are drawn anew at each step.
        test_size: Side of the square pictures that the saved model takes, px; None for that of
            training, ``model.image_size``. Training sees cut photos, in which objects are larger,
            so that a larger side suits whole photos (Touvron et al., NeurIPS 2019,
            arXiv 1906.06423).
        start: Folder of a trained model to go on from, encoders included; None to start from
            ``segmenter_folder`` and ``backbone_weights``.
        segmenter_folder: Output folder of a segmenter run whose weights are taken, also in place of
            those of ``start``; None for random ones, or those of ``start``.
        backbone_weights: Starting weights of a backbone that are to travel inside the model's
            folder (where ``model.backbone.weights`` is None).
        holdout_every: Number of steps between two scores on a hold-out of base classes, by which
            the model in ``best/`` is chosen; 0 for none.
        holdout_episodes: Number of episodes of each score.
        weights_dtype: Type of the weights on disk; float16 halves the size of a published model.
        seed: Seed of all random numbers.
    """

    stage: Literal["head"]
    model: ModelConfig
    optim: OptimConfig
    benchmark: str = "pascal5i"
    fold: int | None = None
    unfiltered: bool = False
    draw: Literal["query", "class"] = "query"
    views: Literal["whole", "augmented"] = "whole"
    loss: LossWeights = field(default_factory=LossWeights)
    distractor_share: float = 0.0
    region_share: float = 0.0
    shares: dict[str, float] = field(default_factory=dict)
    absent_share: float = 0.0
    shots: list[int] = field(default_factory=lambda: [1])
    stored_views: int = 2
    photos_per_class: int = 200
    hold_out_kinds: bool = False
    train_backbone: bool = False
    test_size: int | None = None
    start: str | None = None
    segmenter_folder: str | None = None
    backbone_weights: str | None = None
    holdout_every: int = 0
    holdout_episodes: int = 200
    weights_dtype: Literal["float32", "float16"] = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse settings out of range, and a head that would train on other features than it has.

        With ``shares`` an example's last stage never runs under its mask, and stored views have the
        mid-level map on the coarsest grid alone. A head with correlation reads neither in use.
        """
        check(self)
        require_least(self, 1, "test_size", "stored_views", "holdout_episodes")
        require_least(self, 0, "holdout_every")
        require_seed(self.seed)
        for name in ("distractor_share", "region_share", "absent_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise FcpError(f"{name}: expected a share 0 … 1, got {getattr(self, name)}")
        if not self.shots or min(self.shots) < 1:
            raise FcpError(f"shots: expected at least one number of at least 1, got {self.shots}")
        if self.shares and not self.model.head.correlation:
            raise FcpError(
                "shares: they train a head with correlation alone, since one without reads other "
                "features in use; set model.head.correlation, or leave shares out"
            )


TrainingRecipe = SegmenterRecipe | HeadRecipe | MethodRecipe | BaseLearnerRecipe
Recipe = TrainingRecipe | FreeRecipe
_KINDS: dict[str, type[Recipe]] = {
    "segmenter": SegmenterRecipe,
    "head": HeadRecipe,
    "method": MethodRecipe,
    "base_learner": BaseLearnerRecipe,
    "free": FreeRecipe,
}


# Settings that act only in a head's recipe with ``shares``, and only in one without.
_WITH_SHARES: tuple[str, ...] = (
    "absent_share",
    "shots",
    "stored_views",
    "photos_per_class",
    "hold_out_kinds",
)
_WITHOUT_SHARES: tuple[str, ...] = (
    "benchmark",
    "unfiltered",
    "draw",
    "views",
    "distractor_share",
    "region_share",
)
_OF_STORED = ("stored_views", "photos_per_class")
# Settings that a resumed run may change: they decide how the run goes on, not what it has done.
_MAY_CHANGE = {
    f"optim.{name}"
    for name in (
        "iterations",
        "epochs",
        "accumulate",
        "learning_rate",
        "clip",
        "precision",
        "checkpoint_every",
        "log_every",
    )
}


def refuse_other_recipe(file: Path, recipe: Recipe) -> None:
    """Check that a run may go on with a recipe.

    Args:
        file: Stored recipe that the run was started with.
        recipe: Recipe to go on with.

    Raises:
        FcpError: they differ in settings that a resumed run may not change; it names them.
    """
    before = flatten_settings(asdict(load_recipe(file)))
    now = flatten_settings(asdict(recipe))
    differing = [
        f"{name} (was {before.get(name)!r}, now {now.get(name)!r})"
        for name in differing_settings(before, now)
        if name not in _MAY_CHANGE
    ]
    if differing:
        raise FcpError(
            f"{file}: the run was started with other settings: {', '.join(differing)}; resume "
            "with those, or start anew in another folder"
        )


def refuse_idle_settings(recipe: Recipe) -> None:
    """Check that each setting of a head's or method's recipe acts.

    Raises:
        FcpError: a setting that differs from its default would do nothing; it is named.
    """
    if not isinstance(recipe, HeadRecipe | MethodRecipe):
        return
    if isinstance(recipe, HeadRecipe):
        _refuse_idle_by_shares(recipe)
    else:
        _refuse_idle_learner(recipe)
    if not recipe.holdout_every and recipe.holdout_episodes != type(recipe).holdout_episodes:
        raise FcpError("holdout_episodes: without effect with holdout_every=0; leave it out")


def _refuse_idle_by_shares(recipe: HeadRecipe) -> None:
    """Check that each setting of a head's recipe acts: some do with ``shares``, some without.

    Raises:
        FcpError: one does not.
    """
    plain = HeadRecipe(recipe.stage, recipe.model, recipe.optim)
    when, names = "without shares", _WITH_SHARES
    if recipe.shares:
        when, names = "with shares", _WITHOUT_SHARES
    if recipe.shares and recipe.train_backbone:
        when, names = "with shares and train_backbone", (*_WITHOUT_SHARES, *_OF_STORED)
    idle = [name for name in names if getattr(recipe, name) != getattr(plain, name)]
    if idle:
        raise FcpError(f"{', '.join(idle)}: without effect {when}; leave it out")
    if recipe.shares and recipe.holdout_every and not recipe.hold_out_kinds:
        raise FcpError(
            "holdout_every: with shares the score is that on held-out kinds; set "
            "hold_out_kinds=true, or holdout_every=0"
        )


def _refuse_idle_learner(recipe: MethodRecipe) -> None:
    """Check that a recipe names a base learner only for a method that starts from one.

    Raises:
        FcpError: it does for another, or the method is unknown.
    """
    names = ("base_learner", "base_learner_recipe")
    given = [name for name in names if getattr(recipe, name) is not None]
    if not given:
        return
    from fcp.method.trained import takes_base_learner  # torch

    if not takes_base_learner(recipe.method):
        raise FcpError(
            f"{', '.join(given)}: without effect with method={recipe.method}, which starts from "
            "no base learner; leave it out"
        )


def trains_nothing(recipe: Recipe) -> bool:
    """Whether a recipe leaves all weights as they are, so that its seed decides nothing.

    That is so of methods without training, and of SSP with a frozen backbone (``trained: []``).
    """
    if isinstance(recipe, FreeRecipe):
        return True
    return isinstance(recipe, MethodRecipe) and recipe.options.get("trained") == []


def flatten_settings(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by dotted name, with the prefix before each name."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat.update(
            flatten_settings(value, f"{prefix}{name}.")
            if isinstance(value, dict)
            else {f"{prefix}{name}": value}
        )
    return flat


def differing_settings(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the names, in alphabetical order, of flat settings that differ or that one lacks."""
    return sorted(n for n in before.keys() | now.keys() if before.get(n) != now.get(n))


def load_recipe(file: Path, overrides: tuple[str, ...] = ()) -> Recipe:
    """Read and check a recipe.

    Args:
        file: YAML.
        overrides: Settings ``key.sub=value`` that win over the file's.

    Raises:
        FcpError: unreadable file, unknown stage or setting, value of a wrong type or range.
    """
    values = load_yaml(file, overrides)
    stage = values.get("stage")
    if not isinstance(stage, str) or stage not in _KINDS:
        raise FcpError(f"{file}: stage: expected one of {', '.join(_KINDS)}, got {stage!r}")
    return from_dict(_KINDS[stage], values, str(file))


def shipped_recipes() -> dict[str, Path]:
    """Return the files of the shipped recipes by name, in alphabetical order."""
    return {path.stem: path for path in sorted(Path(str(files("fcp") / "recipes")).glob("*.yaml"))}


def find_recipe(name: str) -> Path:
    """Find a recipe: a file, or the name (with or without ``.yaml``) of a shipped recipe.

    Raises:
        FcpError: there is no such file or recipe; the message lists the shipped recipes.
    """
    if Path(name).is_file():
        return Path(name)
    shipped = shipped_recipes()
    stem = name.removesuffix(".yaml")
    if stem not in shipped:
        raise FcpError(f"{name}: no such recipe file; shipped recipes: {', '.join(shipped)}")
    return shipped[stem]


def recipe_title(file: Path) -> str:
    """Return the first sentence of the comment that a recipe starts with."""
    lines = takewhile(lambda line: line.startswith("#"), file.read_text("utf-8").splitlines())
    text = " ".join(line.lstrip("# ") for line in lines)
    return text.partition(". ")[0].rstrip(".")
