"""Recipes of the compared methods, with and without training, and of base learners. No torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from fcp.checks import check, require_least, require_seed
from fcp.config import EncodersConfig
from fcp.engine.optim import OptimConfig


@dataclass(frozen=True)
class BaseLearnerRecipe:
    """Training of a PSPNet of a fold's base classes, which BAM and HDMNet freeze.

    Attributes:
        stage: Kind of recipe, always "base_learner".
        optim: Schedule and settings of the optimiser.
        image_size: Side S of the square pictures, px.
        backbone: Backbone as the methods' option of this name: "resnet50" or "vgg16_bn", or a
            mapping with ``name`` and ``options`` of any of ``fcp.encoders``.
        backbone_weights: ImageNet weights of the backbone; None for random ones.
        width: Number of channels of each pooled map and of stage 5.
        benchmark: Benchmark to learn from, a key of ``data.benchmarks``.
        fold: Fold of the benchmark whose classes stay novel; None to train on all classes.
        unfiltered: Whether to keep training pictures that show a novel class, as background.
        views: Pictures as they are ("whole") or cropped, flipped and coloured ("augmented").
        train_backbone: Whether to train the backbone too, batch norms included, at
            ``optim.pretrained_scale``.
        weights_dtype: Type of the weights on disk.
        seed: Seed of all random numbers.
    """

    stage: Literal["base_learner"]
    optim: OptimConfig
    image_size: int
    backbone: Any = "resnet50"
    backbone_weights: str | None = None
    width: int = 512
    benchmark: str = "pascal5i"
    fold: int | None = None
    unfiltered: bool = True
    views: Literal["whole", "augmented"] = "augmented"
    train_backbone: bool = True
    weights_dtype: Literal["float32", "float16"] = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the types of the settings, and the sizes."""
        check(self)
        require_least(self, 1, "image_size", "width")
        require_seed(self.seed)


@dataclass(frozen=True)
class MethodRecipe:
    """Episodic training of a method of ``fcp.method.trained``.

    Attributes:
        stage: Kind of recipe, always "method".
        method: Name of the method, a key of ``method.trained.TRAINED``.
        optim: Schedule and settings of the optimiser.
        image_size: Side S of the square pictures, px.
        options: Options of the method's builder.
        backbone_weights: ImageNet weights of the backbone; None for random ones. A base learner
            that is trained first starts from them; one that is there brings its own.
        benchmark: Benchmark to learn from, a key of ``data.benchmarks``.
        fold: Fold of the benchmark whose classes stay novel; None to train on all classes.
        unfiltered: Whether to keep training pictures that show a novel class, as background.
        draw: Rule that draws the episodes, see ``HeadRecipe``.
        views: Pictures as they are ("whole") or cropped, flipped and coloured ("augmented").
        base_learner: Folder of the trained base learner that BAM or HDMNet starts from; None for
            one beside ``--out``, which all runs with the same base learner share.
        base_learner_recipe: Recipe (shipped name or file) that the base learner is trained by
            where its folder is missing, on benchmark, fold and backbone of this recipe.
        holdout_every: Number of steps between two scores on a hold-out of base classes, by which
            the model in ``best/`` is chosen; 0 for none.
        holdout_episodes: Number of episodes of each score.
        weights_dtype: Type of the weights on disk; float16 halves the size of a published model.
        seed: Seed of all random numbers.
    """

    stage: Literal["method"]
    method: str
    optim: OptimConfig
    image_size: int
    options: dict[str, Any] = field(default_factory=dict)
    backbone_weights: str | None = None
    benchmark: str = "pascal5i"
    fold: int | None = None
    unfiltered: bool = False
    draw: Literal["query", "class"] = "query"
    views: Literal["whole", "augmented"] = "whole"
    base_learner: str | None = None
    base_learner_recipe: str | None = None
    holdout_every: int = 0
    holdout_episodes: int = 200
    weights_dtype: Literal["float32", "float16"] = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the types of the settings, and the sizes."""
        check(self)
        require_least(self, 1, "image_size", "holdout_episodes")
        require_least(self, 0, "holdout_every")
        require_seed(self.seed)


def learner_backbone(recipe: MethodRecipe) -> dict[str, Any]:
    """Return the settings of a base learner that the recipe of its method decides.

    They are those of the backbone, which both share; a setting that is None is left out.
    """
    shared = {
        "backbone_weights": recipe.backbone_weights,
        "backbone": recipe.options.get("backbone"),
    }
    return {name: value for name, value in shared.items() if value is not None}


@dataclass(frozen=True)
class FreeRecipe:
    """A method without training on encoders of ours; nothing is trained, its folder is written.

    Attributes:
        stage: Kind of recipe, always "free".
        method: Name of the method, a key of ``method.registry.METHODS``.
        encoders: Settings of the encoders, and the size of the pictures.
        options: Options of the method.
        backbone_weights: Weights of the backbone; None for random ones.
        segmenter_folder: Output folder of a segmenter run whose weights are taken, or None for
            those that ``encoders.segmenter`` names.
        benchmark: Benchmark whose fold the segmenter never saw, a key of ``data.benchmarks``.
        fold: That fold; None where it saw all classes.
        weights_dtype: Type of the weights on disk.
        seed: Seed that decides nothing, since nothing is drawn.
    """

    stage: Literal["free"]
    method: str
    encoders: EncodersConfig
    options: dict[str, Any] = field(default_factory=dict)
    backbone_weights: str | None = None
    segmenter_folder: str | None = None
    benchmark: str = "pascal5i"
    fold: int | None = None
    weights_dtype: Literal["float32", "float16"] = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the types of the settings."""
        check(self)
