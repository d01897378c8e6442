"""What holds for every format's writer: whole files or none, in memory that does not grow."""

import json
import os
import tempfile
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest

from fcp.errors import FcpError
from fcp.formats import FORMATS
from fcp.formats.records import LabelledObject, LabelledPicture
from fcp.formats.writer import OneFileWriter

each_format = pytest.mark.parametrize("name", FORMATS)
JOINED = [name for name, kind in FORMATS.items() if issubclass(kind, OneFileWriter)]


def files_in(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def contents_of(folder):
    return {name: (folder / name).read_bytes() for name in files_in(folder)}


@each_format
def test_what_is_written(tmp_path, found, classes, name):
    expected = {
        "png": {"labels/å b.png", "labels/å b_1.png", "labels/empty_2.png", "labels/classes.txt"},
        "coco": {"coco.json"},
        "coco-polygons": {"coco-polygons.json"},
        "yolo": {"yolo/labels/å b.txt", "yolo/labels/å b_1.txt", "yolo/labels/empty_2.txt"}
        | {"yolo/data.yaml", "yolo/classes.txt"},
        "labelme": {"labelme/å b.json", "labelme/å b_1.json", "labelme/empty_2.json"},
        "label-studio": {"label-studio.json"},
        "cvat": {"cvat.xml"},
        "davis": {f"Annotations/{label}.png" for label in ("å b", "å b_1", "empty_2")},
    }
    for out in (tmp_path / "deep" / "out", tmp_path / "again"):
        with FORMATS[name](out, classes) as writer:
            for picture in found:
                writer.add(picture)
        assert files_in(out) == expected[name]
        assert set(FORMATS[name].files_of(picture.name for picture in found)) == expected[name]
    assert (
        contents_of(tmp_path / "deep/out") == contents_of(tmp_path / "again") or name == "labelme"
    )


@each_format
def test_what_fails_leaves_nothing_half_written(tmp_path, found, classes, name):
    out = tmp_path / "out"
    with FORMATS[name](out, classes) as writer:
        writer.add(found[1])
    before = contents_of(out)

    class Interrupted:
        """Stands for a picture at which the user presses Ctrl-C."""

        @property
        def objects(self):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), FORMATS[name](out, classes) as writer:
        list(map(writer.add, [found[1], Interrupted()]))
    assert contents_of(out) == before


@each_format
def test_no_picture_and_no_class_are_fine(tmp_path, name):
    with FORMATS[name](tmp_path, []):
        pass
    if name in {"coco", "label-studio"}:
        json.loads((tmp_path / FORMATS[name].file_name).read_text())


@each_format
def test_classes_must_be_announced(tmp_path, found, classes, name):
    with pytest.raises(ValueError, match=r"unannounced classes .*no"):
        FORMATS[name](tmp_path, classes[1:]).add(found[1])
    with pytest.raises(ValueError, match="a class is named twice"):
        FORMATS[name](tmp_path, ["cat", "dog", "cat"])


@each_format
def test_mistakes_are_named(tmp_path, classes, name):
    with pytest.raises(FcpError, match=r"'caf\\udce9' is no text; rename the class"):
        FORMATS[name](tmp_path, ["caf\udce9"])
    (tmp_path / "file").touch()
    with pytest.raises(FcpError, match=r"file.*: cannot be made \(Not a directory\)"):
        FORMATS[name](tmp_path / "file/out", classes)


@pytest.mark.parametrize("name", JOINED)
def test_a_full_disk_is_told(tmp_path, found, classes, name, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: SimpleNamespace(write=full))
    writer = FORMATS[name](tmp_path, classes)
    with pytest.raises(FcpError, match=rf"{writer.file_name}: cannot be written \(No space left"):
        writer.add(found[0])
    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with pytest.raises(FcpError, match=r"cannot be written \(No space left"):
        FORMATS[name](tmp_path, classes)
    assert files_in(tmp_path) == {"photos/a/å b.png", "photos/b/å b.png", "photos/b/empty.png"}


@each_format
def test_names_of_pictures_that_are_no_text(tmp_path, classes, name):
    """A disk may hold any bytes as a name; Python keeps those that are no text as surrogates."""
    picture = LabelledPicture(tmp_path / os.fsdecode(b"caf\xe9.jpg"), "cafe", (3, 4), ())
    writer = FORMATS[name](tmp_path / "out", classes)
    with writer:
        writer.add(picture)
    if name == "cvat":
        assert '<image id="0" name="cafe"' in (tmp_path / "out/cvat.xml").read_text()


@pytest.mark.parametrize("name", JOINED)
def test_memory_does_not_grow_with_the_pictures(tmp_path, name):
    mask = np.random.default_rng(0).random((16, 20)) > 0.5
    thing = LabelledObject("no", mask, 0.5)
    ours = tracemalloc.Filter(inclusive=True, filename_pattern="*/fcp/formats/*")
    with FORMATS[name](tmp_path, ["no"]) as writer:
        tracemalloc.start()
        for index in range(100 if name != "coco-polygons" else 20):  # its bridges take time
            file = tmp_path / f"{index}.png"
            writer.add(LabelledPicture(file, f"{index}", mask.shape, (thing,)))
        held = tracemalloc.take_snapshot().filter_traces([ours]).statistics("filename")
        tracemalloc.stop()
    assert sum(statistic.size for statistic in held) < writer.path.stat().st_size / 2


@each_format
def test_folders_are_kept_and_one_odd_name_costs_no_other(tmp_path, classes, name):
    mask = np.zeros((20, 30), bool)
    mask[5:15, 5:20] = True
    object_ = LabelledObject(classes[0], mask, 0.5)
    places = {"a/1": "photos/a/1.jpg", "b/1": "photos/b/1.jpg", "bell__0": "photos/bell\x07.jpg"}
    with FORMATS[name](tmp_path / "out", classes) as writer:
        for label, file in places.items():
            writer.add(LabelledPicture(tmp_path / file, label, (20, 30), (object_,)))
    written = files_in(tmp_path / "out")
    assert written == set(FORMATS[name].files_of(places))
    if name == "cvat":
        text = (tmp_path / "out/cvat.xml").read_text()
        assert all(f'name="{image}"' in text for image in ("a/1.jpg", "b/1.jpg", "bell__0"))
