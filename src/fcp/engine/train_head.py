"""`fcp train` for the episodic stage: encoders and episodes in, a model folder out."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from fcp.checkpoint import save_model
from fcp.config import BackboneConfig
from fcp.data.lists import train_lists
from fcp.data.pascal import PascalVOC
from fcp.data.region_store import RegionSource, bsds_sources
from fcp.encoders import build_backbone, build_segmenter
from fcp.encoders.mobilenet import MobileNetV2
from fcp.encoders.tiny import TinySegmenter, load_tiny
from fcp.engine.episode_batches import EpisodeBatches
from fcp.engine.episodic import EpisodicStage
from fcp.engine.loop import Batches, fit
from fcp.engine.processes import is_main
from fcp.engine.recipe import HeadRecipe
from fcp.engine.share import Share
from fcp.engine.tracking import Report
from fcp.engine.train_segmenter import WEIGHTS
from fcp.errors import FcpError
from fcp.losses.criterion import Criterion
from fcp.model import FCP

_STATISTICS_BATCHES = 16


def train_head(
    recipe: HeadRecipe, *, data_root: Path, out: Path, resume: bool, report: Report
) -> None:
    """Train the head and make ``out`` a model's folder.

    Raises:
        FcpError: data or starting weights are missing, or the loss is not finite.
    """
    batches = episode_batches(recipe, data_root)
    stage = head_stage(recipe, batches)
    fit(stage, recipe.optim, seed=recipe.seed, out=out, resume=resume, report=report)
    if is_main():
        save_model(stage.model, out, dtype=getattr(torch, recipe.weights_dtype))
    report(f"model written to {out}")


def episode_batches(recipe: HeadRecipe, data_root: Path) -> EpisodeBatches:
    """List the data of a recipe.

    Raises:
        FcpError: data are missing.
    """
    data = PascalVOC(data_root)
    return EpisodeBatches(
        data,
        train_lists(data, recipe.fold),
        batch=recipe.optim.batch,
        image_size=recipe.model.image_size,
        seed=recipe.seed,
        distractor_share=recipe.distractor_share,
        regions=region_pictures(data_root) if recipe.region_share else (),
        region_share=recipe.region_share,
    )


def head_stage(recipe: HeadRecipe, batches: Batches) -> EpisodicStage:
    """Build a recipe's model with its starting weights, ready to train.

    Raises:
        FcpError: starting weights are missing.
    """
    torch.manual_seed(recipe.seed)
    model = starting_model(recipe, batches)
    criterion = Criterion(recipe.loss)
    return EpisodicStage(model, batches, criterion, train_backbone=recipe.train_backbone)


def region_pictures(data_root: Path) -> list[RegionSource]:
    """List BSDS500's pictures for region episodes.

    Raises:
        FcpError: there are none.
    """
    found = bsds_sources(data_root)
    if not found:
        raise FcpError(
            f"{data_root / 'BSDS500'}: no images/*/*.jpg; get BSDS500, or set region_share=0"
        )
    return found


def starting_model(recipe: HeadRecipe, batches: Batches) -> FCP:
    """Build the model of a recipe with its encoders' starting weights.

    Raises:
        FcpError: weights are missing or do not fit.
    """
    config = recipe.model
    travels = config.backbone.weights is None
    source = recipe.backbone_weights if travels else config.backbone.weights
    backbone = build_backbone(BackboneConfig(config.backbone.name, source, config.backbone.options))
    segmenter = build_segmenter(config.segmenter)
    if recipe.segmenter_folder is not None and isinstance(segmenter, TinySegmenter):
        load_tiny(segmenter, Path(recipe.segmenter_folder) / WEIGHTS)
    if isinstance(backbone, MobileNetV2) and backbone.standardise:
        backbone.set_statistics(*mid_statistics(backbone, batches))
    return FCP(config, backbone, segmenter)


@torch.inference_mode()
def mid_statistics(backbone: MobileNetV2, batches: Batches) -> tuple[Tensor, Tensor]:
    """Measure mean and deviation of each raw mid channel (Cm,) on the first training pictures."""
    maps = [
        backbone.eval()(batches[Share(step)]["query_images"]).mid
        for step in range(_STATISTICS_BATCHES)
    ]
    values = torch.cat(maps).transpose(0, 1).flatten(1)  # (Cm, pictures · cells)
    return values.mean(1), values.std(1).clamp(min=1e-6)
