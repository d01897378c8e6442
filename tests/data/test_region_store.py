"""The store of prepared pictures: what is stored is read back, and is built once."""

import sys

import numpy as np
import pytest
from PIL import Image

from fcp.data import region_store
from fcp.data.objects import Objects, named_by_coco, overlap_with_voc
from fcp.data.pascal import PascalVOC
from fcp.data.region_store import LONG_SIDE, bsds_sources, object_sources, prepare, voc_sources
from fcp.engine.train_segmenter import region_sources
from fcp.errors import FcpError

NONE = "no encoder"


def _no_features(image):
    return [np.random.default_rng(0).normal(size=(2, 4, 4)).astype(np.float32)]


def test_a_picture_is_built_once_and_read_back(mini_voc, tmp_path):
    sources = voc_sources(mini_voc, {"train_01_0": 2.0})
    first = next(prepare(sources, tmp_path, _no_features, encoder=NONE))

    def must_not_run(image):
        raise AssertionError("the stored picture was built again")

    second = next(prepare(sources, tmp_path, must_not_run, encoder=NONE))
    np.testing.assert_array_equal(first.tree.leaves, second.tree.leaves)
    np.testing.assert_array_equal(first.image, second.image)
    assert max(second.image.shape[:2]) == LONG_SIDE
    assert second.labels.shape[1:] == second.image.shape[:2] == second.tree.leaves.shape
    assert set(np.unique(second.labels)) <= {0, 1, 255}
    assert not list(tmp_path.glob("*.tmp"))


