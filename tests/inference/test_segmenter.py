"""The door for people: sizes, kinds of input, reuse of the examples, saving, and clear refusals."""

import pickle
import shutil
from collections import Counter
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fcp.inference.segmenter
from fcp.data.lists import val_lists
from fcp.data.pascal import PascalVOC
from fcp.data.prompts import Box, Points, Scribble
from fcp.errors import FcpError
from fcp.inference.prediction import ALL
from fcp.inference.segmenter import FewShotSegmenter
from fcp.models.loading import find_model


def photo(height=70, width=100, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def square_mask(height=70, width=100):
    mask = np.zeros((height, width), dtype=bool)
    mask[height // 4 : height // 2, width // 4 : width // 2] = True
    return mask


@pytest.fixture(scope="module")
def loaded(model_folder):
    return FewShotSegmenter.from_pretrained(model_folder, device="cpu")


@pytest.fixture
def segmenter(loaded):
    return loaded.fit([(photo(), square_mask())])


def same(first, second, tolerance=1e-4):
    return np.allclose(first.logits, second.logits, atol=tolerance) and np.isclose(
        first.score, second.score, atol=tolerance
    )


@pytest.mark.parametrize(("height", "width"), [(70, 100), (1, 1), (33, 400), (300, 20)])
def test_answers_have_the_photos_own_size(segmenter, height, width):
    found = segmenter.predict(photo(height, width), least=ALL)
    assert found.mask.shape == found.logits.shape == found.pseudo_mask.shape == (height, width)
    assert found.mask.dtype == bool
    assert found.logits.dtype == found.pseudo_mask.dtype == np.float32
    assert (found.mask == (found.logits > 0)).all()
    for pseudo_mask in (found.pseudo_mask, found.conventional_mask):
        assert 0 <= pseudo_mask.min() <= pseudo_mask.max() <= 1
    assert 0 <= found.score <= 1


def test_batch_gives_what_single_photos_give(segmenter):
    photos = [photo(50, 60, 1), photo(200, 31, 2), photo(64, 64, 3)]
    together = segmenter.predict_batch(photos, batch_size=2)
    alone, one = (len(pickle.dumps(found)) for found in (segmenter.predict(photos[0]), together[0]))
    assert one < 1.01 * alone  # it does not carry the maps of its batch
    assert all(same(one, segmenter.predict(p)) for one, p in zip(together, photos, strict=True))


def test_no_photos_give_no_answers(segmenter):
    assert segmenter.predict_batch([]) == []


@pytest.fixture
def encoded(loaded, monkeypatch):
    """How many pictures each encoder has seen since the test began."""
    seen = Counter()
    for part, name in (("backbone", "whole"), ("segmenter", "encode")):
        encoder = getattr(loaded.network.running, part)
        original = getattr(encoder, name)

        def counted(images, *rest, part=part, original=original):
            seen[part] += len(images)
            return original(images, *rest)

        monkeypatch.setattr(encoder, name, counted)
    return seen


def test_one_example_and_twenty_photos_take_21_encoder_calls(loaded, encoded):
    loaded.fit([(photo(), square_mask())], appearance="off")
    loaded.predict_batch([photo(seed=seed) for seed in range(20)])
    assert encoded == {"backbone": 21, "segmenter": 21}


@pytest.mark.parametrize("asked", [{}, {"checks": True}, {"appearance": "off", "checks": True}])
def test_each_example_is_encoded_once_for_all_that_is_made_of_it(loaded, encoded, asked):
    """By the backbone also under its mask, in the same pass."""
    loaded.fit([(photo(seed=seed), square_mask()) for seed in range(3)], **asked)
    assert encoded == {"backbone": 3, "segmenter": 3}
    encoded.clear()
    loaded.predict_batch([photo(), photo(seed=5)])
    assert encoded == {"backbone": 2, "segmenter": 2}


def test_examples_are_pooled_unless_another_fusion_is_asked(model_folder):
    examples = [(photo(seed=5), square_mask()), (photo(90, 40, 6), square_mask(90, 40))]
    found = {}
    for name, chosen in {
        "": {},
        "pooled": {"fusion": "pooled"},
        "mean": {"fusion": "mean"},
    }.items():
        segmenter = FewShotSegmenter.from_pretrained(model_folder, device="cpu", **chosen)
        found[name] = segmenter.fit(examples).predict(photo(seed=7))
    assert np.array_equal(found[""].logits, found["pooled"].logits)
    assert not np.array_equal(found["mean"].logits, found["pooled"].logits)
    with pytest.raises(FcpError, match="fusion: expected one of mean, confidence, pooled, got 'x'"):
        FewShotSegmenter.from_pretrained(model_folder, device="cpu", fusion="x")


def test_order_of_examples_does_not_matter(loaded):
    examples = [(photo(seed=5), square_mask()), (photo(90, 40, 6), square_mask(90, 40))]
    first = loaded.fit(examples).predict(photo(seed=7))
    assert same(first, loaded.fit(examples[::-1]).predict(photo(seed=7)))


def three_classes():
    return {
        "a": [(photo(seed=1), square_mask())],
        "b": [(photo(seed=2), ~square_mask()), (photo(seed=3), square_mask())],
        "c": [(photo(40, 30, 4), square_mask(40, 30))],
    }


def test_one_class_answers_like_examples_without_a_name(loaded):
    examples = [(photo(), square_mask())]
    named = loaded.fit({"cat": examples}).predict(photo(seed=9))
    assert list(named.classes) == ["cat"]
    assert same(named, loaded.fit(examples).predict(photo(seed=9)), 0)


def test_several_classes_compete_with_the_log_odds_that_each_has_alone(loaded):
    photos = [photo(50, 60, 8), photo(31, 77, 9)]
    alone = {
        name: loaded.fit(pairs, appearance="off").predict_batch(photos)
        for name, pairs in three_classes().items()
    }
    together = loaded.fit(three_classes(), appearance="off").predict_batch(photos, least=ALL)
    for index, found in enumerate(together):
        assert list(found.classes) == ["a", "b", "c"]
        expected = np.stack(
            [np.zeros(found.labels.shape), *(alone[n][index].logits for n in alone)]
        )
        assert (found.labels == expected.argmax(0)).all()
        for label, (name, one) in enumerate(found.classes.items(), start=1):
            assert np.allclose(one.logits, alone[name][index].logits, atol=1e-4)
            assert (one.mask == (found.labels == label)).all()


def test_a_photo_is_encoded_once_for_all_classes(loaded, encoded):
    loaded.fit(three_classes(), appearance="off")
    encoded.clear()
    loaded.predict_batch([photo(), photo(seed=1)])
    assert encoded == {"backbone": 2, "segmenter": 2}


def test_negative_examples_take_pixels_and_are_not_told(loaded):
    wanted, other = [(photo(seed=1), square_mask())], [(photo(seed=2), square_mask())]
    plain = loaded.fit({"cat": wanted}, appearance="off").predict(photo(seed=9))
    rival = loaded.fit({"dog": other}, appearance="off").predict(photo(seed=9))
    found = loaded.fit({"cat": wanted}, negatives=other, appearance="off").predict(photo(seed=9))
    assert list(found.classes) == ["cat"]
    assert (found.mask == (plain.mask & (plain.logits >= rival.logits))).all()


@pytest.mark.parametrize(
    ("examples", "negatives", "message"),
    [
        ({}, [], "expected at least one class, got none"),
        ({"cat": []}, [], "at least one .* pair of 'cat', got none$"),
        ((photo(), square_mask()), [], r"^examples: expected \(picture, annotation\) pairs, as in"),
        ([photo(), square_mask()], [], r"as in \[\(photo, mask\)\]; an item is of .*ndarray"),
        ({"cat": [(photo(), 1, 2)]}, [], "^examples of 'cat': expected .* an item is of .*tuple"),
        (Points([(3, 4)]), [], r"^examples: expected .* pairs, as in .*; got .*Points"),
        (
            {"cat": [(photo(), square_mask()), (photo(), Points([(999, 4)]))]},
            [],
            r"^examples of 'cat': number 2: the given array: the point \(999, 4\) lies outside",
        ),
        (
            {"cat": [(photo(), square_mask())]},
            [(photo(), np.zeros((9, 9)))],
            "^examples that are negative: number 1: ",
        ),
        ({"cat": []}, [(photo(), square_mask())], "of 'cat', got none; negative examples alone"),
        (
            {"cat": [(photo(), square_mask())], "dog": [(photo(), square_mask())]},
            [],
            "'cat' and 'dog' mark the same pixels of the same picture",
        ),
        (
            {"cat": [(photo(), square_mask())]},
            [(photo(), square_mask())],
            "'cat' and 'the negative examples' mark the same pixels",
        ),
    ],
)
def test_classes_that_cannot_be_learnt_are_refused(loaded, examples, negatives, message):
    with pytest.raises(FcpError, match=message):
        loaded.fit(examples, negatives=negatives)


def test_a_tile_of_the_photos_size_is_the_photo(loaded):
    square = photo(90, 90, 7)
    examples = [(photo(90, 90, 1), square_mask(90, 90))]
    whole = loaded.fit(examples, appearance="off").predict(square)
    assert same(loaded.fit(examples, tile=90, appearance="off").predict(square), whole)


def test_tiles_answer_at_the_photos_size(loaded, encoded):
    loaded.fit([(photo(), square_mask())], tile=100)
    encoded.clear()
    found = loaded.predict(photo(150, 260, 7), least=ALL)
    assert encoded["segmenter"] >= 6
    assert found.mask.shape == found.logits.shape == found.pseudo_mask.shape == (150, 260)
    assert (found.mask == (found.logits > 0)).all()


def test_fit_replaces_and_an_earlier_support_can_be_set_again(loaded):
    first = loaded.fit([(photo(seed=1), square_mask())]).predict(photo())
    kept = loaded.support
    second = loaded.fit([(photo(seed=2), ~square_mask())]).predict(photo())
    assert not same(first, second)
    loaded.support = kept
    assert same(first, loaded.predict(photo()))


def test_paths_pictures_and_arrays_are_one(loaded, tmp_path):
    pixels, mask = photo(), square_mask()
    Image.fromarray(pixels).save(tmp_path / "a.png")
    Image.fromarray(mask).save(tmp_path / "a_mask.png")
    by_array = loaded.fit([(pixels, mask)]).predict(pixels)
    by_path = loaded.fit([(tmp_path / "a.png", str(tmp_path / "a_mask.png"))])
    assert same(by_array, by_path.predict(tmp_path / "a.png"), 0)
    by_picture = loaded.fit([(Image.fromarray(pixels), Image.fromarray(mask))])
    assert same(by_array, by_picture.predict(Image.fromarray(pixels)), 0)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "1", "LA"])
