"""`fcp segment --pages all`: each page of a file is a photo of its own, in every file of a run."""

import base64
import json
import re
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from typer.testing import CliRunner

from fcp.cli.main import app
from fcp.data import photos as photos_module
from fcp.data.decode import Decoding
from fcp.data.images import read_image
from fcp.data.value_range import ValueRange

FORMATS = ("png", "coco", "coco-polygons", "yolo", "labelme", "label-studio", "cvat")
NAMES = ["plain", "stack-p001", "stack-p002", "stack-p003"]
DEEP = ("--range", "0:4095")


def noise(seed, *size):
    return np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)


@pytest.fixture
def photos(tmp_path):
    """A photo, and a stack of three pages of 12 bits and other sizes, with a thumbnail."""
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(noise(1, 40, 50, 3)).save(folder / "plain.png")
    with tifffile.TiffWriter(folder / "stack.tif") as writer:
        for number in range(3):
            page = noise(number + 2, 30 + number, 60).astype(np.uint16) * 16
            writer.write(page, photometric="minisblack", compression="zlib")
        writer.write(np.zeros((5, 10), np.uint16), photometric="minisblack", subfiletype=1)
    return folder


@pytest.fixture
def run(model_folder, photos, tmp_path):
    """Return a function that runs the command; without a threshold something is found."""
    examples = tmp_path / "examples"
    examples.mkdir()
    Image.fromarray(noise(0, 40, 50, 3)).save(examples / "a.png")
    mask = np.zeros((40, 50), dtype=bool)
    mask[10:30, 10:30] = True
    Image.fromarray(mask).save(examples / "a_mask.png")

    def run(*more, query=photos, pages="all"):
        fixed = ["--support", examples, "--query", query, "--out", tmp_path / "out"]
        quick = ["--device", "cpu", "--appearance", "off", "--min-area", 0, "--min-score", 0]
        arguments = ["segment", *fixed, "--model", model_folder, *quick, "--pages", pages, *more]
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return run


def told(tmp_path):
    content = json.loads((tmp_path / "out/results.json").read_text())
    return content, {(Path(one["file"]).name, one["page"]): one for one in content["results"]}


def test_each_page_has_its_own_result_in_every_format(run, photos, tmp_path):
    before = (photos / "stack.tif").read_bytes()
    done = run(*DEEP, *(part for name in FORMATS for part in ("--format", name)))
    assert done.exit_code == 0, done.output
    stack, out = photos / "stack.tif", tmp_path / "out"
    assert f"4 photos; not used: 1 thumbnail or mask page ({stack})" in done.stdout
    content, records = told(tmp_path)
    assert list(records) == [("plain.png", None), *(("stack.tif", n) for n in (1, 2, 3))]
    for name, ((_, page), record) in zip(NAMES, records.items(), strict=True):
        assert (record["mask"], record["overlay"]) == (f"masks/{name}.png", f"overlays/{name}.jpg")
        size = (40, 50) if page is None else (29 + page, 60)
        for file in (record["mask"], record["overlay"], f"labels/{name}.png"):
            assert read_image(out / file).shape[:2] == size, file
        assert (out / f"yolo/labels/{name}.txt").is_file()
    # What a tool opens is the page as the model saw it.
    values = ValueRange("values", 0, 4095)
    for page in (1, 2, 3):
        kept = read_image(out / f"pages/stack-p{page:03}.png")
        assert (kept == read_image(stack, Decoding(values, page=page))).all()
    assert not (out / "pages/plain.png").exists()
    pictures = [photos / "plain.png", *(out / f"pages/{name}.png" for name in NAMES[1:])]
    for file in ("coco.json", "coco-polygons.json"):
        images = json.loads((out / file).read_text())["images"]
        assert [(tmp_path / one["file_name"]) for one in images] == pictures
        assert len({one["id"] for one in images}) == 4
    for name, picture in zip(NAMES, pictures, strict=True):
        path = json.loads((out / f"labelme/{name}.json").read_text())["imagePath"]
        assert (out / "labelme" / path).resolve() == picture
    tasks = json.loads((out / "label-studio.json").read_text())
    for task, picture in zip(tasks, pictures, strict=True):
        assert task["data"]["image"].endswith(picture.relative_to(tmp_path).as_posix())
    assert (out / "cvat.xml").read_text().count("out/pages/stack-p00") == 3
    assert "stack.tif, page 3" in (out / "report.html").read_text()
    assert (photos / "stack.tif").read_bytes() == before
    written = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}
    assert written == set(content["files"]) - {"results.unfinished.jsonl"}


