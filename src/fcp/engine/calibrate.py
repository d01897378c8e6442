"""Calibration of presence: a classifier fitted on the training classes in val pictures.

Val pictures were not trained on, and those that show a novel class are left out, so that nothing of
the novel classes is known here either.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from fcp.data.dataset import FewShotDataset, Picture
from fcp.data.presence_pairs import Pair, draw_pairs
from fcp.errors import FcpError
from fcp.inference.encoding import encode_examples
from fcp.inference.presence import Look, Presence, features, look_at, look_of_examples
from fcp.method.fcp.model import FCP
from fcp.structures import QueryFeatures, SupportSet

RECALL = 0.93  # share of the present classes that the default threshold finds
INVERSE_PENALTY = 0.1  # scikit-learn's C, on standardised features
CLASSES_APART = 5  # folds of the cross-validation that gives the threshold
PAIRS_OF_CLASS = 200
SUPPORTS_KEPT = 512  # encoded examples; the tiny model has at most 320, a few MB each
SHOTS = (1, 1, 2, 3, 5)


@dataclass(frozen=True)
class AnsweredPair:
    """Features of a pair, from which presence is judged.

    Attributes:
        pair: Question: examples, class and query.
        examples: Features of the examples that presence is judged by (2, D).
        shots: K, with the closer cuts of small objects among them.
        look: Features of the query under the predicted mask.
        has_mask: Whether the predicted mask has any pixel.
    """

    pair: Pair
    examples: Tensor
    shots: int
    look: Look
    has_mask: bool


def see_pairs(model: FCP, data: FewShotDataset, pairs: Sequence[Pair]) -> Iterator[AnsweredPair]:
    """Search the query of each pair for the examples' class; pairs come sorted by query.

    Args:
        model: Model in evaluation mode.
        data: Data set that the ids of the pairs belong to.
        pairs: Pairs made by ``draw_pairs``.
    """
    size, device = model.config.image_size, next(model.parameters()).device

    @cache
    def look(examples: tuple[str, ...], class_id: int) -> Tensor:
        return look_of_examples(support(examples, class_id))

    @lru_cache(maxsize=SUPPORTS_KEPT)
    def support(examples: tuple[str, ...], class_id: int) -> SupportSet:
        return encode_examples(
            model, [(data.image(name), data.class_mask(name, class_id)) for name in examples]
        )

    @lru_cache(maxsize=1)
    def query(name: str) -> QueryFeatures:
        return model.encode_query(Picture(data, name, size).image()[None].to(device))

    for pair in pairs:
        with torch.inference_mode():
            examples, picture = support(pair.examples, pair.class_id), query(pair.query)
            output = model.match(examples, picture)
            logits = output.mask_logits
            yield AnsweredPair(
                pair,
                look(pair.examples, pair.class_id),
                examples.grid_mask.shape[1],
                look_at(picture, logits, output.correlation)[0],
                bool((logits > 0).any()),
            )


def calibrate(
    model: FCP,
    data: FewShotDataset,
    fold: int | None,
    *,
    per_class: int = PAIRS_OF_CLASS,
    seed: int = 0,
) -> Presence:
    """Fit a model's presence classifier on the fold's training classes.

    Args:
        model: Model in evaluation mode.
        data: Data set that the model was trained on.
        fold: Fold whose novel classes are never seen; None where all classes were trained on.
        per_class: Number of pairs of each class.
        seed: Seed of the drawn pairs.

    Returns:
        Presence classifier whose threshold finds 93 % of the present classes, measured on classes
        left out of its fit.

    Raises:
        FcpError: too few classes have pictures for a cross-validation over classes.
    """
    known = data.holdout(fold)  # all classes where the data set is a user's own folder
    pairs = draw_pairs(
        data,
        known,
        without=set(data.novel(fold)) - set(known),
        per_class=per_class,
        shots=SHOTS,
        seed=seed,
    )
    _refuse_few_classes(len({pair.class_id for pair in pairs}))
    seen = list(see_pairs(model, data, pairs))
    looks = torch.stack([one.look.means for one in seen])
    examples = torch.stack([one.examples for one in seen])
    centres = torch.stack([looks[:, 0].mean(0), examples[:, 0].mean(0)])
    mid = model.head.levels
    levels = (*mid, looks.shape[2] - sum(mid))
    read = torch.stack(
        [
            features(
                one.look,
                one.examples,
                levels=levels,
                centres=centres,
                shots=one.shots,
            )
            for one in seen
        ]
    )
    return fit_presence(read, seen, levels=levels, centres=centres, seed=seed)


def fit_presence(
    read: Tensor,
    seen: Sequence[AnsweredPair],
    *,
    levels: tuple[int, ...],
    centres: Tensor,
    seed: int,
) -> Presence:
    """Fit the regression, and take the threshold from classes left out in turn.

    Args:
        read: (n, features) of each question.
        seen: The same questions, in this order.
        levels: Channels of each level, stage 4 last.
        centres: (2, D) means over many pictures, of queries and of examples.
        seed: Seed of the questions, for the record.
    """
    inputs, present = read.double().numpy(), np.array([one.pair.present for one in seen])
    classes = np.array([one.pair.class_id for one in seen])
    model = _regression()
    apart = GroupKFold(CLASSES_APART)
    guesses = cross_val_predict(
        model, inputs, present, groups=classes, cv=apart, method="predict_proba"
    )[:, 1]
    threshold = float(np.quantile(guesses[present], 1 - RECALL))
    scaler, regression = model.fit(inputs, present).named_steps.values()
    weights = regression.coef_[0] / scaler.scale_
    return Presence(
        levels=levels,
        centres=centres,
        weights=torch.tensor(weights).float(),
        bias=float(regression.intercept_[0] - weights @ scaler.mean_),
        threshold=round(threshold, 4),
        facts={
            "pairs": len(seen),
            "classes": len(set(classes)),
            "pictures": len({one.pair.query for one in seen}),
            "seed": seed,
            "recall": round(float((guesses[present] >= threshold).mean()), 4),
            "false_alarms": round(float((guesses[~present] >= threshold).mean()), 4),
        },
    )


def _refuse_few_classes(count: int) -> None:
    if count < CLASSES_APART:
        raise FcpError(
            f"presence: {count} classes have pictures; at least {CLASSES_APART} are needed, some "
            "of which are left out in turn"
        )


def _regression() -> Pipeline:
    return make_pipeline(StandardScaler(), LogisticRegression(C=INVERSE_PENALTY, max_iter=3000))
