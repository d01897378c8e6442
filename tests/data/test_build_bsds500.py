"""BSDS500 out of an archive of the true layout."""

import io
import tarfile

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from fcp.data.build_bsds500 import build_bsds500, read_bsds_regions
from fcp.data.region_store import bsds_sources, prepare, with_regions
from fcp.errors import FcpError


def photo(colour):
    stream = io.BytesIO()
    Image.new("RGB", (12, 8), colour).save(stream, "JPEG")
    return stream.getvalue()


def truth(*segmentations):
    """Return a ``.mat`` as published: a row of cells, each a struct with two matrices."""
    cells = np.empty((1, len(segmentations)), dtype=object)
    for number, one in enumerate(segmentations):
        cells[0, number] = {
            "Segmentation": one.astype(np.uint16),
            "Boundaries": np.zeros(one.shape, np.uint8),
        }
    stream = io.BytesIO()
    savemat(stream, {"groundTruth": cells})
    return stream.getvalue()


def halves(*, upright):
    labels = np.ones((8, 12), int)
    labels[:, 6:] += upright
    labels[4:] += not upright
    return labels


@pytest.fixture
def files():
    regions = truth(halves(upright=True), halves(upright=False))
    found = {"BSR/bench/data/images/2018.jpg": b"junk", "BSR/bench/data/groundTruth/2018.mat": b""}
    for split, stem in (("train", "100"), ("val", "200"), ("test", "300")):
        found[f"BSR/BSDS500/data/images/{split}/{stem}.jpg"] = photo("red")
        found[f"BSR/BSDS500/data/images/{split}/Thumbs.db"] = b"junk"
        found[f"BSR/BSDS500/data/groundTruth/{split}/{stem}.mat"] = regions
    return found


def build(tmp_path, files):
    with tarfile.open(tmp_path / "bsds.tgz", "w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    quiet = {"say": lambda _: None, "progress": lambda *_: None}
    return build_bsds500(tmp_path / "bsds.tgz", tmp_path / "out", **quiet)


def test_archive_becomes_what_the_segmenter_stage_reads(tmp_path, files):
    built = build(tmp_path, files)
    assert (built.pictures, built.problems) == (3, ())
    sources = bsds_sources(tmp_path / "out")
    assert [source.key for source in sources] == ["bsds-300", "bsds-100", "bsds-200"]
    for source in sources:
        read = [np.array(Image.open(file)) for file in source.labels]
        assert len(read) == 2
        for labels, upright in zip(read, (True, False), strict=True):
            assert np.array_equal(labels, halves(upright=upright) - 1)

    def encode(image):
        return [np.zeros((4, image.shape[0] // 8, image.shape[1] // 8), np.float32)] * 3

    prepared = next(prepare(sources[:1], tmp_path / "store", encode, encoder=""))
    assert prepared.labels.shape[0] == 2


def test_another_run_continues_and_names_what_is_broken(tmp_path, files):
    broken = "BSR/BSDS500/data/groundTruth/val/200.mat"
    lost = "BSR/BSDS500/data/groundTruth/test/300.mat"
    whole = dict(files)
    del files[lost]
    built = build(tmp_path, {**files, broken: b"MATLAB 5.0 cut"})
    assert built.pictures == 1
    first, second = built.problems
    assert first.startswith(f"{broken}: no readable groundTruth.Segmentation")
    assert second == "test/300.jpg: no such regions"
    sources = bsds_sources(tmp_path / "out")  # the photos are there, for the backbone's statistics
    assert len(sources) == 3
    assert [source.key for source in with_regions(sources)] == ["bsds-100"]
    times = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*.*g")}
    built = build(tmp_path, whole)
    assert (built.pictures, built.problems) == (3, ())
    assert (
        times.items() <= {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*.*g")}.items()
    )


@pytest.mark.parametrize(
    ("segmentations", "message"),
    [
        ((), "a matrix of region ids"),
        ((np.zeros((8, 12)),), "region ids of 1 … 256"),
        ((np.full((8, 12), 257),), "region ids of 1 … 256"),
    ],
)
def test_what_is_no_segmentation_is_named(segmentations, message):
    with pytest.raises(FcpError, match=message):
        read_bsds_regions(truth(*segmentations))


def test_another_archive_is_refused(tmp_path):
    with pytest.raises(FcpError, match=r"bsds.tgz: no images/train/ID.jpg in it; not BSDS500"):
        build(tmp_path, {"BSR/bench/data/images/2018.jpg": b"junk"})
