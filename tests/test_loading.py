"""The faster form of a model that answers: the same answers, and nothing of it is saved."""

import numpy as np
import torch

from fcp.segmenter import FewShotSegmenter


def test_the_faster_form_answers_like_the_model_that_is_saved(model_folder, tmp_path):
    rng = np.random.default_rng(0)
    example, photo = (rng.integers(0, 256, (60, 70, 3), dtype=np.uint8) for _ in range(2))
    mask = np.zeros((60, 70), dtype=bool)
    mask[20:40, 10:50] = True

    segmenter = FewShotSegmenter.from_pretrained(model_folder, device="cpu")
    faster = segmenter.fit([(example, mask)], appearance="off").predict(photo)
    segmenter.save_pretrained(tmp_path)
    assert segmenter.running is not segmenter.model
    segmenter.running = segmenter.model
    plain = segmenter.fit([(example, mask)], appearance="off").predict(photo)
    assert np.allclose(faster.logits, plain.logits, atol=1e-4)
    assert np.isclose(faster.score, plain.score, atol=1e-4)

    stored = FewShotSegmenter.from_pretrained(tmp_path, device="cpu").model.state_dict()
    kept = segmenter.model.state_dict()
    assert stored.keys() == kept.keys()
    assert all(torch.equal(stored[name], kept[name]) for name in kept)