def test_a_run_of_pages_goes_on_where_it_stopped(run, tmp_path, segmented):
    assert run("--format", "coco").exit_code == 0
    assert len(segmented) == 4
    out = tmp_path / "out"
    before = {p: p.read_bytes() for p in out.rglob("*.png")}
    segmented.clear()
    (out / "masks/stack-p002.png").unlink()
    corrected = np.zeros((32, 60), np.uint8)
    corrected[5:9, 5:10] = 255
    Image.fromarray(corrected).save(out / "masks/stack-p003.png")
    resumed = run("--format", "coco", "--resume")
    assert resumed.exit_code == 0, resumed.output
    assert segmented == [(31, 60)]
    assert "4 photos, 3 done before, 1 corrected by hand" in resumed.stdout
    _, records = told(tmp_path)
    assert len(records) == 4
    assert records["stack.tif", 3]["classes"]["object"]["by_hand"]
    after = {p: p.read_bytes() for p in out.rglob("*.png")}
    assert [p.name for p in before if before[p] != after[p]] == ["stack-p003.png"]


def test_a_stack_that_was_moved_is_known_by_its_content(run, photos, segmented, tmp_path):
    assert run().exit_code == 0
    segmented.clear()
    photos.rename(tmp_path / "elsewhere")
    done = run("--resume", query=tmp_path / "elsewhere")
    assert (done.exit_code, segmented) == (0, [])
    _, records = told(tmp_path)
    assert {Path(one["file"]).parent.name for one in records.values()} == {"elsewhere"}
    assert len(records) == 4


def test_a_page_that_somebody_painted_on_is_not_overwritten(run, tmp_path):
    assert run("--format", "coco").exit_code == 0
    own = tmp_path / "out/pages/stack-p001.png"
    Image.new("RGB", (60, 30), "red").save(own)
    content = own.read_bytes()
    for more in (["--resume"], ["--overwrite"]):
        done = run("--format", "coco", *more)
        assert (done.exit_code, own.read_bytes()) == (1, content)
        assert f"{own}: was changed after the run; move it away first" in done.stderr


def test_all_pages_are_another_question_than_the_largest(run, photos, tmp_path):
    done = run(pages="largest")
    assert done.exit_code == 0, done.output
    stack = photos / "stack.tif"
    assert f"{stack}: page 3 of 4 is read, the largest; --pages chooses" in done.stderr.replace(
        "\n", ""
    )
    assert f"2 photos; not used: 3 further page or frame (first {stack})" in done.stdout
    assert list(told(tmp_path)[1]) == [("plain.png", None), ("stack.tif", None)]
    asked = run()
    assert (asked.exit_code, "other settings (different: every_page)" in asked.stderr) == (1, True)
    assert run("--overwrite").exit_code == 0
    masks = sorted(path.stem for path in (tmp_path / "out/masks").iterdir())
    assert masks == NAMES


def test_the_header_of_a_stack_is_read_once_for_the_warning(run, monkeypatch):
    asked = []
    original = photos_module.bytes_held_whole
    monkeypatch.setattr(
        photos_module, "bytes_held_whole", lambda path: asked.append(path.name) or original(path)
    )
    assert run().exit_code == 0
    assert sorted(asked) == ["plain.png", "stack.tif"]