def test_any_mode_of_picture_is_taken(segmenter, mode):
    assert segmenter.predict(Image.fromarray(photo()).convert(mode)).mask.shape == (70, 100)


def test_16_bit_and_exif_turned_photos_are_taken(segmenter, tmp_path):
    deep = photo()[..., 0].astype(np.uint16) * 257
    assert same(segmenter.predict(deep), segmenter.predict(photo()[..., 0]))
    exif = Image.Exif()
    exif[0x0112] = 6  # shown a quarter turned
    Image.fromarray(photo()).save(tmp_path / "turned.jpg", exif=exif)
    assert segmenter.predict(tmp_path / "turned.jpg").mask.shape == (100, 70)


def test_a_box_is_its_filled_mask(loaded):
    filled = np.zeros((70, 100), dtype=bool)
    filled[10:30, 20:60] = True
    by_box = loaded.fit([(photo(), Box(20, 10, 60, 30))], appearance="off").predict(photo(seed=1))
    assert same(by_box, loaded.fit([(photo(), filled)], appearance="off").predict(photo(seed=1)))


@pytest.mark.parametrize("annotation", [Points([(30, 20)]), Scribble([(5, 5), (60, 40), (90, 10)])])
def test_points_and_scribbles_are_taken(loaded, annotation):
    assert np.isfinite(loaded.fit([(photo(), annotation)]).predict(photo()).logits).all()


