"""LVIS-92i from a made-up JSON: addresses as names, classes by rule, ten folds, index or not."""

import json

import numpy as np
import pytest
from PIL import Image

from fcp.cli.main import app
from fcp.data.check import check
from fcp.data.coco_index import LVIS_LAYOUT, build_coco
from fcp.data.episodes import sample_episodes
from fcp.data.lists import train_lists, val_lists
from fcp.data.lvis import Lvis
from fcp.errors import FcpError

CLASSES = 23
SIZE = (40, 50)


def shows(picture):
    """Return the categories of a picture: 7 is in one picture alone, 22 in none."""
    common = [c for c in range(CLASSES) if c not in (7, 22) and (c + picture) % 3]
    return [*common, 7] if picture == 4 else common


def content(first, count):
    """Return a JSON as LVIS's: no file names, pictures of both parts of COCO, polygons alone."""
    images, annotations = [], []
    for number in range(first, first + count):
        part = "train2017" if number % 2 else "val2017"
        url = f"http://images.cocodataset.org/{part}/{number:012}.jpg"
        images.append({"id": number, "coco_url": url, "height": SIZE[0], "width": SIZE[1]})
        for category in shows(number):
            x, y = category % 8 * 6, category // 8 * 13
            shape = [[x, y, x + 5, y, x + 5, y + 12, x, y + 12]]
            annotations.append(
                {
                    "id": len(annotations),
                    "image_id": number,
                    "category_id": 3 * category + 2,
                    "segmentation": shape,
                }
            )
    categories = [{"id": 3 * c + 2, "name": f"thing_{c}"} for c in reversed(range(CLASSES))]
    return {"images": images, "annotations": annotations, "categories": categories}


@pytest.fixture
def root(tmp_path):
    """Return a data root with eight pictures in COCO's folders and LVIS's JSON of val."""
    found = content(0, 8)
    for image in found["images"]:
        file = tmp_path / "COCO" / "/".join(image["coco_url"].split("/")[-2:])
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", SIZE[::-1]).save(file)
    (tmp_path / "LVIS/annotations").mkdir(parents=True)
    (tmp_path / "LVIS/annotations/lvis_v1_val.json").write_text(json.dumps(found))
    return tmp_path


def build(root):
    files = [root / "LVIS/annotations/lvis_v1_val.json"]
    quiet = {"say": lambda _: None, "progress": lambda *_: None}
    return build_coco(root / "COCO", files, root, layout=LVIS_LAYOUT, **quiet)


@pytest.mark.parametrize("indexed", [True, False])
def test_masks_are_the_polygons_of_the_json(root, indexed):
    if indexed:
        assert build(root).pictures == 8
    data = Lvis(root)
    assert data.ids("val") == tuple(f"{n:012}" for n in range(8))
    assert data.ids("train") == ()
    assert data.image("000000000003").shape == (*SIZE, 3)
    assert data.image_path("000000000003").parent.name == "train2017"
    for number in range(8):
        picture = f"{number:012}"
        assert set(data.pixels(picture)) == {c + 1 for c in shows(number)}
        for category in shows(number):
            expected = np.zeros(SIZE, bool)
            x, y = category % 8 * 6, category // 8 * 13
            expected[y : y + 12, x : x + 5] = True
            np.testing.assert_array_equal(data.class_mask(picture, category + 1), expected)


def test_classes_are_those_of_two_pictures_in_ten_equal_folds(root):
    data = Lvis(root)
    kept = [c + 1 for c in range(CLASSES) if c not in (7, 22)]
    assert list(data.classes) == kept
    assert data.classes[9] == "thing_8"
    folds = [data.novel(fold) for fold in data.folds]
    assert len(folds) == 10
    assert sorted(c for fold in folds for c in fold) == kept
    assert max(map(len, folds)) - min(map(len, folds)) <= 1
    assert folds[0] == (1, 12, 23 - 1)
    assert set(data.base(3)) == set(kept) - set(folds[3])
    with pytest.raises(FcpError, match=r"fold: expected 0 … 9, got 10"):
        data.novel(10)


def test_whole_lvis_has_92_classes_a_fold(root, monkeypatch):
    names = {number: f"c{number}" for number in range(1, 921)}
    monkeypatch.setattr(Lvis, "classes", property(lambda _: names))
    assert {len(Lvis(root).novel(fold)) for fold in range(10)} == {92}


def test_episodes_ask_for_the_folds_classes(root):
    data = Lvis(root)
    episodes = sample_episodes(val_lists(data, 0), shots=1, episodes=20, seed=0)
    assert {spec.class_id for spec in episodes} <= set(data.novel(0))
    for spec in episodes:
        assert spec.query not in spec.supports
        assert spec.class_id in data.pixels(spec.query)
    assert train_lists(data, 0).rows == ()


def test_check_says_what_the_whole_has(root):
    assert "21 classes in two val pictures or more; LVIS-92i has 920" in check(Lvis(root)).notes


def test_the_index_moves_with_the_data_root(root, tmp_path_factory):
    build(root)
    moved = tmp_path_factory.mktemp("moved") / "data"
    root.rename(moved)
    assert Lvis(moved).image("000000000003").shape == (*SIZE, 3)


def test_commands_build_check_and_freeze(root, tmp_path):
    from typer.testing import CliRunner

    def run(*arguments):
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    file = root / "LVIS/annotations/lvis_v1_val.json"
    options = ("--images", root / "COCO", "--annotations", file, "--out", root)
    built = run("data", "lvis", *options)
    assert built.exit_code == 0, built.output
    assert "8 pictures ready" in built.stdout
    file.unlink()
    checked = run("data", "check", root, "--benchmark", "lvis92i")
    assert checked.exit_code == 0, checked.output
    assert "21 classes; training pictures: none" in checked.stdout
    frozen = ("--benchmark", "lvis92i", "--fold", 2, "--episodes", 5, "--out", tmp_path / "e.json")
    assert run("episodes", "--data-root", root, *frozen).exit_code == 0


def test_what_is_missing_says_what_to_run(tmp_path):
    with pytest.raises(FcpError, match=r"lvis_v1_val\.json; make the index with fcp data lvis"):
        Lvis(tmp_path)
