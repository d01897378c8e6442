"""`fcp train` for the episodic stage: encoders and episodes in, a model folder out."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch

from fcp.config import BackboneConfig, EncodersConfig, ModelConfig
from fcp.data.dataset import FewShotDataset
from fcp.data.folds import pascal_folds_of_coco
from fcp.data.images import read_image
from fcp.data.region_store import RegionSource, bsds_sources, with_regions
from fcp.data.transforms import to_square
from fcp.encoders import build_backbone, build_segmenter
from fcp.encoders.base import Backbone, PromptableSegmenter
from fcp.encoders.hub import require_weights
from fcp.engine.episode_batches import EpisodeBatches, EpisodeSource, SeenBatches, open_source
from fcp.engine.episodic import EpisodicStage, answer_pixels, answer_seen, save_trained
from fcp.engine.holdout import Holdout, base_class_holdout
from fcp.engine.loop import Batches, fit
from fcp.engine.method_recipe import FreeRecipe
from fcp.engine.processes import is_main
from fcp.engine.recipe import HeadRecipe, differing_settings, flatten_settings
from fcp.engine.tracking import Report, record_recipe
from fcp.engine.train_pixels import pixel_stage
from fcp.engine.train_segmenter import WEIGHTS, require_unseen
from fcp.engine.train_stored import stored_stage
from fcp.errors import FcpError
from fcp.evaluation.predictor import FCPPredictor
from fcp.evaluation.seen import read_recipe
from fcp.features.cache import FeatureCache
from fcp.features.frozen import Encoders, FeatureIndex, FrozenEncoders, open_encoders
from fcp.method.fcp.losses.criterion import Criterion
from fcp.method.fcp.model import FCP
from fcp.models.checkpoint import load_model
from fcp.models.files import BEST_FOLDER, CONFIG_FILE, RECIPE_FILE

_STATISTICS_PICTURES = 128
_TRAINED_SEGMENTER = "tiny"  # has a stage of its own, in which it is shown classes


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
        recipe: Recipe of the head.
        data_root: Folder of the data sets.
        out: Folder of checkpoint, log and model.
        resume: Whether to go on from the checkpoint in ``out``.
        report: Function that takes each line of output.
        store: Store of frozen features, so that the encoders see each picture once in all; None for
            no store.

    Raises:
        FcpError: data or starting weights are missing, a store is given though the features
            change, or the loss is not finite.
    """
    if store is not None:
        _refuse_changing_features(recipe)
    source = episode_source(recipe, data_root)
    model = starting_model(recipe)
    if recipe.start is None:  # a trained model has its statistics
        standardise(model.backbone, recipe.model.image_size, data_root)
    if recipe.shares:
        make_stage = pixel_stage if recipe.train_backbone else stored_stage
        stage, holdout = make_stage(recipe, model, data_root, out, report)
    else:
        if store is None:
            stage = head_stage(recipe, model, episode_batches(recipe, source, data_root))
        else:
            stage = frozen_stage(recipe, model, source, store)
        holdout = make_holdout(recipe, model, source.data, out, store, report)
    record_recipe(out, recipe)
    fit(
        stage,
        recipe.optim,
        seed=recipe.seed,
        out=out,
        resume=resume,
        report=report,
        holdout=holdout,
    )
    if is_main():
        save_trained(model, recipe, out)
    report(f"model written to {out}")


def episode_source(recipe: HeadRecipe, data_root: Path) -> EpisodeSource:
    """List the data of a recipe.

    Raises:
        FcpError: data are missing.
    """
    return open_source(recipe, data_root, image_size=recipe.model.image_size, draw=recipe.draw)


def episode_batches(recipe: HeadRecipe, source: EpisodeSource, data_root: Path) -> EpisodeBatches:
    """Make a recipe's batches of pixels.

    Raises:
        FcpError: the pictures of region episodes are missing.
    """
    return EpisodeBatches(
        source,
        views=recipe.views,
        distractor_share=recipe.distractor_share,
        regions=with_regions(region_pictures(data_root)) if recipe.region_share else (),
        region_share=recipe.region_share,
    )


