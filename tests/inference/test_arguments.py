"""What is no photo, no example and no option is refused in one line, whatever its type."""

import weakref
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fcp.errors import FcpError
from fcp.inference.segmenter import FewShotSegmenter


def photo(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (70, 100, 3), dtype=np.uint8)


def square_mask():
    mask = np.zeros((70, 100), dtype=bool)
    mask[17:35, 25:50] = True
    return mask


@pytest.fixture(scope="module")
def loaded(model_folder):
    return FewShotSegmenter.from_pretrained(model_folder, device="cpu")


@pytest.fixture(scope="module")
def segmenter(loaded):
    return loaded.fit([(photo(), square_mask())], appearance="off")


@pytest.mark.parametrize(
    "images",
    [
        photo(),
        photo()[..., 0],
        photo()[..., :1],
        "a.jpg",
        Path("a.jpg"),
        Image.fromarray(photo()),
        BytesIO(b"GIF"),
        b"GIF",
        {"a.jpg": photo()},
        None,
        5,
    ],
    ids=lambda one: type(one).__name__,
)
def test_one_photo_is_no_batch(segmenter, images):
    with pytest.raises(FcpError, match=r"predict_batch: expected a list of photos, got .*; give "):
        segmenter.predict_batch(images)


def test_a_stack_and_an_array_of_files_are_batches(segmenter, tmp_path):
    files = [tmp_path / "a.png", tmp_path / "b.png"]
    for seed, file in enumerate(files):
        Image.fromarray(photo(seed=seed)).save(file)
    stack = np.stack([photo(seed=0), photo(seed=1)])
    by_file = segmenter.predict_batch(np.array([str(file) for file in files]))
    for one, other in zip(segmenter.predict_batch(stack), by_file, strict=True):
        assert np.allclose(one.logits, other.logits, atol=1e-4)


def test_only_a_batch_of_a_generators_photos_is_held(segmenter):
    made, held = [], []

    def photos():
        for seed in range(5):
            held.append(sum(one() is not None for one in made))
            yield remember(photo(seed=seed))

    def remember(one):
        made.append(weakref.ref(one))
        return one

    found = segmenter.predict_batch(photos(), batch_size=2)
    assert held == [0, 1, 0, 1, 0]
    listed = segmenter.predict_batch([photo(seed=seed) for seed in range(5)], batch_size=2)
    for one, other in zip(found, listed, strict=True):
        assert np.array_equal(one.logits, other.logits)


@pytest.mark.parametrize("image", [torch.zeros(3, 60, 80), [[1, 2]], BytesIO(b"GIF"), b"GIF", None])
def test_what_is_no_picture_is_told_what_is(segmenter, image):
    with pytest.raises(FcpError, match=r"the given <class .*: expected a path, a Pillow picture"):
        segmenter.predict(image)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": "0.5"}, r"threshold: expected a probability, 0 … 1, got '0\.5'"),
        ({"threshold": np.nan}, "threshold: expected a probability, 0 … 1, got nan"),
        ({"least": 5}, r"least: expected a Least, such as Least\(score=0\.2\), got 5"),
        ({"support": "cats.safetensors"}, "support: expected a Support, as Support.load returns"),
        ({"batch_size": "2"}, "batch_size: expected at least 1, a whole number, got '2'"),
        ({"batch_size": 1.5}, "batch_size: expected at least 1, a whole number, got 1.5"),
    ],
)
def test_options_of_another_type_are_refused(segmenter, options, message):
    with pytest.raises(FcpError, match=message):
        segmenter.predict_batch([photo()], **options)


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        ({0: [(photo(), square_mask())]}, "examples: expected names of classes as text, got 0"),
        ([[photo(), photo(seed=1)], [square_mask(), square_mask()]], "a photo, not a mask"),
        ({"cat": ([photo(), photo(seed=1)], [square_mask()] * 2)}, "a photo, not a mask"),
        ([(photo(), np.ma.array(square_mask()))], r"a masked array, not a mask; give mask\.filled"),
        ([(photo(), np.full(square_mask().shape, "a"))], "expected numbers, got <U1"),
        ([(photo(), np.full(square_mask().shape, None))], "expected numbers, got object"),
        ([(photo(), square_mask().astype(complex))], "expected numbers, got complex128"),
    ],
)
def test_examples_in_another_shape_are_refused(loaded, examples, message):
    with pytest.raises(FcpError, match=message):
        loaded.encode(examples)
