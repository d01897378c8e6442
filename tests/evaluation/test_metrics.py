"""Counts against torchmetrics and by hand; pooling is what the protocol says."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, jaccard_score, precision_score, recall_score
from torchmetrics.classification import BinaryJaccardIndex, BinaryPrecision, BinaryRecall

from fcp.evaluation.metrics import Counts, ScoreBoard, count_pixels, mean_scores


@given(seed=st.integers(0, 1000), share=st.floats(0.1, 0.9))
def test_counts_agree_with_torchmetrics(seed, share):
    generator = torch.Generator().manual_seed(seed)
    prediction, target = torch.rand(2, 9, 7, generator=generator) < share
    valid = torch.rand(9, 7, generator=generator) < 0.8
    counts = count_pixels(prediction, target, valid)
    assert counts.tp + counts.fp + counts.fn + counts.tn == valid.sum()
    labels = torch.where(valid, target.int(), -1)
    for value, metric in [
        (counts.iou, BinaryJaccardIndex(ignore_index=-1)),
        (counts.precision, BinaryPrecision(ignore_index=-1)),
        (counts.recall, BinaryRecall(ignore_index=-1)),
        (counts.background.iou, None),
    ]:
        if metric is None:
            flipped = torch.where(valid, (~target).int(), -1)
            expected = BinaryJaccardIndex(ignore_index=-1)((~prediction).int(), flipped)
        else:
            expected = metric(prediction.int(), labels)
        assert value == pytest.approx(expected.item(), abs=1e-6)


def test_empty_cases():
    assert Counts(tn=9).iou == 1
    assert Counts(tn=9).precision == 0
    assert Counts(tn=9).recall == 0
    assert Counts(fp=3, tn=6).iou == 0
    blank = torch.zeros(2, 3, dtype=torch.bool)
    assert count_pixels(blank, blank) == Counts(tn=6)
    assert count_pixels(~blank, blank, blank) == Counts()


@pytest.mark.parametrize(
    ("prediction", "target", "valid"),
    [
        ("1100", "1010", "1111"),
        ("0000", "1010", "1111"),  # nothing found
        ("1111", "1010", "1111"),  # all found
        ("1100", "0000", "1111"),  # nothing there
        ("1100", "1100", "0011"),  # all of it ignored
        ("1100", "1010", "0110"),
    ],
)
def test_odd_cases_agree_with_scikit_learn(prediction, target, valid):
    p, t, v = (torch.tensor([[c == "1" for c in text]]) for text in (prediction, target, valid))
    counts = count_pixels(p, t, v)
    true, found = t[v].numpy(), p[v].numpy()
    assert counts.iou == jaccard_score(true, found, zero_division=1)
    assert counts.background.iou == jaccard_score(~true, ~found, zero_division=1)
    assert counts.precision == precision_score(true, found, zero_division=0)
    assert counts.recall == recall_score(true, found, zero_division=0)
    tn, fp, fn, tp = confusion_matrix(true, found, labels=[False, True]).ravel()
    assert counts == Counts(tp, fp, fn, tn)


def test_a_mean_over_runs_leaves_out_classes_that_a_run_did_not_draw():
    scores = mean_scores([board(*EPISODES).compute(), board(EPISODES[2]).compute()])
    assert scores.class_iou == {"cat": 90 / 110, "dog": 0.5}
    assert scores.miou == pytest.approx(((90 / 110 + 0.5) / 2 + 0.5) / 2)


def board(*episodes):
    result = ScoreBoard()
    for name, counts in episodes:
        result.add(name, counts)
    return result


EPISODES = [
    ("cat", Counts(tp=90, fp=10, fn=0, tn=900)),
    ("cat", Counts(tp=0, fp=0, fn=10, tn=990)),
    ("dog", Counts(tp=30, fp=10, fn=20, tn=940)),
]


def test_scores_by_hand():
    scores = board(*EPISODES).compute()
    assert scores.class_iou == {"cat": 90 / 110, "dog": 30 / 60}
    assert scores.miou == pytest.approx((90 / 110 + 30 / 60) / 2)
    assert scores.fb_iou == pytest.approx((120 / 170 + 2830 / 2880) / 2)
    assert scores.precision == pytest.approx((90 / 100 + 30 / 40) / 2)
    assert scores.recall == pytest.approx((90 / 100 + 30 / 50) / 2)
    assert scores.mean_episode_iou == pytest.approx((90 / 100 + 0 + 30 / 60) / 3)
    assert scores.mean_episode_iou != pytest.approx(scores.miou)


@given(order=st.permutations(range(len(EPISODES))))
def test_the_order_of_episodes_changes_no_number(order):
    assert board(*(EPISODES[i] for i in order)).compute() == board(*EPISODES).compute()


def test_pooling_agrees_with_numpy_over_all_pixels():
    generator = np.random.default_rng(0)
    masks = generator.random((20, 2, 8, 8)) < 0.4
    scores = board(
        *(
            ("ab"[i % 2], count_pixels(torch.from_numpy(p), torch.from_numpy(t)))
            for i, (p, t) in enumerate(masks)
        )
    ).compute()
    for offset, name in enumerate("ab"):
        p, t = masks[offset::2, 0], masks[offset::2, 1]
        assert scores.class_iou[name] == pytest.approx((p & t).sum() / (p | t).sum())


def test_nothing_added():
    with pytest.raises(ValueError, match="no episode"):
        ScoreBoard().compute()
