"""Calibration of presence: a classifier fitted on the training classes in val pictures.

Val pictures were not trained on, and those that show a novel class are left out, so that nothing of
the novel classes is known here either.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from fcp.data.dataset import FewShotDataset
from fcp.data.presence_pairs import Pair, Pictures, draw_pairs, order_of
from fcp.data.transforms import to_square
from fcp.engine.labelled import LabelledPictures
from fcp.errors import FcpError
from fcp.evaluation.evaluate import Progress
from fcp.inference.encoding import encode_examples
from fcp.inference.networks.base import AnyNetwork, Known
from fcp.inference.packing import tensors_of
from fcp.inference.presence import Look, Presence, features, look_at
from fcp.system.words import counted

RECALL = 0.945  # share of the present classes that the default threshold finds
INVERSE_PENALTY = 0.1  # scikit-learn's C, on standardised features
CLASSES_APART = 5  # folds of the cross-validation that gives the threshold
PAIRS_OF_CLASS = 200
PAIRS_A_PICTURE = 4  # of each class, in a labelled folder
SUPPORT_BYTES = 2 << 30  # of encoded examples in memory; five of `small` are about 40 MB
SHOTS = (1, 1, 2, 3, 5)
Asked = tuple[int, tuple[str, ...]]  # class and examples of a pair


@dataclass(frozen=True)
class AnsweredPair:
    """Features of a pair, from which presence is judged.

    Attributes:
        pair: Question: examples, class and query.
        known: Features of the examples that presence is judged by.
        look: Features of the query under the predicted mask.
        has_mask: Whether the predicted mask has any pixel.
    """

    pair: Pair
    known: Known
    look: Look
    has_mask: bool


def see_pairs(network: AnyNetwork, data: Pictures, pairs: Sequence[Pair]) -> Iterator[AnsweredPair]:
    """Search the query of each pair for the examples' class.

    Each set of examples is encoded once. Pairs are answered in parts, so that the encoded examples
    of a part fit ``SUPPORT_BYTES``; a query is encoded once for each part that asks about it.

    Args:
        network: Network that searches.
        data: Data set that the ids of the pairs belong to.
        pairs: Pairs made by ``draw_pairs``, sorted by query.

    Yields:
        Answers, in the order of the pairs of each part.
    """
    waiting: dict[Asked, list[Pair]] = {}
    for pair in sorted(pairs, key=lambda pair: pair.class_id):
        waiting.setdefault((pair.class_id, pair.examples), []).append(pair)
    while waiting:
        supports: dict[Asked, Any] = {}
        part: list[Pair] = []
        held = 0
        while waiting and held < SUPPORT_BYTES:
            asked = next(iter(waiting))
            supports[asked] = _encode(network, data, asked)
            held += sum(tensor.nbytes for _, tensor in tensors_of(supports[asked]))
            part += waiting.pop(asked)
        yield from _answer(network, data, sorted(part, key=order_of), supports)


@torch.inference_mode()
def _encode(network: AnyNetwork, data: Pictures, asked: Asked) -> Any:  # noqa: ANN401
    class_id, examples = asked
    return encode_examples(
        network, [(data.image(name), data.class_mask(name, class_id)) for name in examples]
    )


def _answer(
    network: AnyNetwork, data: Pictures, pairs: Sequence[Pair], supports: Mapping[Asked, Any]
) -> Iterator[AnsweredPair]:
    """Answer pairs, sorted by query, whose examples are encoded."""
    known = {asked: network.known(support) for asked, support in supports.items()}

    @lru_cache(maxsize=1)
    def query(name: str) -> Any:  # noqa: ANN401  (any network's)
        picture = to_square(data.image(name), network.square)[None]
        return network.query(picture.to(network.device))

    for pair in pairs:
        asked = (pair.class_id, pair.examples)
        with torch.inference_mode():
            picture = query(pair.query)
            answer = network.match(supports[asked], picture)
            look = look_at(network.cells(picture), answer)[0]
            yield AnsweredPair(pair, known[asked], look, bool((answer.logits > 0).any()))


def calibrate(
    network: AnyNetwork,
    data: FewShotDataset,
    fold: int | None,
    *,
    per_class: int = PAIRS_OF_CLASS,
    seed: int = 0,
    progress: Progress | None = None,
) -> Presence:
    """Fit a model's presence classifier on the fold's training classes.

    Args:
        network: Network of the model.
        data: Data set that the model was trained on.
        fold: Fold whose novel classes are never seen; None where all classes were trained on.
        per_class: Number of pairs of each class.
        seed: Seed of the drawn pairs.
        progress: Function called after each pair with (done, all).

    Returns:
        Presence classifier whose threshold finds 94.5 % of the present classes, measured on classes
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
    return _fit(network, data, pairs, seed, progress)


