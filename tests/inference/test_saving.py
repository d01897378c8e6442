"""A model that is saved over another one: whole, or not at all."""

import errno
import os

import pytest

import fcp.system.files
from fcp.errors import FcpError
from fcp.inference.presence import Presence
from fcp.inference.segmenter import FewShotSegmenter
from fcp.models.files import CARD_FILE, CONFIG_FILE, PRESENCE_FILE, WEIGHTS_FILE

SAVED = {CARD_FILE, CONFIG_FILE, WEIGHTS_FILE}


@pytest.fixture
def loaded(model_folder):
    return FewShotSegmenter.from_pretrained(model_folder, device="cpu")


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def fill_disk(monkeypatch, after):
    """Let a number of files be written, and no more."""
    opened, handles = os.fdopen, []

    def full(handle, mode):
        handles.append(handle)
        if len(handles) > after:
            raise OSError(errno.ENOSPC, "No space left on device")
        return opened(handle, mode)

    monkeypatch.setattr(fcp.system.files.os, "fdopen", full)


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_full_disk_leaves_the_old_model(loaded, tmp_path, monkeypatch, after):
    loaded.save_pretrained(tmp_path)
    (tmp_path / PRESENCE_FILE).write_text("{}")
    before = content(tmp_path)
    loaded.card = "another model"
    fill_disk(monkeypatch, after)
    with pytest.raises(FcpError) as raised:
        loaded.save_pretrained(tmp_path)
    file = (WEIGHTS_FILE, CONFIG_FILE, CARD_FILE)[after]
    assert str(raised.value) == f"{tmp_path / file}: cannot be written (No space left on device)"
    assert content(tmp_path) == before


def test_a_judge_that_cannot_be_written_leaves_the_old_model(loaded, tmp_path, monkeypatch):
    loaded.save_pretrained(tmp_path)
    before = content(tmp_path)

    def full(*_):
        raise FcpError(f"{PRESENCE_FILE}: cannot be written (No space left on device)")

    monkeypatch.setattr(Presence, "save", full)
    loaded.presence = Presence.__new__(Presence)
    with pytest.raises(FcpError, match=PRESENCE_FILE):
        loaded.save_pretrained(tmp_path)
    assert content(tmp_path) == before


def test_other_files_of_the_folder_and_its_card_stay(loaded, tmp_path):
    for name in (CARD_FILE, "notes.txt"):
        (tmp_path / name).write_text("mine")
    (tmp_path / PRESENCE_FILE).write_text("{}")
    loaded.card = "the model's"
    loaded.save_pretrained(str(tmp_path))
    assert set(content(tmp_path)) == SAVED | {"notes.txt"}
    assert (tmp_path / CARD_FILE).read_text() == (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["file", "file/folder"])
def test_a_folder_that_cannot_be_made_is_named(loaded, tmp_path, name):
    (tmp_path / "file").touch()
    with pytest.raises(FcpError, match=rf"{name}: cannot be made \(.*\); choose another$"):
        loaded.save_pretrained(tmp_path / name)


def test_a_saved_model_is_pushed_under_the_folders_name(loaded, tmp_path, monkeypatch):
    pushed = {}
    monkeypatch.setattr(
        FewShotSegmenter, "push_to_hub", lambda _, name, **options: pushed.update({name: options})
    )
    loaded.save_pretrained(tmp_path / "mine", push_to_hub=True, private=True)
    assert pushed["mine"]["private"]
    assert set(content(tmp_path / "mine")) == SAVED