def test_one_page_is_chosen_by_its_number(run, tmp_path, segmented):
    assert run(pages="2").exit_code == 0
    assert segmented == [(40, 50), (31, 60)]
    assert list(told(tmp_path)[1]) == [("plain.png", None), ("stack.tif", None)]


@pytest.mark.parametrize(("asked", "page"), [("largest", 3), ("2", 2), ("1", None)])
def test_a_page_that_other_tools_would_not_open_is_written_for_them(
    run, photos, tmp_path, asked, page
):
    """They show the first page of a file, which has another size."""
    assert run("--format", "coco", pages=asked).exit_code == 0
    out = tmp_path / "out"
    stack = json.loads((out / "coco.json").read_text())["images"][1]
    kept = out / "pages/stack.png"
    if page is None:
        assert stack["file_name"] == "stack.tif"
        assert not kept.exists()
    else:
        assert stack["file_name"].endswith("out/pages/stack.png")
        assert read_image(kept).shape[:2] == (29 + page, 60) == (stack["height"], stack["width"])
        assert "pages/stack.png" in json.loads((out / "results.json").read_text())["files"]


def test_a_damaged_page_fails_alone(run, photos, tmp_path):
    stack = photos / "stack.tif"
    with tifffile.TiffFile(stack) as tiff:
        place = tiff.pages[1].dataoffsets[0]
    damaged = bytearray(stack.read_bytes())
    damaged[place : place + 20] = bytes(20)
    stack.write_bytes(damaged)
    done = run("--format", "coco")
    assert done.exit_code == 1
    assert "4 photos, 1 failed" in done.stdout
    _, records = told(tmp_path)
    assert records["stack.tif", 2]["error"].startswith(f"{stack}, page 2: damaged or truncated")
    assert [page for (_, page), one in records.items() if one["error"] is None] == [None, 1, 3]
    assert len(json.loads((tmp_path / "out/coco.json").read_text())["images"]) == 3


def test_frames_of_an_animation_are_pages(run, tmp_path):
    frames = [Image.fromarray(noise(number, 30, 30, 3)) for number in range(3)]
    (tmp_path / "films").mkdir()
    frames[0].save(tmp_path / "films/a.png", save_all=True, append_images=frames[1:])
    assert run("--format", "coco", query=tmp_path / "films").exit_code == 0
    for number, frame in enumerate(frames, start=1):
        assert (read_image(tmp_path / f"out/pages/a-p{number:03}.png") == np.asarray(frame)).all()
    assert list(told(tmp_path)[1]) == [("a.png", 1), ("a.png", 2), ("a.png", 3)]


def test_what_is_no_page_is_told_before_anything_is_read(run):
    done = run(pages="some")
    assert done.exit_code == 1
    assert "--pages: expected largest, all or a number from 1; got 'some'" in done.stderr


def test_report_and_overlay_show_the_bands_and_the_range_that_were_chosen(run, tmp_path):
    folder = tmp_path / "bands"
    folder.mkdir()
    bands = np.empty((40, 60, 5), np.uint16)
    bands[:] = (3000, 500, 1000, 2000, 4000)
    tifffile.imwrite(folder / "field.tif", bands, photometric="minisblack", planarconfig="contig")
    chosen = ("--bands", "3,1,2", "--range", "0:4000")
    assert run(*chosen, "--min-area", 10**6, query=folder, pages="largest").exit_code == 0
    report = (tmp_path / "out/report.html").read_text()
    (thumbnail,) = re.findall("<!--([A-Za-z0-9+/=]{100,})-->", report)
    (tmp_path / "thumbnail.jpg").write_bytes(base64.b64decode(thumbnail))
    for file in (tmp_path / "thumbnail.jpg", tmp_path / "out/overlays/field.jpg"):
        shown = read_image(file).reshape(-1, 3).mean(axis=0)
        assert np.abs(shown - [63.75, 191.25, 31.9]).max() < 6, file
