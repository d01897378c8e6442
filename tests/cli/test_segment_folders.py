"""`fcp segment` on the folders that people have: nothing of theirs is lost, nothing is mixed."""

import json

import numpy as np
import pytest
from PIL import Image


def files_in(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def inputs_of(tmp_path):
    """Return every file but those of the run."""
    return {
        path: path.read_bytes()
        for path in tmp_path.rglob("*")
        if path.is_file() and "out" not in path.relative_to(tmp_path).parts
    }


FORMATS = [part for name in ("yolo", "cvat", "labelme", "coco") for part in ("--format", name)]
ALL_COUNTS = ("--min-area", 0, "--min-score", 0)


@pytest.fixture
def everything(photos, picture):
    """Add subfolders, namesakes, an odd name, another file and a dead link to the photos."""
    picture(photos / "a" / "p0.jpg", 20, 24, seed=5)
    picture(photos / "b" / "p0.jpg", 21, 24, seed=6)
    picture(photos / "bell\x07.jpg", 22, 24, seed=7)
    (photos / "notes.txt").touch()
    (photos / "gone.jpg").symlink_to("nowhere.jpg")
    return photos


def test_one_folder_of_everything_people_have(run, everything, tmp_path):
    before = inputs_of(tmp_path)
    done = run(*FORMATS, *ALL_COUNTS)
    assert done.exit_code == 1, done.output
    assert done.stdout.splitlines()[-1].startswith("7 photos; not used: 1 dead link (")
    notes = everything / "notes.txt"
    assert f"1 unknown suffix ({notes})" in done.stdout
    assert done.stdout.strip().endswith("report.html")
    out = tmp_path / "out"
    for name in (
        "masks/a/p0.png",
        "overlays/b/p0.jpg",
        "yolo/labels/a/p0.txt",
        "labelme/b/p0.json",
    ):
        assert (out / name).is_file(), name
    assert (out / "cvat.xml").read_text().count("<image ") == 7
    labelme = json.loads((out / "labelme/a/p0.json").read_text())
    assert (out / "labelme/a" / labelme["imagePath"]).resolve() == everything / "a/p0.jpg"
    assert "its results are called bell" in done.stderr
    content = json.loads((out / "results.json").read_text())
    assert content["left_out"]["unknown suffix"] == {"count": 1, "first": str(notes)}
    assert content["version"]
    assert {"model", "examples", "photos", "files"} <= set(content["seconds"])
    assert content["question"]["fusion"] == "pooled"
    assert inputs_of(tmp_path) == before


def test_a_correction_is_kept_and_damage_made_again(run, everything, segmented, tmp_path):
    before = inputs_of(tmp_path)
    out = tmp_path / "out"
    assert run(*FORMATS, *ALL_COUNTS).exit_code == 1  # of the dead link
    segmented.clear()
    corrected = np.zeros((20, 24), np.uint8)
    corrected[5:10, 5:10] = 255
    Image.fromarray(corrected).save(out / "masks/a/p0.png")
    again = run(*FORMATS, *ALL_COUNTS)
    assert (again.exit_code, "was changed after the run" in again.stderr) == (1, True)
    (out / "masks/b/p0.png").write_bytes((out / "masks/b/p0.png").read_bytes()[:50])
    resumed = run(*FORMATS, *ALL_COUNTS, "--resume")
    assert segmented == [(21, 24)]
    assert "6 done before, 1 corrected by hand" in resumed.stdout
    assert (np.asarray(Image.open(out / "masks/a/p0.png")) == corrected).all()
    coco = json.loads((out / "coco.json").read_text())
    photo = str(everything / "a/p0.jpg")
    image = next(one["id"] for one in coco["images"] if one["file_name"].endswith("a/p0.jpg"))
    (drawn,) = [one for one in coco["annotations"] if one["image_id"] == image]
    assert (drawn["area"], drawn["bbox"]) == (25, [5, 5, 5, 5])
    assert "score" not in drawn
    assert (out / "cvat.xml").read_text().count('source="manual"') == 1
    told = {one["file"]: one for one in json.loads((out / "results.json").read_text())["results"]}
    assert told[photo]["classes"]["object"]["by_hand"]
    assert inputs_of(tmp_path) == before


def test_examples_as_output_are_refused_before_the_first_write(run, examples, tmp_path):
    before = inputs_of(tmp_path)
    done = run("--out", examples)
    assert done.exit_code == 1
    assert f"{examples / 'a.jpg'}: not a file of an earlier run of fcp segment" in done.stderr
    assert inputs_of(tmp_path) == before


def test_all_in_one_folder_stays_apart(run, picture, tmp_path):
    """Examples, photos and results in one folder: masks are no photos, and results no examples."""
    data, out = tmp_path / "data", tmp_path / "data/found"
    for name in ("cat/a", "cat/b", "dog/d"):
        picture(data / f"{name}.jpg", seed=len(name))
        Image.fromarray(np.eye(40, 50, dtype=np.uint8) * 255).save(data / f"{name}_mask.png")
    (data / "cat/b_mask.png").write_bytes(b"")
    for more in ((), ("--resume",)):
        done = run("--class", "cat", "--skip-bad", "--out", out, *more, support=data, query=(data,))
        assert done.exit_code == 0, done.output
        content = json.loads((out / "results.json").read_text())
        photos = [one["file"].removeprefix(f"{data}/") for one in content["results"]]
        assert photos == ["cat/a.jpg", "cat/b.jpg", "dog/d.jpg"]
        assert content["left_out"]["mask of an example"]["count"] == 3
    assert "3 done before" in done.stdout
    assert f"{out}: left out: results of fcp segment" in done.stderr
    assert "changed since" not in done.stderr


@pytest.mark.parametrize("how", ["--resume", "--overwrite"])
def test_pictures_put_beside_exported_labels_are_not_segmented_again(run, photos, segmented, how):
    out = photos / "found"
    usual = ("--out", out, "--format", "yolo", "--format", "coco", *ALL_COUNTS)
    assert run(*usual).exit_code == 0
    for photo in sorted(photos.glob("*.jpg")):
        (out / "yolo/images").mkdir(exist_ok=True)
        (out / "yolo/images" / photo.name).write_bytes(photo.read_bytes())
    segmented.clear()
    done = run(*usual, how)
    assert done.exit_code == 0, done.output
    assert len(segmented) == (0 if how == "--resume" else 4)
    first = out / "yolo/images/p0.jpg"
    assert f"not used: 4 result of fcp (first {first})" in done.stdout
    images = json.loads((out / "coco.json").read_text())["images"]
    assert [one["file_name"] for one in images] == [f"p{number}.jpg" for number in range(4)]


def test_another_question_is_refused_or_replaces_all(run, examples, photos, tmp_path):
    assert run().exit_code == 0
    done = run("--fusion", "mean", query=(photos / "p0.jpg",))
    assert (done.exit_code, "other settings (different: fusion)" in done.stderr) == (1, True)
    assert run("--fusion", "mean", "--overwrite", query=(photos / "p0.jpg",)).exit_code == 0
    assert files_in(tmp_path / "out") == [
        "masks/p0.png",
        "overlays/p0.jpg",
        "report.html",
        "results.json",
    ]