def calibrate_on_folder(
    network: AnyNetwork,
    data: LabelledPictures,
    *,
    per_class: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Presence:
    """Fit a model's presence classifier on labelled pictures of a user's own, 20 or more.

    With fewer than five classes the threshold is measured on pictures, not classes, left out of the
    fit; the examples may then come from pictures that the fit has seen.

    Args:
        network: Network of the model.
        data: Labelled pictures.
        per_class: Number of pairs of each class; None for four times the number of pictures.
        seed: Seed of the drawn pairs.
        progress: Function called after each pair with (done, all).
    """
    data = data.outlined(network)
    per_class = PAIRS_A_PICTURE * len(data) if per_class is None else per_class
    pairs = draw_pairs(data, data.asked, per_class=per_class, shots=SHOTS, seed=seed)
    return _fit(network, data, pairs, seed, progress)


def _fit(
    network: AnyNetwork,
    data: Pictures,
    pairs: Sequence[Pair],
    seed: int,
    progress: Progress | None,
) -> Presence:
    place = {pair: number for number, pair in enumerate(pairs)}
    seen: list[AnsweredPair] = []
    for one in see_pairs(network, data, pairs):
        seen.append(one)
        if progress is not None:
            progress(len(seen), len(pairs))
    seen.sort(key=lambda one: place[one.pair])
    looks = torch.stack([one.look.means for one in seen])
    examples = torch.stack([one.known.means for one in seen])
    centres = torch.stack([looks[:, 0].mean(0), examples[:, 0].mean(0)])
    levels = network.levels
    read = torch.stack(
        [features(one.look, one.known, levels=levels, centres=centres) for one in seen]
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

    Of fewer than five classes, pictures are left out in turn.

    Args:
        read: (n, features) of each question.
        seen: The same questions, in this order.
        levels: Channels of each level.
        centres: (2, D) means over many pictures, of queries and of examples.
        seed: Seed of the questions, for the record.
    """
    inputs, present = read.double().numpy(), np.array([one.pair.present for one in seen])
    classes = np.array([one.pair.class_id for one in seen])
    by_class = len(set(classes)) >= CLASSES_APART
    groups = classes if by_class else np.array([one.pair.query for one in seen])
    model = _regression()
    apart = GroupKFold(CLASSES_APART)
    guesses = cross_val_predict(
        model, inputs, present, groups=groups, cv=apart, method="predict_proba"
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
            "left_out": "classes" if by_class else "pictures",
            "recall": round(float((guesses[present] >= threshold).mean()), 4),
            "false_alarms": round(float((guesses[~present] >= threshold).mean()), 4),
        },
    )


def _refuse_few_classes(count: int) -> None:
    if count < CLASSES_APART:
        raise FcpError(
            f"presence: {counted(count, 'class', 'classes')} with pictures; at least "
            f"{CLASSES_APART} are needed, some of which are left out in turn"
        )


def _regression() -> Pipeline:
    return make_pipeline(StandardScaler(), LogisticRegression(C=INVERSE_PENALTY, max_iter=3000))
