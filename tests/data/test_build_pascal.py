"""Tiny VOC and SBD downloads of the true layout → masks, photos and lists; stopped builds go on."""

import errno
import io
import os
import tarfile

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from fcp.data.build_pascal import build_pascal, pool_ids, trainaug_ids
from fcp.data.images import voc_palette
from fcp.data.pascal import PascalVOC
from fcp.errors import FcpError

VOC = {"train": ["2007_000032", "2007_000039"], "val": ["2007_000033", "2007_000042"]}
# SBD knows one of VOC's train and one of its val pictures.
SBD = {
    "train": ["2008_000010", "2007_000032", "2008_000002"],
    "val": ["2008_000007", "2007_000033"],
}
EVERY = sorted({*VOC["train"], *VOC["val"], *SBD["train"], *SBD["val"]})


def labels_of(picture, border):
    """Return a mask that tells its picture and which download it is from."""
    labels = np.zeros((60, 80), np.uint8)
    labels[5:, 5:] = 1 + int(picture[-2:]) % 20
    if border:
        labels[5, 5:] = 255
    return labels


def encoded(picture, form):
    stream = io.BytesIO()
    picture.save(stream, form)
    return stream.getvalue()


def voc_files():
    root = "VOCdevkit/VOC2012"
    files = {
        f"{root}/ImageSets/Segmentation/{n}.txt": "".join(f"{i}\n" for i in ids).encode()
        for n, ids in VOC.items()
    }
    files["VOCdevkit/VOC2007/ImageSets/Segmentation/train.txt"] = b"000001\n"
    files[f"{root}/ImageSets/Main/train.txt"] = b"2009_000001\n"
    for picture in [*EVERY, "2009_000001"]:
        photo = Image.new("RGB", (80, 60), (int(picture[-2:]), 9, 9))
        files[f"{root}/JPEGImages/{picture}.jpg"] = encoded(photo, "JPEG")
    for picture in (*VOC["train"], *VOC["val"]):
        mask = Image.fromarray(labels_of(picture, border=True))
        mask.putpalette(voc_palette().reshape(-1).tolist())
        files[f"{root}/SegmentationClass/{picture}.png"] = encoded(mask, "PNG")
    return files


def sbd_files():
    root = "benchmark_RELEASE/dataset"
    files = {}
    for picture in (*SBD["train"], *SBD["val"]):
        stream = io.BytesIO()
        truth = {"Segmentation": labels_of(picture, border=False), "Boundaries": np.zeros((20, 1))}
        savemat(stream, {"GTcls": truth}, do_compression=True)
        files[f"{root}/cls/{picture}.mat"] = stream.getvalue()
        files[f"{root}/inst/{picture}.mat"] = b"not for us"
    for name, ids in SBD.items():
        files[f"{root}/{name}.txt"] = "".join(f"{i}\n" for i in ids).encode()
    return files


