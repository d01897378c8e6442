"""The output folder: what belongs to nobody's run is never touched, and no two runs are mixed."""

import hashlib
import json

import pytest

from fcp.errors import FcpError
from fcp.labelling.output import begin, finish, plan, read_earlier
from fcp.labelling.photo_results import PictureResult
from fcp.labelling.results import UNFINISHED, Results, read_record

BOTH = ("masks/a.png", "labelme/a.json")


def put(root, *names, content=b"mine"):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)


def run(out, *files, fingerprint="f", **how):
    """Begin a run and end it at once, as if each file had been written."""
    results = Results(
        out, model="m", fingerprint=fingerprint, files=["results.json", UNFINISHED, *files]
    )
    results.question = {"fusion": fingerprint}
    planned = plan(results, read_earlier(out), **how)
    begin(results, planned)
    put(out, *files, content=b"ours")
    digest = hashlib.sha256(b"ours").hexdigest()
    results.add(
        PictureResult(
            f"{name}.jpg", "0", 0.1, name, f"o/{name}", mask_sha256=digest, overlay_sha256=digest
        )
        for name in files
        if name.startswith("masks/")
    )
    finish(results)
    return planned.changed


def snapshot(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("name", ["masks/a.png", "labels/a.txt", "coco.json", "x/y.jpg"])
def test_a_folder_of_somebody_else_is_refused_before_the_first_write(tmp_path, name):
    put(tmp_path, name)
    before = snapshot(tmp_path)
    with pytest.raises(FcpError, match=rf"{name}: not a file of an earlier.*choose another --out"):
        run(tmp_path, *BOTH)
    assert snapshot(tmp_path) == before
    assert {path.name for path in tmp_path.iterdir()} == {name.split("/")[0]}


def test_what_systems_leave_is_nobodys(tmp_path):
    put(tmp_path, ".DS_Store", "Thumbs.db", ".git/config")
    run(tmp_path, *BOTH)
    assert (tmp_path / ".git/config").exists()


def test_a_file_put_beside_a_runs_files_is_never_overwritten(tmp_path):
    run(tmp_path, "masks/a.png")
    put(tmp_path, "masks/b.png", "notes.txt")
    before = snapshot(tmp_path)
    for how in ({}, {"resume": True}, {"overwrite": True}):
        with pytest.raises(FcpError, match=r"b\.png: not a file of an earlier run"):
            run(tmp_path, "masks/a.png", "masks/b.png", **how)
        assert snapshot(tmp_path) == before
    run(tmp_path, "masks/a.png", "masks/c.png", resume=True)
    assert (tmp_path / "notes.txt").read_bytes() == b"mine"


def test_the_same_again_is_no_matter(tmp_path):
    run(tmp_path, *BOTH)
    assert run(tmp_path, *BOTH) == []
    assert set(read_record(tmp_path).files) == {"results.json", UNFINISHED, *BOTH} - {
        UNFINISHED
    } | {UNFINISHED}


def test_another_question_is_refused_unless_asked_for(tmp_path):
    run(tmp_path, *BOTH)
    before = snapshot(tmp_path)
    with pytest.raises(FcpError, match=r"other settings \(different: fusion\); .*--overwrite"):
        run(tmp_path, "masks/b.png", fingerprint="g")
    assert snapshot(tmp_path) == before
    put(tmp_path, "masks/mine.png")
    run(tmp_path, "masks/b.png", fingerprint="g", overwrite=True)
    kept = {str(path) for path in snapshot(tmp_path)}
    assert kept == {"results.json", "masks/b.png", "masks/mine.png"}  # and no folder labelme


def test_resuming_with_another_question_says_so_and_mixes_nothing(tmp_path):
    run(tmp_path, *BOTH)
    assert run(tmp_path, "masks/b.png", fingerprint="g", resume=True) == ["fusion"]
    assert not (tmp_path / "masks/a.png").exists()
    assert [one.file for one in read_record(tmp_path).results] == ["masks/b.png.jpg"]


def test_a_kill_while_another_question_begins_mixes_nothing(tmp_path, monkeypatch):
    earlier = Results(tmp_path, model="m", fingerprint="f", files=["masks/a.png"])
    earlier.save()
    earlier.add([PictureResult("a.jpg", "0", 0.1, "masks/a.png", "o/a.jpg")])  # and killed
    new = Results(tmp_path, model="m", fingerprint="g", files=["masks/a.png"])
    planned = plan(new, read_earlier(tmp_path), resume=True)

    def killed(path, **_):
        raise KeyboardInterrupt(str(path))

    monkeypatch.setattr("fcp.labelling.output._remove", killed)
    monkeypatch.setattr("fcp.labelling.results.Path.unlink", killed)
    with pytest.raises(KeyboardInterrupt):
        begin(new, planned)
    monkeypatch.undo()
    left = read_record(tmp_path)
    assert left.fingerprint == "f" or left.results == []


def test_fewer_photos_do_not_stand_beside_old_masks(tmp_path):
    run(tmp_path, "masks/a.png", "masks/b.png")
    with pytest.raises(FcpError, match=r"other photos too.*--resume"):
        run(tmp_path, "masks/a.png")
    run(tmp_path, "masks/a.png", overwrite=True)
    assert not (tmp_path / "masks/b.png").exists()


@pytest.mark.parametrize("how", [{}, {"overwrite": True}, {"resume": True}])
def test_a_file_of_the_run_that_was_changed_is_somebodys(tmp_path, how):
    run(tmp_path, *BOTH)
    put(tmp_path, "labelme/a.json", content=b"corrected")
    before = snapshot(tmp_path)
    with pytest.raises(FcpError, match=r"a\.json: was changed after the run; move it away"):
        run(tmp_path, *BOTH, **how)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("how", [{}, {"resume": True}, {"overwrite": True}])
def test_files_are_written_down_before_the_first_one(tmp_path, how):
    out = tmp_path / "out"
    results = Results(out, model="m", fingerprint="f", files=["results.json", *BOTH])
    begin(results, plan(results, read_earlier(out), **how))
    put(out, BOTH[0], content=b"ours")  # and now it is killed
    assert run(out, *BOTH, **how) == []


@pytest.mark.parametrize("how", [{"resume": True}, {"overwrite": True}])
def test_a_plan_removes_nothing(tmp_path, how):
    run(tmp_path, *BOTH)
    before = snapshot(tmp_path)
    results = Results(tmp_path, model="m", fingerprint="g", files=["results.json", "masks/b.png"])
    planned = plan(results, read_earlier(tmp_path), **how)
    assert snapshot(tmp_path) == before
    begin(results, planned)
    assert set(map(str, snapshot(tmp_path))) == {"results.json"}


@pytest.mark.parametrize("name", ["../precious.txt", "a/../../precious.txt", "/", ""])
@pytest.mark.parametrize("place", ["files", "mask", "overlay"])
def test_a_received_folder_cannot_name_files_outside(tmp_path, name, place):
    """What is listed there is removed by --overwrite, and overlays are drawn anew."""
    out = tmp_path / "out"
    run(out, *BOTH)
    put(tmp_path, "precious.txt")
    name = str(tmp_path / "precious.txt") if name == "/" else name
    content = json.loads((out / "results.json").read_text())
    if place == "files":
        content["files"][name] = None
    else:
        content["results"][0][place] = name
    (out / "results.json").write_text(json.dumps(content))
    with pytest.raises(
        FcpError, match=r"results\.json: .*is outside this folder\); choose another"
    ):
        run(out, *BOTH, overwrite=True)
    assert (tmp_path / "precious.txt").read_bytes() == b"mine"


def test_what_cannot_be_removed_is_named(tmp_path):
    run(tmp_path, *BOTH)
    (tmp_path / "masks/a.png").unlink()
    (tmp_path / "masks/a.png").mkdir()
    with pytest.raises(FcpError, match=r"masks/a\.png: cannot be removed \(.*\); move it away, or"):
        run(tmp_path, "masks/b.png", overwrite=True)


def test_leftovers_of_a_killed_run_are_removed_and_others_stay(tmp_path):
    run(tmp_path, *BOTH)
    put(tmp_path, "masks/.a.png.abcd_123", ".results.json.00000000", "masks/.b.png.abcd1234")
    run(tmp_path, *BOTH, resume=True)
    assert {p.name for p in tmp_path.rglob(".*")} == {".b.png.abcd1234"}


def test_a_file_as_output_folder(tmp_path):
    put(tmp_path, "out")
    with pytest.raises(FcpError, match="choose another --out"):
        read_earlier(tmp_path / "out")
