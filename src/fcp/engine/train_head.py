"""`fcp train` for the episodic stage: encoders and episodes in, a model folder out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from fcp.checkpoint import save_model
from fcp.config import BackboneConfig
from fcp.data.benchmarks import open_benchmark
from fcp.data.images import read_image
from fcp.data.lists import train_lists
from fcp.data.region_store import RegionSource, bsds_sources
from fcp.data.transforms import to_square
from fcp.encoders import build_backbone, build_segmenter
from fcp.encoders.cache import FeatureCache
from fcp.encoders.mobilenet import MobileNetV2
from fcp.encoders.tiny import TinySegmenter, load_tiny
from fcp.engine.episode_batches import EpisodeBatches, EpisodeSource, SeenBatches
from fcp.engine.episodic import EpisodicStage, answer_pixels, answer_seen
from fcp.engine.loop import Report, fit
from fcp.engine.recipe import HeadRecipe
from fcp.engine.train_segmenter import WEIGHTS
from fcp.errors import FcpError
from fcp.frozen import FeatureIndex, FrozenEncoders
from fcp.losses.criterion import Criterion
from fcp.model import FCP

_STATISTICS_PICTURES = 128


def train_head(
    recipe: HeadRecipe,
    *,
    data_root: Path,
    out: Path,
    resume: bool,
    report: Report,
    store: FeatureCache | None = None,
) -> None:
    """Train the head and make ``out`` a model's folder.

    Args:
        recipe: what to train, and how.
        data_root: where the data sets lie.
        out: for checkpoint, log and model.
        resume: go on from the checkpoint in ``out``.
        report: called with each line worth showing.
        store: of frozen features, so that the encoders see each picture once in all.

    Raises:
        FcpError: data or starting weights are missing, a store is given though the features
            change, or the loss is not finite.
    """
    torch.manual_seed(recipe.seed)
    data = open_benchmark(recipe.benchmark, data_root)
    source = EpisodeSource(
        data,
        train_lists(data, recipe.fold, filtered=not recipe.unfiltered),
        draw=recipe.draw,
        batch=recipe.optim.batch,
        image_size=recipe.model.image_size,
        seed=recipe.seed,
    )
    model = starting_model(recipe, data_root)
    stage = make_stage(recipe, model, source, data_root, store)
    fit(stage, recipe.optim, seed=recipe.seed, out=out, resume=resume, report=report)
    save_model(model, out, dtype=getattr(torch, recipe.weights_dtype))
    report(f"model written to {out}")


def make_stage(
    recipe: HeadRecipe,
    model: FCP,
    source: EpisodeSource,
    data_root: Path,
    store: FeatureCache | None,
) -> EpisodicStage:
    """Join model, batches and losses; see ``train_head``."""
    criterion = Criterion(recipe.loss)
    if store is not None:
        _refuse_changing_features(recipe)
        index = FeatureIndex(model, store, recipe.optim.precision)
        answer = partial(answer_seen, model, FrozenEncoders(model, index))
        return EpisodicStage(model, SeenBatches(source, index), answer=answer, criterion=criterion)
    pixels = EpisodeBatches(
        source,
        views=recipe.views,
        distractor_share=recipe.distractor_share,
        regions=region_pictures(data_root) if recipe.region_share else (),
        region_share=recipe.region_share,
    )
    return EpisodicStage(
        model,
        pixels,
        answer=partial(answer_pixels, model),
        criterion=criterion,
        train_backbone=recipe.train_backbone,
    )


def _refuse_changing_features(recipe: HeadRecipe) -> None:
    """Refuse a store of features for a recipe whose features are new at each step."""
    frozen = {
        "train_backbone": recipe.train_backbone is False,
        "views": recipe.views == "whole",
        "distractor_share": recipe.distractor_share == 0,
        "region_share": recipe.region_share == 0,
    }
    changing = [name for name, still in frozen.items() if not still]
    if changing:
        raise FcpError(
            f"feature cache: of no use with {changing[0]}={getattr(recipe, changing[0])}, which "
            "changes the features at each step; leave the cache out"
        )


def region_pictures(data_root: Path) -> list[RegionSource]:
    """List BSDS500's pictures, for region episodes and for the statistics of a small backbone.

    Raises:
        FcpError: there are none.
    """
    found = bsds_sources(data_root)
    if not found:
        raise FcpError(
            f"{data_root / 'BSDS500'}: no images/*/*.jpg; get BSDS500, or set region_share=0 and "
            "model.backbone.options.standardise=false"
        )
    return found


def starting_model(recipe: HeadRecipe, data_root: Path) -> FCP:
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
        pictures = region_pictures(data_root)[:_STATISTICS_PICTURES]
        backbone.set_statistics(*mid_statistics(backbone, pictures, config.image_size))
    return FCP(config, backbone, segmenter)


@torch.inference_mode()
def mid_statistics(
    backbone: MobileNetV2, pictures: Sequence[RegionSource], size: int
) -> tuple[Tensor, Tensor]:
    """Measure mean and deviation of each raw mid channel (Cm,) on pictures squashed to a square.

    BSDS500's serve for all folds and seeds: the features are then the same, and stored once.
    """
    maps = [backbone.eval()(to_square(read_image(p.image), size)[None]).mid for p in pictures]
    values = torch.cat(maps).transpose(0, 1).flatten(1)  # (Cm, pictures · cells)
    return values.mean(1), values.std(1).clamp(min=1e-6)