def pack(path, files):
    with tarfile.open(path, "w:gz" if path.suffix == ".tgz" else "w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def unpack(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def build(tmp_path):
    def build(voc=None, sbd=None, out=tmp_path / "out", progress=lambda *_: None):
        voc = voc or pack(tmp_path / "voc.tar", voc_files())
        sbd = sbd or pack(tmp_path / "sbd.tgz", sbd_files())
        return build_pascal(voc, sbd, out, say=lambda _: None, progress=progress)

    return build


def test_masks_photos_and_lists(build, tmp_path):
    built = build()
    assert (built.pictures, built.problems) == (len(EVERY), ())
    data = PascalVOC(tmp_path / "out")
    for picture in EVERY:
        from_voc = picture in (*VOC["train"], *VOC["val"])
        np.testing.assert_array_equal(data.labels(picture), labels_of(picture, border=from_voc))
        with Image.open(data.mask_path(picture)) as mask:
            assert mask.mode == "P"
            assert mask.getpalette()[3:6] == [128, 0, 0]  # VOC's aeroplane
        photo = voc_files()[f"VOCdevkit/VOC2012/JPEGImages/{picture}.jpg"]
        assert data.image_path(picture).read_bytes() == photo
    assert not data.image_path("2009_000001").exists()  # in no list
    lists = tmp_path / "out/VOC2012/ImageSets/Segmentation"
    read = {path.name: path.read_text().split() for path in lists.iterdir()}
    assert read == {
        "train.txt": VOC["train"],
        "val.txt": VOC["val"],
        "pascal5i.txt": ["2007_000032", "2008_000002", "2008_000010", "2007_000039"],
        "trainaug.txt": ["2007_000032", "2007_000039", "2008_000002", "2008_000007", "2008_000010"],
    }
    assert list(data.ids("train")) == read["pascal5i.txt"]


def test_unpacked_downloads_give_the_same(build, tmp_path):
    build()
    voc, sbd = unpack(tmp_path / "v", voc_files()), unpack(tmp_path / "s", sbd_files())
    build(voc / "VOCdevkit", sbd / "benchmark_RELEASE/dataset", tmp_path / "again")
    first, again = (
        {p.relative_to(o): p.read_bytes() for p in o.rglob("*") if p.is_file()}
        for o in (tmp_path / "out", tmp_path / "again")
    )
    assert first == again


def test_a_second_run_writes_no_picture_again(build, tmp_path):
    build()
    pictures = sorted((tmp_path / "out").rglob("*.[jp][pn]g"))
    before = [path.stat().st_mtime_ns for path in pictures]
    cut = pictures[0]
    cut.write_bytes(cut.read_bytes()[:-9])  # as a copy that broke off
    assert build().problems == ()
    after = [path.stat().st_mtime_ns for path in pictures]
    assert [a != b for a, b in zip(before, after, strict=True)] == [True] + [False] * (
        len(pictures) - 1
    )
    Image.open(cut).load()


def test_a_killed_build_goes_on(build, tmp_path):
    def stop(phase, done, _):
        if (phase, done) == ("photos", 2):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(progress=stop)
    assert len(list((tmp_path / "out/VOC2012/JPEGImages").iterdir())) == 2
    assert build().pictures == len(EVERY)


def test_a_broken_and_a_missing_mat_are_named_and_the_rest_is_done(build, tmp_path):
    files = sbd_files()
    whole = dict(files)
    files["benchmark_RELEASE/dataset/cls/2008_000010.mat"] = b"MATLAB 5.0 MAT-file, cut"
    del files["benchmark_RELEASE/dataset/cls/2008_000007.mat"]
    built = build(sbd=pack(tmp_path / "bad.tgz", files))
    assert built.pictures == len(EVERY) - 2
    assert len(built.problems) == 2
    assert "cls/2008_000010.mat: no readable GTcls" in built.problems[0]
    assert "cls/2008_000007.mat: not in the SBD download" in built.problems[1]
    assert "2008_000010" not in PascalVOC(tmp_path / "out").ids("train")
    assert build(sbd=pack(tmp_path / "good.tgz", whole)).problems == ()
    assert "2008_000010" in PascalVOC(tmp_path / "out").ids("train")


def test_a_missing_photo_is_named(build, tmp_path):
    files = voc_files()
    del files["VOCdevkit/VOC2012/JPEGImages/2008_000007.jpg"]
    built = build(voc=pack(tmp_path / "bad.tar", files))
    assert built.problems == ("JPEGImages/2008_000007.jpg: not in the VOC download; left out",)


def test_vocs_own_pictures_never_take_a_mask_of_sbd(build, tmp_path):
    files = voc_files()
    for picture in ("2007_000032", "2007_000042"):  # SBD knows the first
        del files[f"VOCdevkit/VOC2012/SegmentationClass/{picture}.png"]
    built = build(voc=pack(tmp_path / "bad.tar", files))
    assert built.problems == (
        "SegmentationClass/2007_000032.png: not in the VOC download; left out",
        "SegmentationClass/2007_000042.png: not in the VOC download; left out",
    )
    data = PascalVOC(tmp_path / "out")
    assert not data.mask_path("2007_000032").exists()
    assert "2007_000032" not in data.ids("train")
    assert data.ids("val") == ("2007_000033",)
    for picture in VOC["train"] + VOC["val"]:
        files.pop(f"VOCdevkit/VOC2012/SegmentationClass/{picture}.png", None)
    with pytest.raises(FcpError, match=r"none\.tar: no SegmentationClass/\*\.png"):
        build(voc=pack(tmp_path / "none.tar", files), out=tmp_path / "empty")
    assert not (tmp_path / "empty").exists()


def test_a_mask_of_another_size_is_left_out_and_made_again(build, tmp_path):
    files = sbd_files()
    stream = io.BytesIO()
    savemat(stream, {"GTcls": {"Segmentation": np.ones((30, 40), np.uint8)}})
    files["benchmark_RELEASE/dataset/cls/2008_000010.mat"] = stream.getvalue()
    built = build(sbd=pack(tmp_path / "bad.tgz", files))
    assert len(built.problems) == 1
    assert "2008_000010.png: not of its photo's size" in built.problems[0]
    data = PascalVOC(tmp_path / "out")
    assert "2008_000010" not in data.ids("train")
    assert build(sbd=pack(tmp_path / "good.tgz", sbd_files())).problems == ()
    assert data.labels("2008_000010").shape == (60, 80)


def test_a_damaged_photo_is_named(build, tmp_path):
    files = voc_files()
    files["VOCdevkit/VOC2012/JPEGImages/2008_000007.jpg"] = b"no picture"
    built = build(voc=pack(tmp_path / "bad.tar", files))
    assert "2008_000007.jpg: not a picture that can be read" in built.problems[0]
    assert built.pictures == len(EVERY) - 1


def test_odd_labels_are_refused(build, tmp_path):
    files = sbd_files()
    stream = io.BytesIO()
    savemat(stream, {"GTcls": {"Segmentation": np.full((4, 4), 77, np.uint8)}})
    files["benchmark_RELEASE/dataset/cls/2008_000010.mat"] = stream.getvalue()
    assert "class ids 0 … 20" in build(sbd=pack(tmp_path / "b.tgz", files)).problems[0]


def test_truncated_and_wrong_downloads(build, tmp_path):
    whole = pack(tmp_path / "cut.tgz", sbd_files())
    whole.write_bytes(whole.read_bytes()[:-40])
    with pytest.raises(FcpError, match=r"cut\.tgz: broken or truncated archive"):
        build(sbd=whole)
    assert build().problems == ()  # with the whole one it goes on
    with pytest.raises(FcpError, match=r"no ImageSets/Segmentation/train\.txt"):
        build(voc=pack(tmp_path / "swapped.tar", sbd_files()))
    with pytest.raises(FcpError, match=r"no dataset/train\.txt"):
        build(sbd=pack(tmp_path / "swapped.tgz", voc_files()))


def test_a_disk_that_fills_up_loses_nothing(build, tmp_path, monkeypatch):
    true_fdopen, written = os.fdopen, []

    def fdopen(handle, *more):
        written.append(handle)
        if len(written) == 6:
            os.close(handle)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return true_fdopen(handle, *more)

    monkeypatch.setattr(os, "fdopen", fdopen)
    with pytest.raises(FcpError, match="No space left on device"):
        build()
    monkeypatch.undo()
    left = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(left) == 5
    assert not any(path.name.startswith(".") for path in left)
    assert build().pictures == len(EVERY)


def test_the_lists_of_ids():
    assert pool_ids(["b", "a"], ["v"], ["z", "v", "b"]) == ["b", "z", "a"]
    assert trainaug_ids(["b", "a"], ["v"], ["z", "v", "b"]) == ["a", "b", "z"]
