"""A file is whole or absent."""

import hashlib
from pathlib import Path

import pytest

from fcp.errors import FcpError
from fcp.files import open_atomically, sha256_of, write_atomically


def test_content_hash_and_no_leftovers(tmp_path):
    file = tmp_path / "a.bin"
    for content in (b"old", b"new"):
        write_atomically(file, content)
        assert file.read_bytes() == content
        assert sha256_of(file) == hashlib.sha256(content).hexdigest()
    assert list(tmp_path.iterdir()) == [file]


def test_a_full_disk_keeps_the_old_file(tmp_path, monkeypatch):
    file = tmp_path / "a.bin"
    write_atomically(file, b"old")

    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(FcpError, match=r"a\.bin: cannot be written \(No space left on device\)"):
        write_atomically(file, b"new")
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


def test_what_fails_between_two_pieces_leaves_the_old_file(tmp_path):
    file = tmp_path / "a.bin"
    with open_atomically(file) as stream:
        stream.write(b"old, ")
        stream.write(b"in pieces")
    with pytest.raises(TypeError), open_atomically(file) as stream:
        stream.writelines([b"new", "no bytes"])
    assert file.read_bytes() == b"old, in pieces"
    assert list(tmp_path.iterdir()) == [file]


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(FcpError, match=r"gone\.bin: cannot be read"):
        sha256_of(tmp_path / "gone.bin")
    with pytest.raises(FcpError, match=r"b\.bin: cannot be written"):
        write_atomically(tmp_path / "gone/b.bin", b"")
