"""Photos of many kinds: what the manifest says, and what a model must not learn."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from fcp.data.check import check
from fcp.data.episodes import sample_episodes
from fcp.data.folds import ALL_PASCAL_IDS, PASCAL5I_FOLDS, PASCAL_CLASSES
from fcp.data.lists import holdout_lists, make_lists, train_lists
from fcp.data.objects import Objects, held_out, named_by_coco, overlap_with_voc, read_manifest
from fcp.errors import FcpError


@pytest.fixture
def data(mini_objects):
    return Objects(mini_objects)


@pytest.fixture
def copy(mini_objects, tmp_path):
    shutil.copytree(mini_objects, tmp_path / "data")
    return tmp_path / "data"


def names(data, numbers):
    return {data.classes[number] for number in numbers}


def test_photos_masks_and_kinds_are_those_of_the_folder(data):
    numbers = {name: number for number, name in data.classes.items()}
    assert list(data.classes) == list(range(1, len(numbers) + 1))
    reader = data.pixels("scenes/reader0")
    assert reader == {numbers["scenes/body"]: 5, numbers["scenes/book"]: 6}
    assert (
        data.class_mask("scenes/reader0", numbers["scenes/book"]).nonzero()[0].tolist() == [1] * 6
    )
    assert not data.class_mask("scenes/reader0", numbers["scenes/cow"]).any()
    assert not data.class_mask("scenes/reader0", numbers["films/bear"]).any()
    assert data.image("scenes/reader0").shape == (16, 20, 3)
    assert data.ignored("scenes/reader0").shape == (16, 20)
    assert [file.is_file() for file in data.files("scenes/reader0")] == [True] * 3
    with pytest.raises(FcpError, match="no picture 'scenes/other' in it"):
        data.pixels("scenes/other")
    with pytest.raises(FcpError, match=r"fold: objects .* has no folds"):
        data.base(0)


def test_held_out_kinds_have_photos_and_lists_of_their_own(data):
    assert names(data, data.novel(None)) == {"single/barrel", "single/dolphin"}
    assert set(data.ids("val")) == {
        f"single/{k}_{n}" for k in ("barrel", "dolphin") for n in range(3)
    }
    assert set(data.ids("train")).isdisjoint(data.ids("val"))
    assert set(data.base(None)) | set(data.novel(None)) == set(data.classes)
    assert len(train_lists(data, None).rows) == len(data.ids("train"))
    lists = holdout_lists(data, None)
    assert len(sample_episodes(lists, shots=2, episodes=9, seed=0)) == 9


def test_the_holdout_does_not_depend_on_the_other_kinds(data):
    whole = {data.kinds[number].name for number in held_out(data.kinds)}
    part = {number: kind for number, kind in data.kinds.items() if kind.name != "barrel"}
    assert {part[number].name for number in held_out(part)} == whole - {"barrel"}


def test_rule_of_a_folds_model(data):
    person = names(data, overlap_with_voc(data.kinds, {"person"}))
    films, garments = (
        {"films/bear", "films/surf"},
        {f"garments/{k}" for k in ("coat", "hair", "bag")},
    )
    assert person == {"scenes/face", "scenes/body", *garments, *films}
    birds = names(data, overlap_with_voc(data.kinds, {"bird", "cow"}))
    assert birds == {"single/emu", "single/flamingo", "scenes/cow", *films}
    assert names(data, overlap_with_voc(data.kinds, {"sofa"})) == films
    assert not overlap_with_voc(data.kinds, ())


def test_rule_of_the_shipped_model(data):
    named = {"scenes/book", "garments/bag", "single/panda", "films/bear", "films/surf"}
    assert names(data, named_by_coco(data.kinds)) == named


def photos_kept(data, left_out):
    """Apply the rule to masks' files alone, with the list rule of all data sets."""
    present = {photo: dict.fromkeys(shown, 1) for photo, shown in data.shown.items()}
    allowed = {number: name for number, name in data.classes.items() if number not in left_out}
    return make_lists(present, allowed, min_pixels=1, banned=sorted(left_out))


def test_photos_that_show_a_kind_that_is_left_out_go_too(data):
    kept = photos_kept(data, overlap_with_voc(data.kinds, {"cow"})).rows
    assert "scenes/paddock0" in kept
    assert not [photo for photo in kept if "meadow" in photo or "stable" in photo]
    kept = photos_kept(data, named_by_coco(data.kinds)).rows
    assert "scenes/walker0" in kept
    assert "garments/0" in kept
    assert not [photo for photo in kept if "reader" in photo or "bagged" in photo]


