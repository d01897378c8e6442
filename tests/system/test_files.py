"""A file is whole or absent; a spool gives back what it got and leaves nothing."""

import hashlib
import io
import os
from pathlib import Path

import pytest

from fcp.errors import FcpError
from fcp.system.files import (
    Spool,
    make_folder,
    open_atomically,
    require_place,
    sha256_of,
    write_atomically,
    write_beside,
)


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


def test_folders_are_made_and_what_stands_in_their_place_is_named(tmp_path):
    write_beside(tmp_path / "a/b/file", b"content")
    write_beside(tmp_path / "a/b/file", b"again")
    assert (tmp_path / "a/b/file").read_bytes() == b"again"
    with pytest.raises(FcpError, match=r"a/b/file/c: cannot be made \(Not a directory\)"):
        make_folder(tmp_path / "a/b/file/c")
    with pytest.raises(FcpError, match=r"a/b/file: cannot be made \(File exists\)"):
        write_beside(tmp_path / "a/b/file/c", b"content")


def test_everything_comes_back_and_nothing_is_left(tmp_path):
    out = io.BytesIO()
    with Spool(tmp_path / "r.html") as spool:
        for part in (b"a", b"", b"b" * 100_000):
            spool.write(part)
        spool.copy_to(out)
        spool.write(b"\nc\n")
        assert [line[-2:] for line in spool] == [b"b\n", b"c\n"]
        next(iter(spool))  # who stops early may begin again
        assert len(list(spool)) == 2
        assert not spool.closed
    assert spool.closed
    assert out.getvalue() == b"a" + b"b" * 100_000
    assert not list(tmp_path.iterdir())


class FullDisk(io.BytesIO):
    """Fails at each write and again when closed, as a buffered file on a full disk does."""

    def write(self, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    def close(self) -> None:
        raise OSError(28, "No space left on device")


def test_a_full_disk_is_told_for_the_file_to_come(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.TemporaryFile", lambda dir: FullDisk())
    with pytest.raises(FcpError, match=r"r\.html: cannot be written \(No space left on device\)"):
        with Spool(tmp_path / "r.html") as spool:
            spool.write(b"a")


def test_a_place_for_a_result_is_checked_before_the_work(tmp_path, monkeypatch):
    require_place(tmp_path / "new.json")
    for file, message in (
        (tmp_path / "none/new.json", "there is no folder .*none; make it first"),
        (tmp_path, "is a folder; name a file in it"),
    ):
        with pytest.raises(FcpError, match=message):
            require_place(file)
    monkeypatch.setattr(os, "access", lambda place, mode: False)  # root may write all
    with pytest.raises(FcpError, match=r"new\.json: .* cannot be written; choose another folder"):
        require_place(tmp_path / "new.json")


@pytest.mark.skipif(os.name == "nt", reason="has no such permissions")
def test_permissions_are_those_of_the_process_and_stay(tmp_path):
    for mask in (0o077, 0o002):
        before = os.umask(mask)
        try:
            write_atomically(tmp_path / f"{mask}", b"new")
        finally:
            os.umask(before)
        assert (tmp_path / f"{mask}").stat().st_mode & 0o777 == 0o666 & ~mask
    (tmp_path / "2").chmod(0o640)
    write_atomically(tmp_path / "2", b"again")
    assert (tmp_path / "2").stat().st_mode & 0o777 == 0o640
