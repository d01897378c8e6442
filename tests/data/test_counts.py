"""Kept counts are those of the masks as they are now, or they are counted again."""

import os
import shutil

import pytest

from fcp.data import counts
from fcp.data.counts import count_areas
from fcp.data.pascal import PascalVOC


@pytest.fixture
def voc(mini_voc, tmp_path, monkeypatch):
    monkeypatch.setenv("FCP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(counts, "WORTH_KEEPING", 1)
    shutil.copytree(mini_voc, tmp_path / "data")
    return PascalVOC(tmp_path / "data")


def entries(tmp_path):
    return sorted((tmp_path / "cache/counts").glob("*.json"))


def test_kept_counts_are_read_back_equal(voc, tmp_path, monkeypatch):
    expected = {picture: dict(voc.pixels(picture)) for picture in voc.ids("val")}
    assert count_areas(voc, "val") == expected
    assert len(entries(tmp_path)) == 1
    monkeypatch.setattr(PascalVOC, "pixels", lambda *_: pytest.fail("counted again"))
    again = count_areas(voc, "val")
    assert again == expected
    assert list(again) == list(voc.ids("val"))


def test_a_mask_that_was_written_again_is_counted_again(voc):
    before = count_areas(voc, "val")
    shutil.copy(voc.mask_path("val_06_0"), voc.mask_path("val_01_0"))
    os.utime(voc.mask_path("val_01_0"), ns=(1, 1))
    after = count_areas(voc, "val")
    assert after["val_01_0"] == before["val_06_0"]
    assert count_areas(voc, "train") != after


@pytest.mark.parametrize("damage", ["", "{", "[1]", '{"a": 1}'])
def test_a_damaged_entry_is_counted_again(voc, tmp_path, damage):
    before = count_areas(voc, "val")
    entries(tmp_path)[0].write_text(damage)
    assert count_areas(voc, "val") == before
    assert entries(tmp_path)[0].read_text() != damage


def test_a_place_that_cannot_be_written_is_no_error(voc, tmp_path):
    (tmp_path / "cache").write_text("a file, no folder")
    assert len(count_areas(voc, "val")) == 36


def test_few_masks_leave_no_file(voc, tmp_path, monkeypatch):
    monkeypatch.setattr(counts, "WORTH_KEEPING", 37)
    count_areas(voc, "val")
    assert not (tmp_path / "cache").exists()


def test_place(monkeypatch, tmp_path):
    monkeypatch.delenv("FCP_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert counts.cache_folder() == tmp_path / "fcp"
