"""Whatever is uploaded: checked pictures in one folder, or a line that says why not."""

from __future__ import annotations

import copy
import io
import os
import struct
import tarfile
import tracemalloc
import zipfile
import zlib
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import fcp.app.bombs
from fcp.app.limits import Budget, Limits
from fcp.app.parts import named
from fcp.app.uploads import Intake, plain_path, safe_name
from fcp.data.images import read_size
from fcp.errors import FcpError


@pytest.fixture
def uploads(tmp_path):
    """Return a function: name and bytes → an uploaded file."""
    (tmp_path / "uploads").mkdir()

    def put(name: str, content: bytes) -> Path:
        path = tmp_path / "uploads" / name
        path.write_bytes(content)
        return path

    return put


@pytest.fixture
def intake(tmp_path):
    """Return a function: limits → an intake, whose folder is the only thing that may change."""
    made = []

    def make(**limits) -> Intake:
        made.append(Intake(tmp_path / "kept", Budget(Limits(**limits))))
        return made[-1]

    yield make
    inside = {path.name for path in tmp_path.iterdir()}
    assert inside <= {"uploads", "kept"}, inside


def zipped(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def kept(intake: Intake) -> list[str]:
    return sorted(path.name for path in intake.folder.iterdir())


def test_pictures_are_moved_and_get_names_of_their_own(uploads, intake, picture):
    taker = intake()
    content = picture()
    first = taker.take([uploads("Cat One.PNG", content), uploads("dog.png", content)])
    again = taker.take([uploads("cat one.jpg", content)])  # a PNG inside, which is fine
    assert [p.name for p in first.pictures + again.pictures] == [
        "Cat One.png",
        "dog.png",
        "cat one_2.jpg",
    ]
    assert first.refused == again.refused == []
    assert first.pictures[0].read_bytes() == content
    assert list((intake().folder.parent / "uploads").iterdir()) == []
    assert (taker.budget.pictures, taker.budget.used) == (3, 3 * len(content))


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.png", b"", "a.png: the file is empty"),
        ("a.zip", b"", "a.zip: the file is empty"),
        ("a.png", b"no picture", "not a picture that can be read"),
        ("a.txt", b"text", "a.txt: not a picture that can be read"),
        ("a.zip", b"PK nothing", "a.zip: not a complete zip archive"),
    ],
)
def test_one_bad_file_is_told_and_the_others_stay(uploads, intake, picture, name, content, reason):
    taker = intake()
    taken = taker.take([uploads(name, content), uploads("good.png", picture())])
    assert [p.name for p in taken.pictures] == kept(taker) == ["good.png"]
    assert len(taken.refused) == 1
    assert reason in taken.refused[0]
    assert "/" not in taken.refused[0]
    assert taker.budget.pictures == 1


def test_what_has_not_arrived_is_told(tmp_path, intake):
    assert "upload it again" in intake().take([tmp_path / "uploads" / "gone.png"]).refused[0]


def test_side_of_60000_px_and_too_many_pixels(uploads, intake):
    taker = intake(pixels=10_000)
    for name, size in (("long.png", (60_000, 1)), ("large.png", (200, 100))):
        stream = io.BytesIO()
        Image.new("1", size).save(stream, "PNG")
        uploads(name, stream.getvalue())
    folder = intake().folder.parent / "uploads"
    taken = taker.take([folder / "long.png", folder / "large.png"])
    assert taken.pictures == []
    assert "60,000×1 px; the longer side is limited to 20,000 px" in taken.refused[0]
    assert "200×100 px; a picture is limited to 0 million pixels" in taken.refused[1]
    assert kept(taker) == []


