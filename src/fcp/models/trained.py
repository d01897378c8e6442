"""Folders of the compared methods and of base learners: settings beside all of the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from fcp.checks import check, from_dict
from fcp.config import MOST_PX
from fcp.encoders.weights import load_strictly
from fcp.errors import FcpError
from fcp.method.bam.base_learner import BaseLearner, PSPNet
from fcp.method.stages import BackboneOption, build_stages
from fcp.method.trained import AnyMethod, build_trained
from fcp.models.files import CONFIG_FILE, RECIPE_FILE, WEIGHTS_FILE
from fcp.models.folder import read_weights, write_folder
from fcp.models.settings import BASE_LEARNER_FORMAT, TRAINED_FORMAT, read_settings
from fcp.system.documents import load_json


@dataclass(frozen=True)
class LoadedTrained:
    """A method of a model's folder.

    Attributes:
        model: Method with its weights, in evaluation mode.
        method: Name of the method, a key of ``method.trained.TRAINED``.
        options: Options of the method's builder.
        image_size: Side S of the square pictures that it takes, px.
    """

    model: AnyMethod
    method: str
    options: dict[str, Any]
    image_size: int


@dataclass(frozen=True)
class LoadedLearner:
    """A base learner of a folder.

    Attributes:
        model: Backbone and learner with their weights, in evaluation mode.
        backbone: The backbone as the methods' option of this name.
        recipe: Recipe of its training as plain values; None where its folder has none.
        class_names: Names of the base classes in the order of its labels; empty where unknown.
    """

    model: PSPNet
    backbone: BackboneOption
    recipe: Mapping[str, Any] | None = None
    class_names: Sequence[str] = ()


@dataclass(frozen=True)
class TrainedSettings:
    """Settings of a method's folder, see ``LoadedTrained``.

    Attributes:
        method: Name of the method.
        options: Options of its builder.
        image_size: Side S of the square pictures, px.
    """

    method: str
    options: dict[str, Any]
    image_size: int

    def __post_init__(self) -> None:
        """Refuse a size that leaves no grid."""
        check(self)
        if not 32 <= self.image_size <= MOST_PX:
            raise FcpError(f"image_size: expected 32 … {MOST_PX}, got {self.image_size}")


@dataclass(frozen=True)
class LearnerSettings:
    """Settings of a base learner's folder.

    Attributes:
        backbone: Backbone as the methods' option of this name.
        classes: Number of base classes.
        width: Number of channels of each pooled map and of stage 5.
        class_names: Names of the base classes in the order of the labels; empty where unknown.
    """

    backbone: Any
    classes: int
    width: int
    class_names: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Check the types of the settings."""
        check(self)


def save_trained(
    model: AnyMethod,
    method: str,
    options: Mapping[str, Any],
    image_size: int,
    folder: Path,
    dtype: torch.dtype | None = None,
) -> None:
    """Write a method's folder, with the weights of its backbone.

    Args:
        model: Method to save.
        method: Name of the method, a key of ``method.trained.TRAINED``.
        options: Options of the builder that make the same model again, as plain values.
        image_size: Side S of the square pictures that it takes, px.
        folder: Folder to write; made if missing. An older model in it is replaced.
        dtype: Type of floating tensors on disk; see ``models.folder.write_folder``.

    Raises:
        FcpError: the folder cannot be written, or the disk is full.
    """
    settings = {
        "format": TRAINED_FORMAT,
        "method": method,
        "options": dict(options),
        "image_size": image_size,
    }
    write_folder(folder, settings, model.state_dict(), dtype)


def read_trained(folder: Path) -> TrainedSettings:
    """Read the settings of a method's folder.

    Raises:
        FcpError: they are missing or damaged, or of another format.
    """
    path = folder / CONFIG_FILE
    return from_dict(TrainedSettings, read_settings(path, TRAINED_FORMAT), str(path))


def load_trained(folder: Path, device: str | torch.device = "cpu") -> LoadedTrained:
    """Read a method's folder: float32, in evaluation mode, on the device.

    Raises:
        FcpError: a file is missing or damaged, or settings and weights do not fit together; the
            message names the file and the first entries that do not fit.
    """
    path, weights = folder / CONFIG_FILE, folder / WEIGHTS_FILE
    settings = read_trained(folder)
    try:
        model = build_trained(settings.method, **settings.options)
    except FcpError as error:
        raise FcpError(f"{path}: {error}") from error
    load_strictly(model, read_weights(weights), weights)
    model = model.float().to(device).eval()
    return LoadedTrained(model, settings.method, settings.options, settings.image_size)


def save_base_learner(
    model: PSPNet,
    backbone: BackboneOption,
    folder: Path,
    dtype: torch.dtype | None = None,
    class_names: Sequence[str] = (),
) -> None:
    """Write a base learner's folder, with the weights of its backbone.

    Args:
        model: Backbone and learner.
        backbone: The backbone as the methods' option of this name.
        folder: Folder to write; made if missing.
        dtype: Type of floating tensors on disk; see ``models.folder.write_folder``.
        class_names: Names of the base classes in the order of the labels; empty where unknown.

    Raises:
        FcpError: the folder cannot be written, or the disk is full.
    """
    settings = {
        "format": BASE_LEARNER_FORMAT,
        "backbone": backbone,
        "classes": model.learner.classes,
        "width": model.learner.width,
        "class_names": list(class_names),
    }
    write_folder(folder, settings, model.state_dict(), dtype)


def load_base_learner(folder: Path) -> LoadedLearner:
    """Read a base learner's folder: float32, in evaluation mode.

    Raises:
        FcpError: a file is missing or damaged, or settings and weights do not fit together.
    """
    path, weights = folder / CONFIG_FILE, folder / WEIGHTS_FILE
    settings = from_dict(LearnerSettings, read_settings(path, BASE_LEARNER_FORMAT), str(path))
    try:
        model = build_learner(settings.backbone, None, settings.classes, settings.width)
    except FcpError as error:
        raise FcpError(f"{path}: {error}") from error
    load_strictly(model, read_weights(weights), weights)
    recipe = folder / RECIPE_FILE
    known = load_json(recipe) if recipe.exists() else None
    return LoadedLearner(model.float().eval(), settings.backbone, known, settings.class_names)


def build_learner(
    backbone: BackboneOption, weights: str | None, classes: int, width: int
) -> PSPNet:
    """Build a base learner on a backbone.

    Args:
        backbone: Backbone as the methods' option of this name.
        weights: ImageNet weights of the backbone; None for random ones.
        classes: Number of base classes.
        width: Number of channels of each pooled map and of stage 5.

    Raises:
        FcpError: unknown backbone, or weights that are missing or do not fit.
    """
    stages = build_stages(backbone, weights)
    return PSPNet(stages, BaseLearner(stages.high_channels, classes, width))
