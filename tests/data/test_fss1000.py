"""FSS-1000 out of a zip of the true layout; its split of the classes."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from fcp.data.build_fss1000 import build_fss1000
from fcp.data.episodes import sample_episodes
from fcp.data.fss1000 import FSS1000, default_split
from fcp.data.lists import holdout_lists, train_lists, val_lists
from fcp.errors import FcpError

CLASSES = ("bus", "abe's_flyingfish", "ab_wheel", "zebra")  # the first two are test classes


def pictures(number):
    mask = np.zeros((16, 16, 3), np.uint8)
    mask[:number] = 255
    mask[number] = 90  # a smoothed edge, darker than half
    for array, form in ((np.full((16, 16, 3), 9 * number, np.uint8), "JPEG"), (mask, "PNG")):
        stream = io.BytesIO()
        Image.fromarray(array).save(stream, form)
        yield stream.getvalue()


def files():
    found = {"__MACOSX/fewshot_data/bus/._1.jpg": b"junk", "fewshot_data/.DS_Store": b"junk"}
    for name in CLASSES:
        for number in range(1, 11):
            photo, mask = pictures(number)
            found[f"fewshot_data/fewshot_data/{name}/{number}.jpg"] = photo
            found[f"fewshot_data/fewshot_data/{name}/{number}.png"] = mask
    return found


def pack(path, content):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


@pytest.fixture
def build(tmp_path):
    def build(source=None, splits=None):
        source = source or pack(tmp_path / "fss.zip", files())
        quiet = {"say": lambda _: None, "progress": lambda *_: None}
        return build_fss1000(source, tmp_path / "out", splits=splits, **quiet)

    return build


def write_splits(folder, **parts):
    folder.mkdir()
    for part in ("trn", "val", "test"):
        (folder / f"{part}.txt").write_text("".join(f"{name}\n" for name in parts.get(part, [])))
    return folder


def test_zip_becomes_a_data_set(build, tmp_path):
    splits = write_splits(
        tmp_path / "s", trn=["zebra"], val=["ab_wheel"], test=["bus", "abe's_flyingfish"]
    )
    built = build(splits=splits)
    assert (built.pictures, built.problems) == (40, ())
    data = FSS1000(tmp_path / "out")
    assert data.classes == {1: "ab_wheel", 2: "abe's_flyingfish", 3: "bus", 4: "zebra"}
    assert data.ids("train") == tuple(f"zebra/{n}" for n in range(1, 11))
    assert len(data.ids("val")) == 30
    assert train_lists(data, None).members.keys() == {4}
    assert holdout_lists(data, None).members.keys() == {1}
    lists = val_lists(data, None)
    assert {c: len(m) for c, m in lists.members.items()} == {2: 10, 3: 10}
    assert data.pixels("bus/3") == {3: 3 * 16}  # 255 counts, 90 does not
    episodes = sample_episodes(lists, shots=5, episodes=20, seed=0)
    assert [episode.class_id for episode in episodes] == [2, 3] * 10
    assert data.ids("val")[:4] == ("ab_wheel/1", "abe's_flyingfish/1", "bus/1", "ab_wheel/2")
    with pytest.raises(FcpError, match="fold: FSS-1000 has no folds"):
        val_lists(data, 0)


def test_second_run_skips_what_is_whole(build, tmp_path):
    build()
    photo, mask = (tmp_path / "out/FSS-1000/bus" / name for name in ("1.jpg", "1.png"))
    before = photo.stat().st_mtime_ns
    mask.write_bytes(b"cut")
    build()
    assert photo.stat().st_mtime_ns == before
    assert mask.read_bytes() == files()["fewshot_data/fewshot_data/bus/1.png"]


def test_what_is_alone_is_named_and_left_out(build, tmp_path):
    content = files()
    del content["fewshot_data/fewshot_data/bus/4.png"]
    del content["fewshot_data/fewshot_data/zebra/9.jpg"]
    built = build(pack(tmp_path / "bad.zip", content))
    assert built.pictures == 38
    assert built.problems == ("bus/4.png: no such mask", "zebra/9.jpg: no such picture")
    assert "bus/4" not in FSS1000(tmp_path / "out").ids("val")


def test_classes_without_a_pair_are_in_no_part(build, tmp_path):
    content = {n: c for n, c in files().items() if not ("/bus/" in n and n.endswith("png"))}
    built = build(pack(tmp_path / "bad.zip", content))
    assert "bus/1.png: no such mask" in built.problems
    assert FSS1000(tmp_path / "out").classes == {1: "ab_wheel", 2: "abe's_flyingfish", 3: "zebra"}
    assert len(FSS1000(tmp_path / "out").novel(None)) == 1


def test_a_download_without_pairs_changes_nothing(build, tmp_path):
    build()
    out = tmp_path / "out"
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    photos = {n: c for n, c in files().items() if n.endswith("jpg")}
    apart = {"/masks/".join(n.rsplit("/", 1)): c for n, c in files().items() if n.endswith("png")}
    for content in (photos, photos | apart):
        with pytest.raises(FcpError, match=r"odd\.zip: no CLASS/1\.jpg with .*; not FSS-1000"):
            build(pack(tmp_path / "odd.zip", content))
    assert before == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_without_test_classes_there_is_a_problem_and_no_episode(build, tmp_path):
    content = {n: c for n, c in files().items() if "/zebra/" in n}
    built = build(pack(tmp_path / "part.zip", content))
    assert built.problems == (
        "none of the test classes of FSS-1000 is here; give others by --splits DIR",
    )
    with pytest.raises(FcpError, match=r"no class to draw from is here; .*--splits DIR"):
        sample_episodes(val_lists(FSS1000(tmp_path / "out"), None), shots=1, episodes=1, seed=0)


def test_damage(build, tmp_path):
    cut = pack(tmp_path / "cut.zip", files())
    cut.write_bytes(cut.read_bytes()[:5000])
    with pytest.raises(FcpError, match=r"cut\.zip: no whole tar or zip archive; download it again"):
        build(cut)
    flipped = pack(tmp_path / "flipped.zip", files())
    content = bytearray(flipped.read_bytes())
    content[content.index(b"zebra/7.jpg") + 60] ^= 255
    flipped.write_bytes(bytes(content))
    with pytest.raises(FcpError, match=r"flipped\.zip: broken or truncated archive .*CRC"):
        build(flipped)
    assert build().problems == ()
    with pytest.raises(FcpError, match="not FSS-1000"):
        build(pack(tmp_path / "other.zip", {"readme.txt": b"x"}))


def test_a_mask_of_another_size_is_named(build, tmp_path):
    build()
    Image.new("L", (9, 9)).save(tmp_path / "out/FSS-1000/bus/1.png")
    with pytest.raises(FcpError, match=r"1\.png: the mask is 9×9 px but .*1\.jpg is 16×16"):
        FSS1000(tmp_path / "out").areas("val")


def test_split_files_must_fit(build, tmp_path):
    unknown = write_splits(tmp_path / "a", trn=["zebra"], test=["unicorn"])
    with pytest.raises(FcpError, match=r"test\.txt: there is no class 'unicorn'"):
        build(splits=unknown)
    twice = write_splits(tmp_path / "b", trn=["zebra"], val=["zebra"])
    with pytest.raises(FcpError, match=r"val\.txt: the class 'zebra' is in trn\.txt too"):
        build(splits=twice)
    with pytest.raises(FcpError, match=r"trn\.txt: cannot be read"):
        build(splits=tmp_path)


def test_default_split_has_the_published_sizes_and_test_classes():
    test = default_split([])["test"]
    assert test == []
    others = [f"class {n}" for n in range(760)]
    published = default_split(["bus", "tower_pisa", *others])
    assert published["test"] == ["bus", "tower_pisa"]
    assert [len(published[part]) for part in ("trn", "val")] == [520, 240]
    assert set(published["trn"]).isdisjoint(published["val"])
    assert default_split(reversed(others))["val"] == published["val"]


def test_missing_data_set_says_what_to_run(tmp_path):
    with pytest.raises(FcpError, match="fcp data fss1000 ZIP --out DATA_ROOT"):
        FSS1000(tmp_path).ids("val")
