"""Typed recipes: what `fcp train` reads from a YAML file. No torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from fcp.config import LossWeights, ModelConfig, check, from_dict, load_yaml
from fcp.errors import FcpError


@dataclass(frozen=True)
class OptimConfig:
    """AdamW with linear warm-up and a cosine to 0 by iteration.

    Attributes:
        iterations: optimiser steps.
        batch: pictures (segmenter) or episodes (head) a step.
        learning_rate: peak rate of freshly initialised layers.
        pretrained_scale: factor on it for layers that start from ImageNet weights.
        weight_decay: decoupled, on matrices and kernels only.
        warmup: steps from 0 to the peak.
        clip: largest gradient norm.
        precision: "bf16" runs the forward pass under autocast.
        checkpoint_every: steps between resumable checkpoints.
        log_every: steps between log lines (each the mean over the steps since the last).
    """

    iterations: int
    batch: int
    learning_rate: float
    pretrained_scale: float = 0.1
    weight_decay: float = 1e-2
    warmup: int = 100
    clip: float = 1.0
    precision: Literal["no", "bf16"] = "no"
    checkpoint_every: int = 200
    log_every: int = 20

    def __post_init__(self) -> None:
        """Refuse schedules that cannot run."""
        check(self)
        for name in ("iterations", "batch", "checkpoint_every", "log_every"):
            if getattr(self, name) < 1:
                raise FcpError(f"{name}: expected at least 1, got {getattr(self, name)}")


@dataclass(frozen=True)
class SegmenterRecipe:
    """Class-agnostic training of the small promptable segmenter with boxes, points and masks.

    Attributes:
        stage: tells the two kinds of recipe apart.
        optim: the schedule.
        backbone_weights: MobileNetV2 in transformers' layout (folder or hub id): the trunk's start,
            and the features that the region hierarchies are merged by.
        start: folder of an earlier run of this stage to go on from, or None.
        options: of ``encoders.tiny.TinySegmenter``.
        exclude_folds: pictures that show a class of these PASCAL-5i folds are left out.
        masks: regions drawn a picture and step.
        seed: of everything.
    """

    stage: Literal["segmenter"]
    optim: OptimConfig
    backbone_weights: str = "google/mobilenet_v2_1.0_224"
    start: str | None = None
    options: dict[str, int] = field(default_factory=dict)
    exclude_folds: list[int] = field(default_factory=list)
    masks: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the types of what was given."""
        check(self)


@dataclass(frozen=True)
class HeadRecipe:
    """Episodic training of the FCP head.

    Attributes:
        stage: tells the two kinds of recipe apart.
        model: the model; its encoders are built from its own weights entries.
        optim: the schedule.
        benchmark: whose training pictures are learnt from, a key of ``data.benchmarks``.
        fold: of the benchmark, whose classes stay novel; None to train on all classes.
        unfiltered: keep training pictures that show a novel class, as background (the released
            lists drop them).
        draw: "query": in an epoch each listed picture is the query once (the paper's); "class":
            classes nearly evenly, then two of the class's pictures (ours).
        views: "whole" pictures (the paper's), or "augmented": cropped, flipped, coloured (ours).
        loss: weights of the terms.
        distractor_share: of the training queries, that get a thing of another class pasted in
            (ours; 0 is the paper's).
        region_share: of the training episodes, that ask for a human-drawn region of BSDS500 in two
            views of one picture (ours; 0 is the paper's).
        train_backbone: train the backbone too, at ``optim.pretrained_scale`` (ours; the paper
            freezes it).
        segmenter_folder: output folder of a segmenter run whose weights are taken, or None.
        backbone_weights: MobileNetV2 that the backbone starts from when the weights are to travel
            inside the model's folder (``model.backbone.weights`` is None).
        weights_dtype: of the weights on disk; float16 halves a model that ships.
        seed: of everything.
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
    train_backbone: bool = False
    segmenter_folder: str | None = None
    backbone_weights: str | None = None
    weights_dtype: Literal["float32", "float16"] = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse shares that are none."""
        check(self)
        for name in ("distractor_share", "region_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise FcpError(f"{name}: expected a share 0 … 1, got {getattr(self, name)}")


Recipe = SegmenterRecipe | HeadRecipe
_KINDS: dict[str, type[SegmenterRecipe] | type[HeadRecipe]] = {
    "segmenter": SegmenterRecipe,
    "head": HeadRecipe,
}


def load_recipe(file: Path, overrides: tuple[str, ...] = ()) -> Recipe:
    """Read and check a recipe.

    Args:
        file: YAML.
        overrides: ``key.sub=value`` settings that win over the file's.

    Raises:
        FcpError: unreadable file, unknown stage or setting, value of a wrong type or range.
    """
    values = load_yaml(file, overrides)
    kind = _KINDS.get(values.get("stage", ""))
    if kind is None:
        known = ", ".join(_KINDS)
        raise FcpError(f"{file}: stage: expected one of {known}, got {values.get('stage')!r}")
    return from_dict(kind, values, str(file))