@pytest.mark.parametrize("fold", [0, 1, 2, 3, None])
def test_both_rules_on_the_real_manifest(data_root, fold):
    folder = data_root / "objects"
    if not folder.is_dir():
        pytest.skip("needs objects/ in FCP_DATA_ROOT")
    entries = json.loads((folder / "manifest.json").read_text())
    novel = (
        {PASCAL_CLASSES[number - 1] for number in PASCAL5I_FOLDS[fold]} if fold is not None else ()
    )

    def is_out(entry):
        if fold is None:
            return entry["coco"] is not None
        shows = entry["shows_voc"]
        unlabelled = shows == "any" or (isinstance(shows, list) and novel & set(shows))
        return unlabelled or entry["voc"] in {*novel, "any"}

    out = [entry for entry in entries if is_out(entry)]
    hidden = {
        f"{entry['set']}/{mask.stem}"
        for entry in out
        for mask in (folder / entry["set"] / "masks" / entry["kind"]).iterdir()
    }
    data = Objects(data_root)
    left_out = named_by_coco(data.kinds) if fold is None else overlap_with_voc(data.kinds, novel)
    lists = photos_kept(data, left_out)
    assert set(lists.names.values()).isdisjoint(f"{e['set']}/{e['kind']}" for e in out)
    assert set(lists.rows).isdisjoint(hidden)
    assert len(lists.rows) == sum(len(list((folder / s).iterdir())) for s in sets(entries)) - len(
        hidden
    )


def sets(entries):
    return {f"{entry['set']}/images" for entry in entries}


def test_the_manifest_knows_vocs_names_only(data_root):
    if not (data_root / "objects").is_dir():
        pytest.skip("needs objects/ in FCP_DATA_ROOT")
    kinds = Objects(data_root).kinds.values()
    known = {*PASCAL_CLASSES, "any"}
    assert len(PASCAL_CLASSES) == len(ALL_PASCAL_IDS)
    assert {kind.voc for kind in kinds} <= {*known, None}
    assert {name for kind in kinds for name in kind.shows_voc} <= known
    assert len(kinds) == 171


def test_check_counts_and_names_what_is_missing(copy):
    (copy / "objects/scenes/images/reader1.jpg").unlink()
    shutil.rmtree(copy / "objects/single/masks/crab")
    Image.fromarray(np.ones((9, 9), bool)).save(copy / "objects/garments/masks/hair/1.png")
    found = check(Objects(copy))
    assert not found.usable
    assert found.splits["train"].missing == (str(copy / "objects/scenes/images/reader1.jpg"),)
    assert "hair/1.png: the mask is 9×9 px" in found.splits["train"].damaged[0]
    assert "single/crab: 0 masks; the manifest has 3" in found.notes
    assert found.splits["val"].pictures == 6


GOOD = {"set": "s", "kind": "k", "masks": 1, "voc": None, "coco": None, "shows_voc": []}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"manifest\.json: not valid JSON"),
        ("[]", "expected a list with an entry for each kind"),
        (json.dumps({"a": 1}), "expected a list with an entry"),
        (json.dumps(["cat"]), "entry 1: expected set, kind, masks"),
        (json.dumps([{"set": "s"}]), "entry 1: expected set, kind, masks"),
        (json.dumps([GOOD, GOOD | {"voc": 3}]), "entry 2: voc: expected str or null, got 3"),
        (json.dumps([GOOD | {"shows_voc": "person"}]), "entry 1: expected .*shows_voc as a list"),
        (
            json.dumps([GOOD | {"shows_voc": [1]}]),
            r"entry 1: shows_voc\[0\]: expected str, got 1",
        ),
        (
            json.dumps([GOOD | {"kind": "../k"}]),
            r"entry 1: set, kind: expected the name of a folder",
        ),
        (json.dumps([GOOD | {"set": ""}]), "entry 1: set, kind: expected the name of a folder"),
        (json.dumps([GOOD, GOOD]), "the kind s/k comes twice"),
    ],
)
def test_a_damaged_manifest_is_named(tmp_path, content, message):
    (tmp_path / "objects").mkdir()
    (tmp_path / "objects/manifest.json").write_text(content)
    with pytest.raises(FcpError, match=message):
        Objects(tmp_path)


def test_a_root_without_objects_says_so(tmp_path):
    with pytest.raises(FcpError, match=r"objects.manifest\.json: cannot be read"):
        read_manifest(tmp_path / "objects/manifest.json")
