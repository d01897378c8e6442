"""Downloads read the same from every form; a broken or hostile one is refused in one line."""

import gzip
import io
import shutil
import tarfile
import zipfile

import pytest

from fcp.data import archives
from fcp.data.archives import require_space, store, walk
from fcp.errors import FcpError

FILES = {"a/1.txt": b"one", "a/b/2.txt": b"two" * 5000, "3.txt": b""}
JUNK = {"__MACOSX/a/1.txt": b"x", "a/.DS_Store": b"x", "a/._1.txt": b"x"}


def write(path, files):
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
    elif path.suffix:
        with tarfile.open(path, "w:gz" if path.suffix == ".tgz" else "w") as archive:
            for name, content in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    else:
        for name, content in files.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(content)
    return path


@pytest.mark.parametrize("form", ["d.tar", "d.tgz", "d.zip", "d"])
def test_every_form_gives_the_same_files(tmp_path, form):
    source = write(tmp_path / form, {**JUNK, **FILES})
    found = {str(member.path): (member.size, member.read()) for member in walk(source)}
    assert found == {name: (len(content), content) for name, content in FILES.items()}


@pytest.mark.parametrize("form", ["d.tar", "d.tgz", "d.zip"])
@pytest.mark.parametrize("name", ["../evil.txt", "a/../../evil.txt", "/evil.txt"])
def test_a_name_that_leaves_its_folder_is_refused(tmp_path, form, name):
    source = write(tmp_path / form, {"a/1.txt": b"x"})
    shutil.rmtree(source, ignore_errors=True)
    write(source, {name: b"x"})
    with pytest.raises(FcpError, match="unsafe name"):
        list(walk(source))


def test_links_are_no_files(tmp_path):
    with tarfile.open(tmp_path / "d.tar", "w") as archive:
        info = tarfile.TarInfo("JPEGImages/link.jpg")
        info.type, info.linkname = tarfile.SYMTYPE, "../../secret"
        archive.addfile(info)
    assert list(walk(tmp_path / "d.tar")) == []


@pytest.mark.parametrize("form", ["d.tar", "d.tgz", "d.zip"])
def test_a_truncated_archive_is_named(tmp_path, form):
    source = write(tmp_path / form, {"a/1.bin": bytes(range(256)) * 400, **FILES})
    source.write_bytes(source.read_bytes()[: source.stat().st_size // 3])
    with pytest.raises(FcpError, match=rf"{form}: .*download it again"):
        [member.read() for member in walk(source)]


def spoil(content, form, damage):
    """Cut at the end of the first member, break the second header, or gzip's checksum."""
    tar = bytearray(gzip.decompress(content) if form == "d.tgz" else content)
    if damage == "cut":
        tar = tar[:1024]
    elif damage == "header":
        tar[1024 + 3] ^= 255
    if form == "d.tar":
        return bytes(tar)
    packed = bytearray(gzip.compress(bytes(tar)))
    if damage == "checksum":
        packed[-8] ^= 255
    return bytes(packed)


@pytest.mark.parametrize(
    ("form", "damage"),
    [(form, damage) for form in ("d.tar", "d.tgz") for damage in ("cut", "header")]
    + [("d.tgz", "checksum")],
)
def test_damage_that_ends_an_archive_early_is_named(tmp_path, form, damage):
    source = write(tmp_path / form, {"1.txt": b"one", "2.txt": b"two", "3.txt": b"three"})
    source.write_bytes(spoil(source.read_bytes(), form, damage))
    with pytest.raises(FcpError, match=rf"{form}: broken or truncated archive .*download it again"):
        list(walk(source))


@pytest.mark.parametrize(
    ("places", "value", "message"),
    [
        ((6, 8), 1, r"d\.zip: needs a password .*; unpack it"),  # flags
        ((8, 10), 99, r"d\.zip: cannot be unpacked here .*compression.*; unpack it"),  # method
    ],
)
def test_a_sound_archive_that_cannot_be_unpacked_is_not_called_broken(
    tmp_path, places, value, message
):
    source = write(tmp_path / "d.zip", {"1.txt": b"one"})
    content = bytearray(source.read_bytes())
    for header, place in zip((b"PK\3\4", b"PK\1\2"), places, strict=True):
        content[content.index(header) + place] = value
    source.write_bytes(content)
    with pytest.raises(FcpError, match=message):
        [member.read() for member in walk(source)]


def test_what_is_no_archive(tmp_path):
    (tmp_path / "page.tgz").write_text("<html>quota exceeded</html>")
    with pytest.raises(FcpError, match=r"page\.tgz: no whole tar or zip archive"):
        list(walk(tmp_path / "page.tgz"))
    with pytest.raises(FcpError, match="gone: no such file or folder"):
        list(walk(tmp_path / "gone"))


def test_space_is_stated_and_a_full_disk_refused(tmp_path, monkeypatch):
    assert "needs at most 2.0 MB" in require_space(tmp_path / "new" / "folder", 2_000_000)
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 9, 10))
    with pytest.raises(FcpError, match=r"needs 2\.0 GB, its disk has 0\.0 MB free"):
        require_space(tmp_path, 2_000_000_000)


def test_store_leaves_nothing_where_it_cannot_write(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(FcpError, match="cannot be made"):
        store(tmp_path / "file" / "below" / "x.txt", lambda: b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