def test_decompression_bomb_of_60000_by_60000_px(uploads, intake):
    # A true header over almost nothing: it is never decoded.
    stream = io.BytesIO()
    Image.new("1", (8, 8)).save(stream, "PNG")
    content = bytearray(stream.getvalue())
    content[16:24] = struct.pack(">II", 60_000, 60_000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    taken = intake().take([uploads("bomb.png", bytes(content))])
    assert taken.pictures == []
    assert "bomb.png: more pixels than the safe limit" in taken.refused[0]


def test_zip_gives_its_pictures_and_skips_the_rest(uploads, intake, picture):
    members = {
        "trip/a.png": picture(),
        "trip/b/a.png": picture(seed=1),
        "trip/notes.txt": b"text",
        "__MACOSX/trip/a.png": b"junk",
        "trip/broken.png": b"broken",
    }
    taker = intake()
    taken = taker.take([uploads("trip.zip", zipped(members))])
    assert [p.name for p in taken.pictures] == kept(taker) == ["a.png", "a_2.png"]
    assert len(taken.refused) == 1
    assert taken.refused[0].startswith("trip/broken.png: not a picture")


@pytest.mark.parametrize(
    "name",
    [
        "../evil.png",
        "a/../../evil.png",
        "a\\..\\..\\evil.png",
        "C:\\evil.png",
        "\\\\host\\evil.png",
    ],
)
def test_archive_whose_names_leave_it_is_refused_whole(uploads, intake, picture, name):
    taker = intake()
    content = zipped({"good.png": picture(), name: picture(seed=1)})
    taken = taker.take([uploads("trip.zip", content)])
    assert taken.pictures == []
    assert "unsafe name" in taken.refused[0]
    assert kept(taker) == []
    assert (taker.budget.used, taker.budget.pictures) == (0, 0)


def test_zip_bomb_is_measured_before_it_is_unpacked(uploads, intake, picture):
    members = {"good.png": picture(), "bomb.png": bytes(50_000_000)}
    content = zipped(members)
    assert len(content) < 100_000
    taker = intake(total_bytes=1_000_000)
    taken = taker.take([uploads("trip.zip", content)])
    assert taken.pictures == []
    assert "trip.zip: unpacks to 50 MB, and 1 MB are left" in taken.refused[0]
    assert "--max-upload-mb" in taken.refused[0]
    assert kept(taker) == []
    assert taker.budget.used == 0


def test_zip_that_lies_about_its_sizes_is_refused(uploads, intake, picture):
    content = zipped({"a.png": bytes(5_000_000)})
    true, false = (5_000_000).to_bytes(4, "little"), (1_000).to_bytes(4, "little")
    taker = intake(total_bytes=1_000_000)
    taken = taker.take([uploads("a.zip", content.replace(true, false))])
    assert taken.pictures == []
    assert kept(taker) == []


@pytest.mark.parametrize("name", ["a.png", "notes.txt", "__MACOSX/a.png"])
def test_zip_of_zeros_is_refused_whatever_they_are_called(uploads, intake, picture, name):
    content = zipped({"good.png": picture(), name: bytes(20_000_000)})
    taker = intake()
    taken = taker.take([uploads("a.zip", content)])
    assert taken.pictures == kept(taker) == []
    assert f"{name!r} in it unpacks to more than 200 times its size" in taken.refused[0]
    small = intake(total_bytes=1_000_000)
    refused = small.take([uploads("b.zip", content)]).refused[0]
    assert "b.zip: unpacks to 20 MB, and 1 MB are left" in refused


def test_zip_whose_members_lie_on_one_another_is_refused(uploads, intake, picture):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a.png", picture())
        archive.writestr("b.png", picture(seed=1))
        for number in range(50):
            again = copy.copy(archive.infolist()[0])
            again.filename = f"again{number}.png"
            archive.filelist.append(again)
    taker = intake()
    taken = taker.take([uploads("a.zip", stream.getvalue())])
    assert taken.pictures == kept(taker) == []
    assert "a.zip: files in it overlap" in taken.refused[0]


def test_zip_with_a_list_that_fills_the_memory_is_refused(uploads, intake, picture, monkeypatch):
    content = zipped({f"{number}.txt": b"" for number in range(100)})
    monkeypatch.setattr(fcp.app.bombs, "MOST_MEMBERS", 99)
    assert "more than 99 files" in intake().take([uploads("a.zip", content)]).refused[0]
    monkeypatch.setattr(fcp.app.bombs, "MOST_MEMBERS", 100)
    assert "contains no readable picture" in intake().take([uploads("a.zip", content)]).refused[0]
    monkeypatch.setattr(fcp.app.bombs, "MOST_DIRECTORY", 99 * 46)
    assert "contains more than" in intake().take([uploads("a.zip", content)]).refused[0]


def test_members_go_to_the_disk_in_pieces(uploads, intake):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("large.png", os.urandom(30_000_000))
    file = uploads("a.zip", stream.getvalue())
    del stream, archive
    tracemalloc.start()
    taken = intake().take([file])
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 8_000_000
    assert "large.png: not a picture" in taken.refused[0]


def test_tar_in_a_zip_s_clothes_is_refused(uploads, intake, picture):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        info = tarfile.TarInfo("a.png")
        info.size = len(picture())
        archive.addfile(info, io.BytesIO(picture()))
    taken = intake().take([uploads("a.zip", stream.getvalue())])
    assert "not a complete zip archive" in taken.refused[0]


def test_zip_without_pictures_says_so(uploads, intake):
    taken = intake().take([uploads("a.zip", zipped({"a.txt": b"text"}))])
    assert taken.refused == ["a.zip: contains no readable picture"]


def test_number_of_pictures_is_limited(uploads, intake, picture):
    taker = intake(pictures=2)
    taken = taker.take([uploads(f"{n}.png", picture()) for n in range(3)])
    assert len(taken.pictures) == 2
    assert taken.refused == ["2.png: more than 2 pictures; run them in parts"]
    taker.forget(taken.pictures[0])
    assert len(taker.take([uploads("3.png", picture())]).pictures) == 1


def test_what_systems_leave_in_folders_is_skipped(uploads, intake):
    assert intake().take([uploads(".DS_Store", b"x")]).refused == []


@given(st.text(max_size=300), st.sampled_from([".jpg", ".PNG", ".tiff"]))
def test_no_name_leaves_its_folder(text, suffix):
    name = safe_name(text + suffix)
    assert PurePosixPath(name).name == PureWindowsPath(name).name == name
    assert len(name.encode()) < 200
    assert not name.startswith(".")
    assert name.isprintable()
    assert not set(name) & set('/\\:*?"<>|\0')
    assert safe_name(name) == name


def test_budget_says_what_is_too_much():
    budget = Budget(Limits(total_bytes=10))
    budget.spend("a.png", 10)
    with pytest.raises(FcpError, match=r"b\.png: more than 0 MB in all"):
        budget.spend("b.png", 1)
    budget.give_back(10)
    budget.spend("b.png", 1)


@pytest.mark.parametrize(
    ("name", "kept_as"),
    [
        ("a/b/【A】 Don't.jpg", "a/b/【A】 Don't.jpg"),
        ("a\\b.png", "a/b.png"),
        ("C:\\x\\b.png", "x/b.png"),
        ("/etc/b.png", "etc/b.png"),
        ("../../b.png", "b.png"),
        ("a\n\0b.png", "ab.png"),
        ("..", ""),
    ],
)
def test_what_a_visitor_calls_a_file_stays_below_its_folder(name, kept_as):
    assert plain_path(name) == kept_as


def test_original_names_are_kept_beside_our_own(uploads, intake, picture):
    taker = intake()
    archive = uploads("x.zip", zipped({"trip/【B】 it's.png": picture(seed=1)}))
    first = uploads("_A_ Don_t.png", picture())
    taken = taker.take({first: "【A】 Don't.png", archive: "my trip.zip"})
    names = ["【A】 Don't.png", "trip/【B】 it's.png"]
    assert [taker.originals[path] for path in taken.pictures] == names
    taker.forget(taken.pictures[0])
    assert list(taker.originals.values()) == names[1:]


def test_equal_files_of_two_folders_are_two_pictures(uploads, intake, picture):
    file = str(uploads("1.png", picture()))  # Gradio calls a file by its content and name
    taken = intake().take(named([file, file, file]))
    assert len({path.read_bytes() for path in taken.pictures}) == 1
    assert (len(set(taken.pictures)), taken.refused) == (3, [])


def test_a_second_upload_of_the_same_photos_brings_none_of_them_twice(tmp_path, uploads, picture):
    taker = Intake(tmp_path / "photos", Budget(Limits()), once=True)
    photo, other = picture(), picture(seed=1)
    archive = zipped({"a/1.png": photo, "b/1.png": photo, "2.png": photo})
    assert len(taker.take([uploads("one.zip", archive)]).pictures) == 3  # within one, all are kept
    changed = zipped({"a/1.png": other, "b/1.png": photo, "2.png": photo})
    again = taker.take([uploads("two.zip", changed)])
    assert [taker.originals[one] for one in again.pictures] == ["a/1.png"]
    assert (again.known, again.refused) == (2, [])
    assert len(kept(taker)) == len(taker.originals) == 4


def test_what_is_refused_is_told_with_its_own_name_and_folder(uploads, intake):
    archive = uploads("x.zip", zipped({"trip/【B】 it's.png": b"no picture"}))
    damaged = uploads("_A_ Don_t.png", b"nor this")
    empty = uploads("Empty.png", b"")
    names = {damaged: "back/【A】 Don't.png", empty: "【C】.png", archive: "【my】 trip.zip"}
    taken = intake().take(names)
    assert taken.pictures == []
    assert [line.partition(": ")[0] for line in taken.refused] == [
        "back/【A】 Don't.png",
        "【C】.png",
        "trip/【B】 it's.png",
        "【my】 trip.zip",
    ]


def film(*sizes: tuple[int, int]) -> bytes:
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as writer:
        for seed, size in enumerate(sizes):
            page = np.random.default_rng(seed).integers(0, 4096, size, dtype=np.uint16)
            writer.write(page, photometric="minisblack", metadata=None)
    return stream.getvalue()


def test_each_page_of_an_upload_becomes_a_picture(uploads, intake, picture):
    taken_in = intake()
    stack, archive = film((8, 12), (9, 12), (10, 12)), {"b/stack.tif": film((8, 12), (9, 12))}
    files = [uploads("stack.tif", stack), uploads("one.png", picture())]
    files.append(uploads("more.zip", zipped(archive)))
    taken = taken_in.take(files, every_page=True)
    assert taken.refused == []
    called = [taken_in.originals[path] for path in taken.pictures]
    first, second = ([f"stack-p00{n}.tif" for n in range(1, count + 1)] for count in (3, 2))
    assert called == [*first, "one.png", *(f"b/{name}" for name in second)]
    assert [read_size(path)[0] for path in taken.pictures] == [8, 9, 10, 20, 8, 9]
    assert sorted(taken_in.folder.iterdir()) == sorted(taken.pictures)
    assert taken_in.budget.pictures == 6
    assert taken_in.budget.used == sum(path.stat().st_size for path in taken.pictures)
    for seed, path in enumerate(taken.pictures[:3]):
        page = np.random.default_rng(seed).integers(0, 4096, (8 + seed, 12), dtype=np.uint16)
        assert (tifffile.imread(path) == page).all()


def test_a_damaged_page_is_refused_alone(uploads, intake):
    content = film((8, 12), (9, 12))
    file = uploads("stack.tif", content)
    with tifffile.TiffFile(file) as opened:
        offset = opened.pages[1].tags["StripOffsets"].valueoffset
    file.write_bytes(content[:offset] + b"\xff\xff\xff\x7f" + content[offset + 4 :])
    taken = intake().take([file], every_page=True)
    assert [path.name for path in taken.pictures] == ["stack-p001.tif"]
    assert len(taken.refused) == 1
    assert taken.refused[0].startswith("stack.tif, page 2: ")


def test_pages_count_towards_the_limit(uploads, intake):
    taken_in = intake(pictures=2)
    taken = taken_in.take([uploads("a.tif", film((8, 12), (8, 12), (8, 12)))], every_page=True)
    assert len(taken.pictures) == 1
    assert "more than 2 pictures" in taken.refused[0]
    assert taken_in.budget.pictures == 1