def test_other_data_under_the_same_names_and_damaged_files_are_prepared_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(region_store, "LONG_SIDE", 64)
    for root, value in (("one", 50), ("two", 200)):
        for folder in ("images/train", "regions/train"):
            (tmp_path / root / "BSDS500" / folder).mkdir(parents=True)
        base = tmp_path / root / "BSDS500"
        Image.new("RGB", (64, 48), (value,) * 3).save(base / "images/train/1.jpg")
        Image.new("L", (64, 48), value // 50).save(base / "regions/train/1_0.png")
    store = tmp_path / "store"
    for root, value in (("one", 50), ("two", 200), ("one", 50)):
        (picture,) = prepare(bsds_sources(tmp_path / root), store, _no_features, encoder=NONE)
        assert abs(float(picture.image.mean()) - value) < 2
        assert set(np.unique(picture.labels)) == {value // 50}
    assert len(list(store.iterdir())) == 2
    whole = {file.name: file.read_bytes() for file in store.iterdir()}
    for content in (b"", b"PK damaged", next(iter(whole.values()))[:2000]):
        for file in store.iterdir():
            file.write_bytes(content)
        (picture,) = prepare(bsds_sources(tmp_path / "one"), store, _no_features, encoder=NONE)
        assert abs(float(picture.image.mean()) - 50) < 2


def test_another_encoder_prepares_anew(mini_voc, tmp_path, monkeypatch):
    monkeypatch.setattr(region_store, "LONG_SIDE", 64)
    sources = voc_sources(mini_voc, {f"train_01_{n}": 1.0 for n in range(2)})

    def flat(image):
        return [np.zeros((1, 4, 4), np.float32)]

    for place in ("one", "other", "one"):  # the last finds what the first stored
        encode = _no_features if place == "one" else flat
        own, shared = (
            list(prepare(sources, tmp_path / store, encode, encoder=place))
            for store in (place, "shared")
        )
        for one, other in zip(own, shared, strict=True):
            np.testing.assert_array_equal(one.tree.children, other.tree.children)
    assert len(list((tmp_path / "shared").iterdir())) == 2 * len(sources)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a function is sent by name")
def test_several_processes_build_the_same(mini_voc, tmp_path, monkeypatch):
    monkeypatch.setattr(region_store, "LONG_SIDE", 64)
    sources = voc_sources(mini_voc, {f"train_01_{n}": 1.0 for n in range(3)})
    alone = list(prepare(sources, tmp_path / "alone", _no_features, encoder=NONE))
    here = []

    def encode(image):
        here.append(image)
        return _no_features(image)

    together = list(prepare(sources, tmp_path / "together", encode, encoder=NONE, workers=2))
    assert not here  # in this process
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one.tree.children, other.tree.children)
        np.testing.assert_array_equal(one.tree.leaves, other.tree.leaves)
        np.testing.assert_array_equal(one.labels, other.labels)


def test_bsds_pictures_bring_all_annotators(tmp_path):
    for folder in ("images/train", "regions/train"):
        (tmp_path / "BSDS500" / folder).mkdir(parents=True)
    Image.new("RGB", (40, 30)).save(tmp_path / "BSDS500/images/train/12.jpg")
    for annotator in (0, 1):
        Image.new("L", (40, 30)).save(tmp_path / f"BSDS500/regions/train/12_{annotator}.png")
    (source,) = bsds_sources(tmp_path)
    assert source.key == "bsds-12"
    assert [path.name for path in source.labels] == ["12_0.png", "12_1.png"]
    assert source.background == ()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_damaged_label_map_is_named(tmp_path, workers):
    for folder in ("images/train", "regions/train"):
        (tmp_path / "BSDS500" / folder).mkdir(parents=True)
    for number in range(2):
        noise = np.random.default_rng(number).integers(0, 256, (48, 64, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / f"BSDS500/images/train/{number}.jpg")
        whole = tmp_path / f"BSDS500/regions/train/{number}_0.png"
        Image.fromarray(noise[..., 0]).save(whole)
        whole.write_bytes(whole.read_bytes()[:1500])
    sources = bsds_sources(tmp_path)
    with pytest.raises(FcpError, match=r"_0\.png"):
        next(prepare(sources, tmp_path / "store", _no_features, encoder=NONE, workers=workers))
    assert not list((tmp_path / "store").iterdir())


@pytest.mark.parametrize("workers", [1, 2])
def test_a_missing_photo_is_named(mini_voc, tmp_path, workers):
    sources = voc_sources(mini_voc, {"gone": 1.0, "lost": 1.0})
    with pytest.raises(FcpError, match="gone"):
        next(prepare(sources, tmp_path, _no_features, encoder=NONE, workers=workers))


def test_each_mask_of_objects_is_a_region(mini_root, tmp_path):
    objects = Objects(mini_root)
    picture = "scenes/stable0"  # shows a horse and a cow
    (source,) = object_sources(objects, {picture: 0.5})
    stored = next(prepare([source], tmp_path, _no_features, encoder=NONE))
    assert (source.key, stored.background, stored.weight) == ("scenes-stable0", (0,), 0.5)
    height, width = objects.image(picture).shape[:2]
    for labels, kind in zip(stored.labels, objects.shown[picture], strict=True):
        assert set(np.unique(labels)) == {0, 1}
        rows = np.arange(height) * labels.shape[0] // height + labels.shape[0] // height // 2
        columns = np.arange(width) * labels.shape[1] // width + labels.shape[1] // width // 2
        same = labels[rows[:, None], columns] == objects.class_mask(picture, kind)
        assert same.mean() > 0.97


@pytest.mark.parametrize("folds", [(), (1,), (0, 1, 2, 3)])
def test_regions_of_objects_show_nothing_that_is_to_stay_novel(mini_root, folds):
    voc, objects = PascalVOC(mini_root), Objects(mini_root)
    novel = {voc.classes[c] for fold in folds for c in voc.novel(fold)}
    banned = overlap_with_voc(objects.kinds, novel) | named_by_coco(objects.kinds)
    keys = {source.key for source in region_sources(mini_root, folds, objects=True)}
    kept = {picture.replace("/", "-") for picture in objects.shown} & keys
    shown = {k for picture, k in objects.shown.items() if picture.replace("/", "-") in kept}
    assert kept
    assert not banned & {kind for kinds in shown for kind in kinds}
    without = {source.key for source in region_sources(mini_root, folds, objects=False)}
    assert keys - without == kept