def test_a_thing_of_one_pixel_in_a_large_example_still_counts(loaded):
    mask = np.zeros((700, 1000), dtype=bool)
    mask[333, 777] = True  # nearest neighbour at 64 px misses it
    found = loaded.fit([(photo(700, 1000), mask)]).predict(photo())
    assert np.isfinite(found.logits).all()


def test_predict_before_fit_says_so(model_folder):
    with pytest.raises(FcpError, match="call fit"):
        FewShotSegmenter.from_pretrained(model_folder).predict(photo())


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        ([], "at least one"),
        ([(photo(), np.zeros((70, 100), bool))], "empty"),
        ([(photo(), np.ones((70, 99), bool))], "99×70"),
        ([("nowhere.jpg", np.ones((70, 99), bool))], "nowhere.jpg"),
    ],
)
def test_bad_examples_are_refused(loaded, examples, message):
    with pytest.raises(FcpError, match=message):
        loaded.fit(examples)


def test_bad_batch_size_is_refused(segmenter):
    with pytest.raises(FcpError, match="batch_size"):
        segmenter.predict_batch([photo()], batch_size=0)


def test_saved_and_loaded_again_it_gives_the_same(segmenter, tmp_path):
    segmenter.save_pretrained(tmp_path / "copy")
    assert {"config.json", "model.safetensors", "README.md"} <= {
        path.name for path in (tmp_path / "copy").iterdir()
    }
    copy = FewShotSegmenter.from_pretrained(tmp_path / "copy").fit([(photo(), square_mask())])
    assert same(segmenter.predict(photo(seed=3)), copy.predict(photo(seed=3)), 1e-5)


