"""Presence is fitted on training classes alone, and its rates are those of classes left out."""

import hashlib
import weakref

import numpy as np
import pytest
import torch
from PIL import Image

from fcp.data.class_folders import ClassFolders
from fcp.data.pascal import PascalVOC
from fcp.data.presence_pairs import Pair, draw_pairs
from fcp.data.prompts import Points, annotation_mask
from fcp.engine import calibrate as module
from fcp.engine.calibrate import AnsweredPair, calibrate, see_pairs
from fcp.engine.labelled import LabelledPictures
from fcp.errors import FcpError
from fcp.formats.examples import Example
from fcp.formats.run_lengths import to_runs
from fcp.inference.encoding import encode_examples
from fcp.inference.examples import read_given, with_outlines
from fcp.inference.networks.base import Known
from fcp.inference.prediction import ALL
from fcp.inference.presence import Look
from fcp.inference.segmenter import FewShotSegmenter


@pytest.fixture(scope="module")
def network(model_folder):
    return FewShotSegmenter.from_pretrained(model_folder, device="cpu").network


@pytest.fixture(scope="module")
def data(mini_voc):
    return PascalVOC(mini_voc)


def test_a_pair_is_seen_as_the_segmenter_sees_it(network, data):
    pairs = draw_pairs(data, (1, 6), per_class=4, shots=(2,), seed=0)
    segmenter = FewShotSegmenter(network, device="cpu")
    for seen in see_pairs(network, data, pairs):
        examples = [
            (data.image(name), data.class_mask(name, seen.pair.class_id))
            for name in seen.pair.examples
        ]
        segmenter.fit(examples, appearance="off")
        known = network.known(segmenter.support.classes["thing"])
        torch.testing.assert_close(seen.known.means, known.means)
        assert seen.known.shots == known.shots == 2
        found = segmenter.predict(data.image(seen.pair.query), least=ALL)
        assert seen.has_mask == found.here


def test_a_bound_on_memory_changes_no_answer(network, data, monkeypatch):
    pairs = draw_pairs(data, (1, 6), per_class=12, shots=(1, 2), seed=0)
    whole = list(see_pairs(network, data, pairs))
    assert [one.pair for one in whole] == pairs
    encoded, alive = [], []

    def encode(*arguments):
        assert sum(reference() is not None for reference in alive) <= 1  # that of the last part
        encoded.append(arguments)
        support = encode_examples(*arguments)
        alive.append(weakref.ref(support))
        return support

    monkeypatch.setattr(module, "encode_examples", encode)
    monkeypatch.setattr(module, "SUPPORT_BYTES", 1)
    parts = list(see_pairs(network, data, pairs))
    assert len(encoded) == len({(pair.class_id, pair.examples) for pair in pairs})
    found = {one.pair: one for one in parts}
    assert found.keys() == set(pairs)
    for one in whole:
        assert torch.equal(found[one.pair].look.sums, one.look.sums)
        assert torch.equal(found[one.pair].known.means, one.known.means)


def test_novel_classes_and_their_pictures_are_never_seen(network, data, monkeypatch):
    asked = []

    def watched(network, data, pairs):
        asked.extend(pairs)
        return see_pairs(network, data, pairs)

    monkeypatch.setattr(module, "see_pairs", watched)
    told = []
    presence = calibrate(network, data, 3, per_class=4, progress=lambda *now: told.append(now))
    assert told == [(done, len(asked)) for done in range(1, len(asked) + 1)]
    shown = {c for p in asked for name in (p.query, *p.examples) for c in data.pixels(name)}
    assert asked
    assert not set(data.novel(3)) & shown
    assert presence.facts["pairs"] == len(asked)
    assert presence.facts["classes"] == len({pair.class_id for pair in asked})


def test_one_class_is_not_enough(network, data, monkeypatch):
    monkeypatch.setattr(PascalVOC, "holdout", lambda self, fold: (1,))
    with pytest.raises(FcpError, match="1 class with pictures; at least 5 are needed"):
        calibrate(network, data, 3, per_class=4)


