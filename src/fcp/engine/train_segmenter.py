"""`fcp train` for the class-agnostic stage: pictures in, `segmenter.safetensors` out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save

from fcp.data.folds import novel_classes
from fcp.data.objects import Objects, named_by_coco, overlap_with_voc
from fcp.data.pascal import PascalVOC
from fcp.data.region_store import (
    RegionPicture,
    RegionSource,
    bsds_sources,
    object_sources,
    prepare,
    voc_sources,
    with_regions,
)
from fcp.encoders.hub import require_weights
from fcp.encoders.tiny import PyramidEncoder, TinySegmenter, start_trunk
from fcp.engine.loop import fit
from fcp.engine.processes import is_main, loader_workers
from fcp.engine.promptable import PromptableStage
from fcp.engine.recipe import SegmenterRecipe
from fcp.engine.region_batches import RegionBatches
from fcp.engine.tracking import Report, record_recipe
from fcp.errors import FcpError
from fcp.evaluation.seen import read_recipe
from fcp.features.cache import fingerprint
from fcp.models.files import RECIPE_FILE
from fcp.system.files import write_atomically
from fcp.system.words import counted

WEIGHTS = "segmenter.safetensors"


def train_segmenter(
    recipe: SegmenterRecipe, *, data_root: Path, out: Path, resume: bool, report: Report
) -> None:
    """Train the promptable segmenter and write its weights to ``out/segmenter.safetensors``.

    The region hierarchies are kept in ``out.parent/regions``, so that runs side by side share them.

    Raises:
        FcpError: data or starting weights are missing, the run to go on from was shown classes of
            ``exclude_folds``, or the loss is not finite.
    """
    require_unseen_start(recipe)
    model = starting_segmenter(recipe)
    sources = region_sources(data_root, recipe.exclude_folds, objects=recipe.objects)
    report(f"{counted(len(sources), 'picture')}; preparing those whose regions are not stored yet")
    # The regions follow the trunk's ImageNet features, not those of an earlier run.
    encode, store = TrunkFeatures(model.image_encoder), out.parent / "regions"
    encoder = fingerprint(model.image_encoder.trunk, "trunk")
    pictures = list(prepare(sources, store, encode, encoder=encoder, workers=loader_workers()))
    if recipe.start is not None:
        model.load_start(Path(recipe.start) / WEIGHTS)
    stage = segmenter_stage(recipe, model, pictures)
    record_recipe(out, recipe)
    fit(stage, recipe.optim, seed=recipe.seed, out=out, resume=resume, report=report)
    if is_main():
        tensors = {name: t.cpu().contiguous() for name, t in model.state_dict().items()}
        write_atomically(out / WEIGHTS, save(tensors))


def starting_segmenter(recipe: SegmenterRecipe) -> TinySegmenter:
    """Build a recipe's segmenter with the trunk's starting weights.

    Raises:
        FcpError: those weights are missing.
    """
    require_weights(recipe.backbone_weights, setting="backbone_weights")
    torch.manual_seed(recipe.seed)
    model = TinySegmenter(**recipe.options)
    start_trunk(model.image_encoder, recipe.backbone_weights)
    return model


def require_unseen_start(recipe: SegmenterRecipe) -> None:
    """Refuse a recipe that goes on from a segmenter that was shown classes of ``exclude_folds``.

    Raises:
        FcpError: the recipe of that segmenter's run is missing, or does not leave them out.
    """
    if recipe.start is not None and recipe.exclude_folds:
        require_unseen(Path(recipe.start) / WEIGHTS, recipe.exclude_folds, setting="start")


def require_unseen(weights: Path, folds: Collection[int], *, setting: str) -> None:
    """Refuse a segmenter that was shown pictures of classes that should stay novel.

    Args:
        weights: File of its weights in the folder of its run; a missing one is told when it is
            read.
        folds: PASCAL-5i folds whose classes should be novel.
        setting: Setting of the recipe that names the file or the run, for the message.

    Raises:
        FcpError: its recipe is missing, or does not leave out all of the folds.
    """
    run = weights.parent
    before = read_recipe(run)
    if before is None:
        if weights.exists():
            raise FcpError(
                f"{setting}: {run} has no {RECIPE_FILE}, so that the classes that it was shown are "
                "unknown; name the whole folder of a segmenter's run"
            )
        return
    seen = sorted(set(folds) - set(before.get("exclude_folds", ())))
    if seen:
        named = ", ".join(map(str, seen))
        raise FcpError(
            f"{setting}: {run} was shown classes of fold {named} of PASCAL-5i that should stay "
            f"novel; train one with exclude_folds={sorted(folds)}"
        )


def segmenter_stage(
    recipe: SegmenterRecipe, model: TinySegmenter, pictures: Sequence[RegionPicture]
) -> PromptableStage:
    """Make a segmenter ready to train on prepared pictures."""
    batches = RegionBatches(
        pictures,
        batch=recipe.optim.batch,
        masks=recipe.masks,
        image_size=model.image_size,
        seed=recipe.seed,
    )
    return PromptableStage(model, batches)


def region_sources(
    data_root: Path, exclude_folds: Sequence[int], *, objects: bool
) -> list[RegionSource]:
    """List BSDS500 and the pictures of VOC, and of `objects`, without the excluded folds' classes.

    Args:
        data_root: Folder that holds ``BSDS500/``, ``VOC2012/`` and ``objects/``.
        exclude_folds: PASCAL-5i folds whose classes no listed picture shows.
        objects: Whether to list pictures of ``objects`` too; those of kinds that COCO names stay
            out.
    """
    voc = PascalVOC(data_root)
    novel = [c for fold in exclude_folds for c in novel_classes(fold)]
    shown = {
        picture: tuple(pixels)
        for picture, pixels in voc.areas("train").items()
        if not any(c in pixels for c in novel)
    }
    sources = with_regions(bsds_sources(data_root))
    sources += voc_sources(data_root, rarity_weights(shown))
    if not objects:
        return sources
    others = Objects(data_root)
    left_out = overlap_with_voc(others.kinds, [voc.classes[c] for c in novel])
    left_out |= named_by_coco(others.kinds)
    kept = {p: kinds for p, kinds in others.shown.items() if left_out.isdisjoint(kinds)}
    return sources + object_sources(others, rarity_weights(kept))


def rarity_weights(shown: Mapping[str, Sequence[int]]) -> dict[str, float]:
    """Weigh pictures by 1 / √(pictures with their rarest class), 1 on average.

    Else the few common classes would teach that a region is an animal or a person.

    Args:
        shown: Classes in each picture; a picture without any weighs as little as those of the
            commonest class.
    """
    count = Counter(c for classes in shown.values() for c in classes)
    largest = max(count.values(), default=1)
    raw = {
        picture: min((count[c] for c in classes), default=largest) ** -0.5
        for picture, classes in shown.items()
    }
    mean = sum(raw.values()) / max(1, len(raw))
    return {picture: weight / mean for picture, weight in raw.items()}


@dataclass(frozen=True)
class TrunkFeatures:
    """Function from a picture to the trunk's maps of strides 8, 16 and 32.

    Attributes:
        encoder: Encoder that holds the trunk.
    """

    encoder: PyramidEncoder

    def __call__(self, image: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """Encode a picture (H, W, 3)."""
        pixels = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
        with torch.inference_mode():
            levels = self.encoder.eval().levels(pixels)[2:]
        return [level[0].float().numpy() for level in levels]
