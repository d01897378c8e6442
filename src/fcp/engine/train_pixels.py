"""Training of head and backbone together on VOC and `objects`, on views drawn anew each time."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from fcp.data.dataset import FewShotDataset
from fcp.data.mixed import MixedTask, TaskSource, training_sources
from fcp.data.transforms import to_square
from fcp.engine.episodic import EpisodicStage
from fcp.engine.holdout import Holdout
from fcp.engine.mixtures import kinds_score, make_mixtures
from fcp.engine.pixel_batches import PixelBatches, answer_views, draw_episode, stack_pixels
from fcp.engine.processes import processes, to_device
from fcp.engine.recipe import HeadRecipe
from fcp.engine.tracking import Report
from fcp.method.fcp.losses.criterion import Criterion
from fcp.method.fcp.model import FCP


def pixel_stage(
    recipe: HeadRecipe, model: FCP, data_root: Path, out: Path, report: Report
) -> tuple[EpisodicStage, Holdout | None]:
    """Make the stage that trains head and backbone, and its scoring during training.

    Raises:
        FcpError: data are missing.
    """

    def ask(task: MixedTask) -> tuple[Tensor, Tensor]:
        episode = draw_episode(task, recipe.model.image_size, None)
        output = answer_views(model, to_device(stack_pixels([episode])))
        return output.mask_logits[0], episode["query_masks"]

    report("comparing the classes, so that queries without the object show one that looks alike")
    sources = training_sources(data_root, recipe.fold, hold_out=recipe.hold_out_kinds)
    stage = stage_on_pixels(recipe, model, sources)
    return stage, kinds_score(recipe, model, data_root, out, ask)


def stage_on_pixels(recipe: HeadRecipe, model: FCP, sources: Sequence[TaskSource]) -> EpisodicStage:
    """Make the stage that trains on the pixels of the sources' photos."""
    size, device = recipe.model.image_size, processes().device
    model.to(device)
    # Depthwise convolutions, forward and backward, take a quarter less time in this layout.
    model.backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.inference_mode()
    def see(data: FewShotDataset, photo: str) -> Tensor:
        _, *coarse = model.backbone(to_square(data.image(photo), size)[None].to(device)).levels
        return torch.cat(coarse, 1)[0].float().cpu()

    batches = PixelBatches(
        make_mixtures(recipe, sources, see),
        batch=recipe.optim.batch,
        image_size=size,
        seed=recipe.seed,
    )
    return EpisodicStage(
        model,
        batches,
        answer=partial(answer_views, model),
        criterion=Criterion(recipe.loss),
        train_backbone=True,
    )
