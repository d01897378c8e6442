"""`check` counts what is there, and says why a count is not the known one."""

import shutil

import pytest

from fcp.data import check as module
from fcp.data.benchmarks import open_benchmark
from fcp.data.check import check
from fcp.data.lists import train_lists, val_lists, write_lists
from fcp.data.pascal import PascalVOC

LISTS = "VOC2012/ImageSets/Segmentation"


@pytest.fixture
def voc(mini_voc, tmp_path):
    shutil.copytree(mini_voc, tmp_path / "data")
    return tmp_path / "data"


def test_counts_are_those_of_the_lists(voc):
    data = PascalVOC(voc)
    found = check(data)
    assert found.usable
    assert found.splits["train"].pictures == len(data.ids("train"))
    assert found.splits["val"].classes == 8
    for fold in range(4):
        assert found.rules["val"][fold] == len(val_lists(data, fold).rows)
        assert found.rules["train filtered"][fold] == len(train_lists(data, fold).rows)
        whole = train_lists(data, fold, filtered=False)
        assert found.rules["train unfiltered"][fold] == len(whole.rows)
    # …_mixed shows one pixel of class 1, …_small 2,047 px of class 11.
    assert found.rules["val, any size"][0] == found.rules["val"][0] + 1
    assert found.rules["val, any size"][2] == found.rules["val"][2] + 1


def test_missing_and_damaged_files_are_named_and_the_rest_is_counted(mini_voc, voc):
    whole = check(PascalVOC(mini_voc)).rules["val"]
    data = PascalVOC(voc)
    data.mask_path("val_01_0").unlink()
    data.image_path("val_02_1").unlink()
    data.mask_path("val_06_0").write_bytes(b"no picture")
    found = check(data)
    assert not found.usable
    assert found.splits["val"].missing == (
        str(data.mask_path("val_01_0")),
        str(data.image_path("val_02_1")),
    )
    assert "val_06_0.png" in found.splits["val"].damaged[0]
    assert found.rules["val"] == (whole[0] - 2, whole[1] - 1, *whole[2:])
    assert any(note.startswith("val: 2 files missing, such as") for note in found.notes)


def test_a_pool_of_another_length_is_explained(voc, monkeypatch):
    notes = check(PascalVOC(voc)).notes
    assert notes[0].startswith("the pool has 44 pictures; the released lists come from 5,953")
    assert "val has 36 pictures; VOC 2012 val has 1,449" in notes
    monkeypatch.setattr(module, "TRAINAUG", 44)
    assert "is the usual trainaug" in check(PascalVOC(voc)).notes[0]
    monkeypatch.setattr(module, "POOL", 44)
    assert "of the released lists" in check(PascalVOC(voc)).notes[0]


def test_an_explicit_pool_is_compared_with_the_own_list(voc, tmp_path):
    own = (voc / LISTS / "trainaug.txt").read_text().split()
    pool = tmp_path / "pool.txt"
    pool.write_text("\n".join(own[:-2]))
    data = open_benchmark("pascal5i", voc, pool=pool)
    assert data.ids("train") == tuple(own[:-2])
    assert data.pool == "pool.txt"
    notes = check(data).notes
    missing = sorted(own[-2:])[0]
    assert f"2 pictures in trainaug.txt and not in pool.txt, such as {missing}" in notes
    pool.write_text("\n".join(reversed(own)))
    assert any("in another order" in note for note in check(data).notes)


def test_the_rule_that_gives_a_released_length_is_named(voc, monkeypatch):
    found = check(PascalVOC(voc))
    other = {**module.RELEASED, "val": found.rules["val, any size"]}
    monkeypatch.setattr(module, "RELEASED", other)
    notes = check(PascalVOC(voc)).notes
    assert any("the rule 'val, any size' gives them here" in note for note in notes)
    same = {name: found.rules[name] for name in other}
    monkeypatch.setattr(module, "RELEASED", same)
    notes = check(PascalVOC(voc)).notes
    assert notes[0] == "all lists have the released lengths"
    # Class 3 is one of the three of fold 0 that the small VOC does not show.
    assert notes[1] == "val, fold 0: 3 classes with fewer than 2 pictures, such as bird"


def test_a_fold_without_episodes_is_named(voc):
    (voc / LISTS / "val.txt").write_text("val_06_0\n")
    assert (
        "val, fold 0: no picture is listed, so there are no episodes" in check(PascalVOC(voc)).notes
    )


def test_written_list_has_rows_and_members(mini_voc):
    lists = val_lists(PascalVOC(mini_voc), 0)
    read = [line.split("\t") for line in write_lists(lists).decode().splitlines()]
    assert tuple(row for row, *_ in read) == lists.rows
    for class_id, members in lists.members.items():
        assert tuple(row for row, *classes in read if str(class_id) in classes) == members


def test_few_shot_pool_is_taken_before_trainaug(voc):
    own = (voc / LISTS / "trainaug.txt").read_text().split()
    (voc / LISTS / "pascal5i.txt").write_text("\n".join(own[:5]))
    assert PascalVOC(voc).ids("train") == tuple(own[:5])
    assert PascalVOC(voc).pool == "pascal5i.txt"