def head_stage(recipe: HeadRecipe, model: FCP, batches: Batches) -> EpisodicStage:
    """Make the stage that runs the whole model on pixels."""
    return EpisodicStage(
        model,
        batches,
        answer=partial(answer_pixels, model),
        criterion=Criterion(recipe.loss),
        train_backbone=recipe.train_backbone,
    )


def frozen_stage(
    recipe: HeadRecipe, model: FCP, source: EpisodeSource, store: FeatureCache
) -> EpisodicStage:
    """Make the stage that runs the head on stored features.

    Raises:
        FcpError: the recipe changes the features at each step.
    """
    _refuse_changing_features(recipe)
    encoders = Encoders.of(model)
    index = FeatureIndex(encoders, store, recipe.optim.precision)
    return EpisodicStage(
        model,
        SeenBatches(source, index),
        answer=partial(answer_seen, model, FrozenEncoders(encoders, index)),
        criterion=Criterion(recipe.loss),
    )


def make_holdout(
    recipe: HeadRecipe,
    model: FCP,
    data: FewShotDataset,
    out: Path,
    store: FeatureCache | None,
    report: Report,
) -> Holdout | None:
    """Make the scoring by 1-shot mIoU on base classes; the best model goes to ``out/best``.

    Raises:
        FcpError: no two hold-out pictures show the same class.
    """
    if not recipe.holdout_every:
        return None
    encoders = open_encoders(Encoders.of(model), store, recipe.optim.precision)

    def save() -> None:
        save_trained(model, recipe, out / BEST_FOLDER)

    return base_class_holdout(
        recipe,
        data,
        image_size=recipe.model.image_size,
        predictor=lambda: FCPPredictor(model, encoders=encoders),
        save=save,
        report=report,
    )


def _refuse_changing_features(recipe: HeadRecipe) -> None:
    """Refuse a store of features for a recipe that changes or stores them itself."""
    if recipe.shares:
        raise FcpError(
            "feature cache: of no use with shares, whose views are stored beside --out or drawn "
            "anew at each step; leave the cache out"
        )
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
    """List BSDS500's pictures, for region episodes and for the statistics of a backbone.

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


def starting_model(recipe: HeadRecipe) -> FCP:
    """Build a recipe's model: starting weights and a fresh head, or a trained model to go on from.

    Raises:
        FcpError: weights are missing or do not fit, the recipe names a ``segmenter_folder`` for a
            segmenter that cannot start from one, its segmenter was shown the fold's novel classes,
            or the model that it goes on from is missing, lacks its recipe, has other settings or
            another fold, or knows the kinds held out.
    """
    require_novel(recipe)
    torch.manual_seed(recipe.seed)
    if recipe.start is not None:
        return _trained_model(recipe, Path(recipe.start))
    return FCP(
        recipe.model,
        *starting_encoders(recipe.model, recipe.backbone_weights, recipe.segmenter_folder),
    )


def require_novel(recipe: HeadRecipe | FreeRecipe) -> None:
    """Refuse a recipe whose segmenter was shown novel classes of its fold, of VOC or of COCO.

    Raises:
        FcpError: the recipe of that segmenter's run is missing, or does not leave them out.
    """
    weights, setting = _segmenter_weights(recipe)
    if weights is None or recipe.fold is None:
        return
    if recipe.benchmark == "pascal5i":
        require_unseen(weights, [recipe.fold], setting=setting)
    elif recipe.benchmark == "coco20i":
        require_unseen(weights, pascal_folds_of_coco(recipe.fold), setting=setting)


def _segmenter_weights(recipe: HeadRecipe | FreeRecipe) -> tuple[Path | None, str]:
    """Return the weights of a run that a recipe's segmenter starts from, and their setting."""
    if recipe.segmenter_folder is not None:
        return Path(recipe.segmenter_folder) / WEIGHTS, "segmenter_folder"
    part, config = _encoders_of(recipe)
    own, setting = config.segmenter, f"{part}.segmenter.weights"
    if own.name != _TRAINED_SEGMENTER or own.weights is None:
        return None, setting
    return Path(own.weights), setting


def _encoders_of(recipe: HeadRecipe | FreeRecipe) -> tuple[str, ModelConfig | EncodersConfig]:
    """Return the name and the value of the setting that has a recipe's encoders."""
    if isinstance(recipe, FreeRecipe):
        return "encoders", recipe.encoders
    return "model", recipe.model


