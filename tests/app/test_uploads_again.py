"""What a visitor uploads again, and archives that cannot be unpacked."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from fcp.app.limits import Budget, Limits
from fcp.app.runs import PhotoRun, make_task
from fcp.app.uploads import Intake, Upload


@pytest.fixture
def intake(tmp_path) -> Intake:
    return Intake(tmp_path / "photos", Budget(Limits(total_bytes=5000, pictures=3)), once=True)


@pytest.fixture
def take(tmp_path, intake) -> Callable[..., Upload]:
    """Return a function: the visitor's name and content of files → the outcome of their upload."""

    def take_files(files: dict[str, bytes], **options) -> Upload:
        names = {}
        for number, (name, content) in enumerate(files.items()):
            path = tmp_path / f"{number}{Path(name).suffix}"
            path.write_bytes(content)
            names[path] = name
        return intake.take(names, **options)

    return take_files


def zipped(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


@pytest.mark.parametrize("packed", [False, True])
def test_known_photos_are_not_charged_to_the_limits(take, intake, picture, packed):
    def folder(files: dict[str, bytes]) -> dict[str, bytes]:
        return {"trip.zip": zipped(files)} if packed else files

    photos = {f"trip/{seed}.png": picture(seed=seed) for seed in (1, 2)}
    later = {"trip/3.png": picture(4, 4)}
    assert len(take(folder(photos)).pictures) == 2
    assert sum(map(len, photos.values())) > 3000  # a second time they would not fit
    again = take(folder(photos | later))
    assert [intake.originals[path] for path in again.pictures] == ["trip/3.png"]
    assert (again.known, again.refused) == (2, [])
    assert take(folder(photos | later)).known == 3  # as many pictures as are allowed
    assert intake.budget.pictures == 3
    assert intake.budget.used == sum(path.stat().st_size for path in intake.folder.iterdir())


def test_an_archive_of_known_photos_alone_is_no_empty_one(take, picture):
    archive = {"trip.zip": zipped({"a.png": picture()})}
    take(archive)
    again = take(archive)
    assert (again.pictures, again.known, again.refused) == ([], 1, [])


def test_an_archive_with_a_password_says_what_to_do(take):
    content = bytearray(zipped({"a.png": b"?", "b.png": b"?"}))
    content[content.index(b"PK\1\2") + 8] |= 1
    taken = take({"my trip.zip": bytes(content)})
    assert taken.refused == ["my trip.zip: needs a password; unpack it and upload the pictures"]


def test_a_damaged_picture_in_an_archive_is_told_with_the_archives_name(take, tmp_path, picture):
    damaged = picture(seed=1)
    content = zipped({"a.png": picture(), "b.png": damaged})
    place = content.index(damaged) + len(damaged) // 2
    spoilt = content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :]
    taken = take({"my trip.zip": spoilt})
    assert [path.name for path in taken.pictures] == ["a.png"]
    assert taken.refused[0].startswith("my trip.zip: broken or truncated archive (Bad CRC-32")
    assert str(tmp_path) not in taken.refused[0]


def test_of_two_photos_of_one_path_the_later_gets_a_number_and_keeps_its_folder(engine, tmp_path):
    called = {Path("X.jpg"): "Dir/X.JPG", Path("X_2.jpg"): "Dir/X.JPG"}
    task = make_task({"cat": []}, [], tile=None, instances=False)
    run = PhotoRun(engine, task, list(called), tmp_path / "run", originals=called)
    assert list(run.originals.values()) == ["Dir/X.JPG", "Dir/X_2.JPG"]
