"""Which frames of a film are remembered, and that the support is that of the same pairs."""

import numpy as np
import pytest
import torch

from fcp.inference.clip_memory import SURE, ClipMemory, is_sure
from fcp.inference.segmenter import FewShotSegmenter


@pytest.fixture(scope="module")
def segmenter():
    return FewShotSegmenter.from_pretrained("tiny", device="cpu")


def pair(seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    mask = np.zeros((40, 50), bool)
    mask[5 + seed : 25 + seed, 10:30] = True
    return pixels, mask


@pytest.fixture
def memory(segmenter):
    examples = {"cat": [pair(0)], "dog": [pair(1)]}
    support = segmenter.encode(examples, appearance="off")
    return ClipMemory(segmenter, examples, support, 2, every=1)


def test_the_surest_frames_stay(memory):
    for seed, score in enumerate((0.9, 0.85, 0.95, 0.86)):
        memory.see({"cat": score}, lambda name, seed=seed: (seed, name))
    assert [one.score for one in memory.frames_of("cat")] == [0.95, 0.9]
    assert [one.pair for one in memory.frames_of("cat")] == [(2, "cat"), (0, "cat")]
    assert memory.frames_of("dog") == ()


def test_frames_are_shown_only_if_they_are_kept(memory):
    shown = []
    for score in (0.9, 0.95, 0.85):
        memory.see({"cat": score}, lambda name: shown.append(name) or pair(2))
    assert shown == ["cat", "cat"]


def test_the_support_is_that_of_examples_and_frames(memory, segmenter):
    memory.see({"cat": 0.9}, lambda _: pair(3))
    expected = segmenter.encode({"cat": [pair(0), pair(3)], "dog": [pair(1)]}, appearance="off")
    for name in ("cat", "dog"):
        assert torch.equal(memory.support.classes[name].high, expected.classes[name].high)
    assert list(memory.support.classes) == ["cat", "dog"]


def test_it_is_encoded_once_in_so_many_frames(segmenter, monkeypatch):
    examples = {"cat": [pair(0)]}
    support = segmenter.encode(examples, appearance="off")
    memory = ClipMemory(segmenter, examples, support, 9, every=3)
    counts = []
    monkeypatch.setattr(
        FewShotSegmenter,
        "encode",
        lambda self, pairs, **how: counts.append(len(pairs["cat"])) or support,
    )
    for seed in range(7):
        memory.see({"cat": 0.9}, lambda _, seed=seed: pair(seed % 3))
        assert memory.support.classes
    assert counts == [2, 5, 8]  # after the first, fourth and seventh frame


def test_no_memory_changes_nothing(segmenter):
    examples = {"cat": [pair(0)]}
    support = segmenter.encode(examples, appearance="off")
    memory = ClipMemory(segmenter, examples, support, 0)
    memory.see({"cat": 1.0}, lambda _: pair(1))
    assert memory.support is support


def test_an_unsure_or_absent_class_is_not_remembered():
    assert is_sure(SURE, None)
    assert is_sure(SURE, SURE)
    assert not is_sure(SURE - 0.01, None)
    assert not is_sure(1.0, SURE - 0.01)
    assert not is_sure(0.0, None)
