"""Who decides: by others, by halves, and what is told."""

import pytest
import torch

from fcp.inference.appearance.gate import Decision, Trial, decide_by_halves, decide_by_others
from fcp.inference.appearance.samples import Samples

TRUTH = torch.tensor([1.0] * 10 + [0.0] * 10)
ONES = torch.ones(20)


def trial(network, appearance):
    """Make a trial of an object of ten pixels from how many each finds; who finds, is surer."""
    samples = Samples(ONES[:, None], TRUTH, ONES, ONES, torch.zeros(20, 2))
    odds = [torch.where(torch.arange(20) < count, 2.0, -1.0) for count in (network, appearance)]
    return Trial(samples, *odds)


def test_iou_of_a_mixture():
    one = trial(4, 9)
    assert one.iou(0) == pytest.approx(0.4)
    assert one.iou(1) == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("network", "appearance", "share"), [(2, 9, 0.5), (9, 2, 0.2), (5, 5, 0.2)]
)
def test_several_examples(network, appearance, share):
    decided = decide_by_others([trial(network, appearance)] * 3)
    assert decided.share == share
    assert decided.by_appearance == (network == 2)
    assert decided.network_iou == pytest.approx(network / 10)


@pytest.mark.parametrize(("network", "mixture"), [(0, 0), (0.001, 0.002), (0.1, 0.149)])
def test_appearance_that_finds_next_to_nothing_does_not_decide(network, mixture):
    decided = Decision(0.2, mixture, network)
    assert not decided.by_appearance
    assert not decided.sentence.startswith("decided by appearance")
    assert Decision(0.2, 0.16, 0.1).by_appearance


@pytest.mark.parametrize(
    ("network", "appearance", "known", "share"),
    [
        (2, 9, (0.3, 0.2), 1),
        (5, 9, (0.6, 0.5), 1),  # the network knows its example, and the appearance far better
        (8, 9, (0.9, 0.8), 0),  # it knows it nearly as well
        (5, 5, (0.3, 0.2), 0),  # the appearance is not better
        (6, 8, (0.3, 0.2), 0.5),  # better, but not much
    ],
)
def test_one_example(network, appearance, known, share):
    decided = decide_by_halves([trial(network, appearance)] * 2, known)
    assert decided.share == share


def test_several_examples_may_leave_it_all_to_the_appearance():
    weak = trial(0, 9)
    network = Trial(weak.samples, 5 * weak.network, weak.appearance)  # -5: it is sure, and wrong
    decided = decide_by_others([network] * 2)
    assert decided.share == 1
    assert decided.by_appearance


def test_sentences():
    told = decide_by_halves([trial(2, 9)], (0.1, 0.1)).sentence
    assert told == "decided by appearance: 90 % against 20 % on your own examples"
    assert decide_by_others([trial(9, 9)]).sentence.startswith("decided by the network")