def test_a_folder_of_ones_own_is_asked_about_all_its_classes(network, tmp_path):
    rng = np.random.default_rng(0)
    for name in "abcdef":
        for number in range(3):
            for kind in ("images", "masks"):
                (tmp_path / name / kind).mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / "images" / f"{number}.png")
            mask = np.zeros((40, 40), dtype=np.uint8)
            mask[5:25, 5:25] = 255
            Image.fromarray(mask).save(tmp_path / name / "masks" / f"{number}.png")
    assert calibrate(network, ClassFolders(tmp_path), None, per_class=4).facts["classes"] == 6


def test_embedded_pictures_have_the_same_names_in_each_process():
    """Episodes are drawn by them, and Python's own hash of bytes differs with the process."""
    pictures = [np.full((40, 50, 3), value, np.uint8) for value in range(19)]
    turned = pictures[0].reshape(50, 40, 3)  # other pixels, the same bytes
    mask = np.ones((40, 50), bool)
    shown = {"cat": pictures[:10], "dog": [*pictures[10:], turned]}
    data = LabelledPictures(
        {name: [Example(one, to_runs(mask)) for one in those] for name, those in shown.items()}
    )
    names = list(data.areas("val"))
    assert len(names) == 20
    shape = repr((40, 50, 3)).encode()
    assert names[0] == hashlib.sha256(shape + pictures[0].tobytes()).hexdigest()


def test_points_in_a_folder_are_outlined_as_by_the_segmenter(network):
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (40, 50, 3), dtype=np.uint8) for _ in range(20)]
    marks, area = (Points([(10, 10), (30, 20)]),), np.eye(40, 50, dtype=bool)
    discs = to_runs(annotation_mask(marks, (40, 50)))
    labelled = LabelledPictures(
        {
            "marked": [Example(one, discs, marks=marks) for one in pictures[:10]],
            "drawn": [Example(one, to_runs(area)) for one in pictures[10:]],
        }
    )
    outlined = labelled.outlined(network)
    given = with_outlines(network, read_given([(one, marks) for one in pictures[:10]]))
    names = [*labelled.areas("val")]
    for name, (_, mask) in zip(names, given.pairs, strict=False):
        assert (outlined.class_mask(name, 1) == mask).all()
        assert (labelled.class_mask(name, 1) == annotation_mask(marks, (40, 50))).all()
    assert any((mask != annotation_mask(marks, (40, 50))).any() for _, mask in given.pairs)
    assert (outlined.class_mask(names[-1], 2) == area).all()


def seen_with(signal, noise, seed=0, classes=10, per_class=40):
    """Make up what was seen: one feature tells present from absent, as clearly as ``signal``."""
    rng = np.random.default_rng(seed)
    present = np.tile([True, False], classes * per_class // 2)
    read = torch.tensor(rng.normal(size=(len(present), 5)) * noise)
    read[:, 2] += torch.tensor(np.where(present, signal, 0))
    look = Look(torch.zeros(2, 2), torch.zeros(2))
    seen = [
        AnsweredPair(
            Pair(number // per_class, ("a",), f"{number}", bool(p)), Known(look.sums, 1), look, True
        )
        for number, p in enumerate(present)
    ]
    return read.float(), seen, present


def test_the_threshold_finds_94_percent_and_the_rates_are_counted_there():
    read, seen, present = seen_with(signal=2.0, noise=1.0)
    fitted = module.fit_presence(read, seen, levels=(2,), centres=torch.zeros(2, 2), seed=0)
    guesses = torch.sigmoid(read @ fitted.weights + fitted.bias).numpy()
    assert fitted.facts["recall"] == pytest.approx(0.945, abs=0.01)
    assert (guesses[present] >= fitted.threshold).mean() == pytest.approx(0.945, abs=0.02)
    assert (guesses[~present] >= fitted.threshold).mean() == pytest.approx(
        fitted.facts["false_alarms"], abs=0.03
    )
    assert int(fitted.weights.abs().argmax()) == 2


def test_probabilities_are_calibrated():
    read, seen, present = seen_with(signal=1.0, noise=1.0, classes=50)
    fitted = module.fit_presence(read, seen, levels=(2,), centres=torch.zeros(2, 2), seed=0)
    guesses = torch.sigmoid(read @ fitted.weights + fitted.bias).numpy()
    for low in (0.2, 0.4, 0.6):
        chosen = (guesses >= low) & (guesses < low + 0.2)
        assert guesses[chosen].mean() == pytest.approx(present[chosen].mean(), abs=0.06)