def _trained_model(recipe: HeadRecipe, folder: Path) -> FCP:
    """Load the model that a recipe goes on from.

    Raises:
        FcpError: it or its recipe is missing, it has other settings than the recipe's or is of
            another benchmark or fold, it knows the kinds that the recipe holds out, or the recipe's
            ``segmenter_folder`` does not fit.
    """
    model, before = load_model(folder), read_recipe(folder)
    own, wanted = (flatten_settings(asdict(c)) for c in (model.config, recipe.model))
    if before is not None and before.get("test_size") is not None:
        own["image_size"] = before["model"]["image_size"]  # of its training
    differing = differing_settings(own, wanted)
    if differing:
        raise FcpError(
            f"start: {folder} has other settings of the model than the recipe: "
            f"{', '.join(differing)}; take those of {folder / CONFIG_FILE}"
        )
    if before is None:
        raise FcpError(
            f"start: {folder} has no {RECIPE_FILE}, so the classes that it knows are unknown; name "
            f"the folder of a run, or its {BEST_FOLDER}"
        )
    for name in ("benchmark", "fold", "unfiltered"):
        if before.get(name) != getattr(recipe, name):
            raise FcpError(
                f"start: {folder} was trained with {name}={before.get(name)}, the recipe "
                f"has {name}={getattr(recipe, name)}; classes that should stay novel would be known"
            )
    if recipe.hold_out_kinds and not before.get("hold_out_kinds"):
        raise FcpError(
            f"start: {folder} was trained on the kinds that hold_out_kinds leaves out; set "
            "hold_out_kinds=false, or start from a model that left them out"
        )
    if recipe.segmenter_folder is not None:
        _take_segmenter(model.segmenter, recipe.model.segmenter.name, recipe.segmenter_folder)
    model.config = recipe.model
    return model


def starting_encoders(
    config: ModelConfig | EncodersConfig, backbone_weights: str | None, segmenter_folder: str | None
) -> tuple[Backbone, PromptableSegmenter]:
    """Build both encoders with their starting weights.

    Args:
        config: Settings of the encoders.
        backbone_weights: Weights of a backbone whose settings name none; None for random ones.
        segmenter_folder: Output folder of a segmenter run whose weights are taken, or None.

    Raises:
        FcpError: weights are missing or do not fit, or a segmenter that cannot start from a folder.
    """
    part = config.backbone
    if part.weights is None:
        require_weights(backbone_weights, setting="backbone_weights")
    source = backbone_weights if part.weights is None else part.weights
    backbone = build_backbone(BackboneConfig(part.name, source, part.options))
    segmenter = build_segmenter(config.segmenter)
    if segmenter_folder is not None:
        _take_segmenter(segmenter, config.segmenter.name, segmenter_folder)
    return backbone, segmenter


def _take_segmenter(segmenter: PromptableSegmenter, name: str, folder: str) -> None:
    """Give a segmenter the weights of a segmenter's run.

    Raises:
        FcpError: they are missing or do not fit, or such a segmenter cannot start from a folder.
    """
    try:
        segmenter.load_start(Path(folder) / WEIGHTS)
    except FcpError as error:
        raise FcpError(
            f"segmenter_folder: segmenter {name!r}: {error}; name the folder of a segmenter's run, "
            "or set segmenter_folder=null"
        ) from error


def standardise(backbone: Backbone, size: int, data_root: Path) -> None:
    """Give a backbone that standardises its mid-level map the statistics of its channels.

    BSDS500's pictures are used for all folds and seeds. The features are then the same for all of
    them and stored once, and no VOC picture of a novel class influences them.

    Args:
        backbone: Backbone of any kind; one that does not standardise stays as it is.
        size: Side of the square that pictures are squashed to, px.
        data_root: Folder that holds ``BSDS500/``.

    Raises:
        FcpError: BSDS500 is missing.
    """
    if backbone.standardise:
        pictures = region_pictures(data_root)[:_STATISTICS_PICTURES]
        backbone.fit_statistics(to_square(read_image(one.image), size)[None] for one in pictures)
