"""Scores on held-out pictures during training, and the model with the best of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from fcp.data.dataset import FewShotDataset
from fcp.data.episodes import sample_episodes
from fcp.data.lists import drop_small_classes, holdout_lists
from fcp.engine.checkpoints import random_state, set_random_state
from fcp.engine.method_recipe import MethodRecipe
from fcp.engine.recipe import HeadRecipe
from fcp.engine.tracking import Report
from fcp.evaluation.evaluate import Predictor, evaluate
from fcp.system.words import counted


@dataclass(frozen=True)
class Holdout:
    """Scoring during a run; training is the same with and without it.

    Attributes:
        every: Number of steps between two scores; the last step is scored too.
        score: Function that judges the model as it is, in evaluation mode; higher is better.
        save: Function that keeps the model, called when the score is the best so far.
    """

    every: int
    score: Callable[[], float]
    save: Callable[[], None]

    def due(self, step: int, total: int) -> bool:
        """Return whether a score is taken after ``step`` of ``total`` steps."""
        return step % self.every == 0 or step == total


def base_class_holdout(
    recipe: HeadRecipe | MethodRecipe,
    data: FewShotDataset,
    *,
    image_size: int,
    predictor: Callable[[], Predictor],
    save: Callable[[], None],
    report: Report,
) -> Holdout:
    """Make the scoring by 1-shot mIoU on the base classes that are held out.

    Args:
        recipe: Recipe with the number of episodes and the steps between two scores.
        data: Data set that is trained on.
        image_size: Side of the square pictures, px.
        predictor: Function that makes a new predictor of the model as it is; one of an earlier
            step would keep what that step made of the features.
        save: Function that keeps the model.
        report: Function that takes a line if training pictures are among the held-out ones.

    Raises:
        FcpError: no two hold-out pictures show the same class.
    """
    lists = drop_small_classes(holdout_lists(data, recipe.fold), 1)
    episodes = sample_episodes(lists, shots=1, episodes=recipe.holdout_episodes, seed=recipe.seed)
    shared = len(set(lists.rows) & set(data.ids("train")))
    if shared:
        report(
            f"hold-out: {shared} of its {counted(len(lists.rows), 'picture')} are trained on, too; "
            "the best model is not chosen by new pictures, so measure it on others"
        )

    def score() -> float:
        return evaluate(predictor(), data, episodes, image_size=image_size).square.miou

    return Holdout(recipe.holdout_every, score, save)


def judge(holdout: Holdout, model: nn.Module, best: float | None) -> tuple[float, float]:
    """Score the model, and save it if it is better than the best so far.

    Returns:
        The score, and the best one.
    """
    with _undisturbed(model):
        score = float(holdout.score())
        if best is None or score > best:
            holdout.save()
            best = score
    return score, best


@contextmanager
def _undisturbed(model: nn.Module) -> Iterator[None]:
    """Set evaluation mode; afterwards restore each module's mode and all random states."""
    modes = {module: module.training for module in model.modules()}
    state = random_state()
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        set_random_state(state)
