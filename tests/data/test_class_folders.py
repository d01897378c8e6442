"""A folder of CLASS/images and CLASS/masks is a data set; what does not pair is named."""

import numpy as np
import pytest
from PIL import Image

from fcp.data.benchmarks import BENCHMARKS, open_benchmark
from fcp.data.class_folders import ClassFolders
from fcp.data.episodes import sample_episodes
from fcp.data.lists import holdout_lists, train_lists, val_lists
from fcp.errors import FcpError


@pytest.fixture
def root(tmp_path):
    """Return two classes of three pictures; in each the class fills as many rows as its number."""
    for name in ("dog", "cat"):
        for folder in ("images", "masks"):
            (tmp_path / name / folder).mkdir(parents=True)
        for number in (1, 2, 10):
            mask = np.zeros((20, 30), np.uint8)
            mask[:number] = 255
            Image.new("RGB", (30, 20)).save(tmp_path / name / "images" / f"{number}.jpg")
            Image.fromarray(mask).save(tmp_path / name / "masks" / f"{number}.png")
    (tmp_path / ".cache").mkdir()
    return tmp_path


def test_pictures_classes_and_lists(root):
    data = open_benchmark("folder", root)
    assert data.classes == {1: "cat", 2: "dog"}
    assert data.ids("val") == ("cat/1", "dog/1", "cat/2", "dog/2", "cat/10", "dog/10")
    assert data.pixels("dog/2") == {2: 60}
    assert data.class_mask("dog/2", 2).sum() == 60
    assert not data.class_mask("dog/2", 1).any()
    assert data.ignored("dog/2").shape == (20, 30)
    lists = val_lists(data, None)
    assert lists.members == {1: data.ids("val")[::2], 2: data.ids("val")[1::2]}
    # Every class is both: the filter on novel classes must not empty the training lists.
    assert train_lists(data, None) == holdout_lists(data, None) == lists
    assert len(sample_episodes(lists, shots=2, episodes=6, seed=0)) == 6
    with pytest.raises(FcpError, match="class 'cat': 3 supports are asked but only 2"):
        sample_episodes(lists, shots=3, episodes=6, seed=0)
    with pytest.raises(FcpError, match="fold: folder of classes has no folds"):
        val_lists(data, 1)


@pytest.mark.parametrize("sampler", ["classic", "hsnet"])
def test_a_few_episodes_ask_all_classes(root, sampler):
    (root / "dog/images/10.jpg").unlink()
    (root / "dog/masks/10.png").unlink()
    assert ClassFolders(root).ids("val") == ("cat/1", "dog/1", "cat/2", "dog/2", "cat/10")
    lists = val_lists(ClassFolders(root), None)
    episodes = sample_episodes(lists, shots=1, episodes=2, seed=0, sampler=sampler)
    assert [episode.class_id for episode in episodes] == [1, 2]


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        ("dog/masks/2.png", r"dog: no mask \(PNG\) for the picture 2\.jpg"),
        ("dog/images/2.jpg", r"dog/masks: no picture for the mask 2\.png"),
        ("dog/masks", r"dog: no folder masks/ in it"),
    ],
)
def test_what_does_not_pair_is_named(root, gone, message):
    (root / gone).rename(root / ".cache/gone")
    with pytest.raises(FcpError, match=message):
        ClassFolders(root)


def test_each_picture_has_an_id_of_its_own(root):
    for folder, suffix in (("images", "jpg"), ("masks", "png")):
        (root / "cat" / folder / "x").mkdir()
        (root / f"cat/{folder}/x/1.{suffix}").write_bytes(
            (root / f"cat/{folder}/1.{suffix}").read_bytes()
        )
    Image.new("RGB", (30, 20)).save(root / "dog/images/1.png")
    (root / "dog/masks/1.png").rename(root / "dog/masks/1.jpg.png")
    Image.new("L", (30, 20), 9).save(root / "dog/masks/1.png.png")
    data = ClassFolders(root)
    cats = ("cat/1", "cat/2", "cat/10", "cat/x/1")
    assert set(data.ids("val")) == {*cats, "dog/1.jpg", "dog/1.png", "dog/2.jpg", "dog/10.jpg"}
    assert data.image_path("cat/x/1") == root / "cat/images/x/1.jpg"
    assert (data.pixels("dog/1.jpg"), data.pixels("dog/1.png")) == ({2: 30}, {2: 600})


@pytest.mark.parametrize(("images", "masks"), [("Images", "Masks"), ("img", "gt")])
def test_folders_may_have_the_names_that_examples_have(root, images, masks):
    (root / "dog/images").rename(root / "dog" / images)
    (root / "dog/masks").rename(root / "dog" / masks)
    data = ClassFolders(root)
    assert data.classes == {1: "cat", 2: "dog"}
    assert data.files("dog/2") == (root / f"dog/{images}/2.jpg", root / f"dog/{masks}/2.png")


def test_other_folders_are_refused(tmp_path):
    with pytest.raises(FcpError, match="no CLASS/images with CLASS/masks"):
        ClassFolders(tmp_path)
    with pytest.raises(FcpError, match="gone: no such folder"):
        ClassFolders(tmp_path / "gone")


def test_a_mask_of_another_size_is_named(root):
    Image.new("L", (9, 9)).save(root / "cat/masks/1.png")
    with pytest.raises(FcpError, match=r"1\.png: the mask is 9×9 px but .*1\.jpg is 30×20"):
        ClassFolders(root).areas("val")


def test_names_of_benchmarks(root, tmp_path):
    assert list(BENCHMARKS) == ["pascal5i", "coco20i", "fss1000", "lvis92i", "objects", "folder"]
    with pytest.raises(FcpError, match="benchmark: expected one of pascal5i, coco20i"):
        open_benchmark("isaid", root)
    with pytest.raises(FcpError, match="pool: only pascal5i"):
        open_benchmark("folder", root, pool=tmp_path)