def test_model_card_travels_with_the_weights(model_folder, tmp_path):
    with_card = tmp_path / "with_card"
    shutil.copytree(model_folder, with_card)
    (with_card / "README.md").write_text("what it is bad at: everything", encoding="utf-8")
    FewShotSegmenter.from_pretrained(with_card).save_pretrained(tmp_path / "copy")
    assert "bad at" in (tmp_path / "copy" / "README.md").read_text(encoding="utf-8")


def test_a_card_that_is_no_utf_8_is_named(model_folder, tmp_path):
    shutil.copytree(model_folder, tmp_path / "model")
    (tmp_path / "model/README.md").write_bytes("trouv\u00e9".encode("latin-1"))
    with pytest.raises(FcpError, match=r"README\.md: not UTF-8 text; save it as UTF-8"):
        FewShotSegmenter.from_pretrained(tmp_path / "model")


def test_push_to_hub_uploads_a_model_folder(loaded, monkeypatch):
    uploaded = {}

    def upload_folder(self, *, repo_id, folder_path, **_):
        uploaded[repo_id] = {path.name for path in Path(folder_path).iterdir()}

    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi.upload_folder", upload_folder)
    monkeypatch.setattr(
        "huggingface_hub.hub_mixin.HfApi.create_repo",
        lambda self, repo_id, **_: type("Url", (), {"repo_id": repo_id})(),
    )
    loaded.push_to_hub("someone/mine", token="none")
    assert uploaded == {"someone/mine": {"config.json", "model.safetensors", "README.md"}}


def test_hub_id_is_fetched_and_loaded(model_folder, monkeypatch):
    asked = {}

    def snapshot_download(repo_id, **options):
        asked[repo_id] = options
        return str(model_folder)

    monkeypatch.setattr(fcp.models.loading, "snapshot_download", snapshot_download)
    FewShotSegmenter.from_pretrained("someone/mine", revision="v1", device="cpu")
    assert asked["someone/mine"]["revision"] == "v1"
    assert "model.safetensors" in asked["someone/mine"]["allow_patterns"]


@pytest.fixture(scope="module")
def tiny():
    return FewShotSegmenter.from_pretrained("tiny", device="cpu")


def test_tiny_is_small_and_has_its_card(tiny):
    assert sum(file.stat().st_size for file in find_model("tiny").iterdir()) <= 25e6
    assert tiny.card is not None


def test_tiny_finds_the_cat_in_its_mirrored_photo(tiny):
    folder = Path(pytest.importorskip("skimage").__file__).parent / "data"
    photo = np.asarray(Image.open(folder / "chelsea.png"))
    truth = np.asarray(Image.open(Path(str(files("fcp") / "demo" / "masks" / "chelsea.png")))) > 0
    found = tiny.fit([(photo, truth)]).predict(photo[:, ::-1]).mask[:, ::-1]
    assert (found & truth).sum() / (found | truth).sum() > 0.85


def test_tiny_finds_cats_in_real_photos(tiny, data_root):
    data = PascalVOC(data_root)
    cats = val_lists(data, 1).members[8][:9]
    tiny.fit([(data.image(cats[0]), data.class_mask(cats[0], 8))])
    parts = np.zeros(2)
    for picture in cats[1:]:
        found, truth = tiny.predict(data.image(picture)).mask, data.class_mask(picture, 8)
        parts += (found & truth).sum(), (found | truth).sum()
    assert parts[0] / parts[1] > 0.6
