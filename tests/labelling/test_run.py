"""A folder of two photos labelled by the Python door, and gone on with."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fcp.data.images import read_mask
from fcp.data.photos import read_photo
from fcp.errors import FcpError
from fcp.formats import FORMATS
from fcp.formats.read import read_examples
from fcp.formats.run_lengths import to_runs
from fcp.inference.segmenter import DEFAULT_FUSION, FewShotSegmenter
from fcp.labelling.run import Watcher, label_folder
from fcp.labelling.start import Request, start_run
from fcp.labelling.task import Task, fit_task
from fcp.system.files import sha256_of
from fcp.system.locks import LOCK_FILE, hold_folder


class Notes(Watcher):
    """Writes down what it is told."""

    def __init__(self, stop_after=None):
        self.said, self._stop_after = [], stop_after

    def started(self, start):
        self.said.append(("started", len(start.jobs), len(start.waiting), start.changed))

    def learnt(self, results):
        self.said.append(("learnt", {name: len(all) for name, all in results.examples.items()}))

    def segmented(self, records):
        self.said.append(("segmented", [record.file.rpartition("/")[2] for record in records]))
        if len(self.said) - 2 == self._stop_after:
            raise KeyboardInterrupt


@pytest.fixture
def asked(tmp_path, model_folder):
    """Return a request: two examples of one class, two photos."""
    for folder, names in (("cup", "ab"), ("photos", "pq")):
        (tmp_path / folder).mkdir()
        for seed, name in enumerate(names):
            pixels = np.random.default_rng(seed).integers(0, 256, (40, 50, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / folder / f"{name}.png")
    mask = np.zeros((40, 50), bool)
    mask[10:30, 10:30] = True
    for name in "ab":
        Image.fromarray(mask).save(tmp_path / f"cup/{name}_mask.png")
    task = Task(read_examples(tmp_path / "cup"), tile=None, appearance="off")
    return Request([tmp_path / "photos"], tmp_path / "found", task, str(model_folder))


def content(folder):
    """Return file → bytes of what must not differ between runs."""
    files = (path for path in folder.rglob("*") if path.is_file())
    kept = (path for path in files if path.name not in {"results.json", "report.html"})
    return {str(path.relative_to(folder)): path.read_bytes() for path in kept}


def everything(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_example_that_becomes_a_counter_example_is_another_question(asked):
    label_folder(asked, device="cpu")
    ((name, (first, second)),) = asked.task.classes.items()
    task = replace(asked.task, classes={name: [first]}, negatives=[second])
    watcher = Notes()
    label_folder(replace(asked, task=task, resume=True), device="cpu", watcher=watcher)
    assert watcher.said[0][3], "the results of the other question were kept"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"paths": ["nothere", "nor.jpg"]}, r"nothere, nor\.jpg: no such file or folder"),
        ({"tile": 1}, r"photos/p\.png: tile: 1 px are too few for a photo of 50×40 px"),
    ],
)
def test_results_stay_where_no_photo_could_be_segmented(asked, change, told, monkeypatch):
    # A tile of a pixel is possible for a photo as small as these.
    monkeypatch.setattr("fcp.inference.tiling.MOST_CANVAS", 1 << 20)
    label_folder(asked, device="cpu")
    before = everything(asked.out)
    task = replace(asked.task, tile=change.get("tile"))
    paths = [*map(Path, change.get("paths", []))] or asked.paths
    with pytest.raises(FcpError, match=told):
        label_folder(replace(asked, paths=paths, task=task, overwrite=True), device="cpu")
    assert everything(asked.out) == before


def test_a_class_whose_name_is_no_text_is_named(asked):
    (shown,) = asked.task.classes.values()
    task = replace(asked.task, classes={"caf\udce9": shown})
    with pytest.raises(FcpError, match=r"'caf\\udce9' is no text; rename the class"):
        label_folder(replace(asked, task=task), device="cpu")
    assert not asked.out.exists()


def test_a_second_run_into_the_same_folder_is_refused(asked):
    watcher = Notes()
    with (
        hold_folder(asked.out),
        pytest.raises(FcpError, match=r"found: another run is writing to it"),
    ):
        label_folder(replace(asked, resume=True), device="cpu", watcher=watcher)
    assert watcher.said == []
    label_folder(asked, device="cpu")
    assert not (asked.out / LOCK_FILE).exists()


def test_two_photos_are_labelled(asked, model_folder, tmp_path):
    notes = Notes()
    done = label_folder(replace(asked, writers=[FORMATS["coco"]]), device="cpu", watcher=notes)
    assert (done.photos, done.done_before, done.failed, done.by_hand) == (2, 0, 0, 0)
    assert notes.said == [
        ("started", 2, 2, []),
        ("learnt", {"cup": 2}),
        ("segmented", ["p.png"]),
        ("segmented", ["q.png"]),
    ]
    segmenter = FewShotSegmenter.from_pretrained(model_folder, device="cpu")
    segmenter.fit([(e.picture, e.annotation) for e in asked.task.classes["cup"]], appearance="off")
    for name in "pq":
        found = segmenter.predict(tmp_path / f"photos/{name}.png")
        written = read_mask(tmp_path / f"found/masks/{name}.png", found.mask.shape)
        assert (written == found.mask).all()
    images = json.loads((tmp_path / "found/coco.json").read_text())["images"]
    assert [image["file_name"] for image in images] == ["p.png", "q.png"]
    results = json.loads((tmp_path / "found/results.json").read_text())
    assert results["folder"] == str(Path.cwd())
    used = results["used"]
    assert (used["device"], used["tile"]) == ("cpu", None)


def test_an_interrupted_run_goes_on_and_gives_what_a_whole_one_gives(asked, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        label_folder(asked, device="cpu", watcher=Notes(stop_after=1))
    assert len(json.loads((tmp_path / "found/results.json").read_text())["results"]) == 1
    notes = Notes()
    done = label_folder(replace(asked, resume=True), device="cpu", watcher=notes)
    assert (done.photos, done.done_before) == (2, 1)
    assert notes.said[0] == ("started", 2, 1, [])
    assert notes.said[2:] == [("segmented", ["q.png"])]
    label_folder(replace(asked, out=tmp_path / "whole"), device="cpu", batch_size=2)
    assert content(tmp_path / "found") == content(tmp_path / "whole")


def test_what_is_finished_needs_no_model(asked, monkeypatch):
    label_folder(asked, device="cpu")
    monkeypatch.setattr(FewShotSegmenter, "from_pretrained", None)
    notes = Notes()
    done = label_folder(replace(asked, resume=True), device="cpu", watcher=notes)
    assert (done.photos, done.done_before) == (2, 2)
    assert notes.said == [("started", 2, 0, [])]


def test_an_error_on_the_way_says_how_to_go_on(asked, monkeypatch):
    whole = FewShotSegmenter.predict_batch
    answers = iter([whole])

    def fails_later(*arguments, **settings):
        answer = next(answers, None)
        if answer is None:
            raise FcpError("the model's answer is not finite")
        return answer(*arguments, **settings)

    monkeypatch.setattr(FewShotSegmenter, "predict_batch", fails_later)
    with pytest.raises(FcpError, match=r"not finite; finished photos are kept: .* --resume"):
        label_folder(asked, device="cpu", batch_size=1)


def test_an_error_before_the_first_photo_speaks_of_none(asked):
    task = replace(asked.task, threshold=0.5)  # this model cannot judge presence
    with pytest.raises(FcpError, match=r"cannot judge presence; teach it with `fcp calibrate`$"):
        label_folder(replace(asked, task=task), device="cpu")


UNKNOWN_DEVICE = "abacus"


@pytest.mark.parametrize("how", [{"overwrite": True}, {"resume": True}])
@pytest.mark.parametrize("fault", ["device", "threshold", "example", "class"])
def test_earlier_results_stay_if_the_next_run_fails_before_its_first_photo(asked, fault, how):
    label_folder(asked, device="cpu")
    before = everything(asked.out)
    (cups,) = asked.task.classes.values()
    empty = [replace(cups[0], drawn=to_runs(np.zeros((40, 50), bool)))]
    task, writers = {
        "device": (replace(asked.task, min_score=0.2), ()),
        "threshold": (replace(asked.task, threshold=0.5), ()),  # this model judges no presence
        "example": (replace(asked.task, classes={"cup": empty}), ()),
        "class": (replace(asked.task, classes={"cup\n": cups}), [FORMATS["yolo"]]),
    }[fault]
    device = UNKNOWN_DEVICE if fault == "device" else "cpu"
    with pytest.raises(FcpError) as raised:
        label_folder(replace(asked, task=task, writers=writers, **how), device=device)
    assert everything(asked.out) == before
    assert "kept" not in str(raised.value)
    if fault == "class":
        assert str(raised.value).startswith(f"{asked.out}/yolo/classes.txt: a line cannot hold")
    done = label_folder(replace(asked, resume=True), device="cpu")
    assert done.done_before == 2


def test_a_run_that_goes_on_and_cannot_keeps_the_hashes(asked, tmp_path):
    """Without them, a file that the user has changed since would be overwritten."""
    label_folder(replace(asked, writers=[FORMATS["labelme"]]), device="cpu")
    before = everything(asked.out)
    Image.fromarray(np.zeros((40, 50, 3), np.uint8)).save(tmp_path / "photos/r.png")
    with pytest.raises(FcpError, match=UNKNOWN_DEVICE):
        label_folder(replace(asked, resume=True), device=UNKNOWN_DEVICE)
    assert everything(asked.out) == before


@pytest.mark.parametrize("name", ["min_area", "min_score", "threshold"])
@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_what_is_no_number_is_refused_before_any_work(asked, monkeypatch, name, value):
    monkeypatch.setattr(FewShotSegmenter, "from_pretrained", None)
    option = name.replace("_", "-")
    with pytest.raises(FcpError, match=rf"^--{option}: expected a number, got {value}"):
        label_folder(replace(asked, task=replace(asked.task, **{name: value})), device="cpu")
    assert not asked.out.exists()


@pytest.mark.parametrize("size", [0, 2.5, "2"])
def test_what_is_no_batch_is_refused_before_a_folder_is_made(asked, size):
    told = f"batch_size: expected at least 1, a whole number, got {size!r}"
    with pytest.raises(FcpError, match=told):
        label_folder(asked, device="cpu", batch_size=size)
    assert not asked.out.exists()


def test_paths_may_be_text(asked):
    paths, mask = [str(path) for path in asked.paths], asked.paths[0] / "q.png"
    told = replace(asked, paths=paths, out=str(asked.out), masks={str(mask)})
    assert (told.paths, told.out, list(told.masks)) == (asked.paths, asked.out, [mask])
    assert [job.name for job in start_run(told, "cpu").jobs] == ["p"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"paths": "photos"}, r"paths: expected a list of folders and files, got 'photos'; put it"),
        ({"paths": Path("photos")}, r"paths: expected a list .*Path\('photos'\); put it in \[\]"),
        ({"paths": [None]}, "paths: expected the path of a folder or file, got None"),
        ({"out": ""}, "out: expected the path of a folder or file, got ''"),
        ({"masks": [3]}, "masks: expected the path of a folder or file, got 3"),
    ],
)
def test_what_is_no_path_is_refused(asked, given, message):
    with pytest.raises(FcpError, match=message):
        replace(asked, **given)


def test_a_photo_that_cannot_be_read_fails_alone(asked, tmp_path):
    (tmp_path / "photos/o.png").write_bytes(b"\x89PNG cut short")
    done = label_folder(asked, device="cpu")
    assert (done.photos, done.failed) == (3, 1)
    failed = [one.file for one in done.results.pictures.values() if one.error]
    assert failed == [str(tmp_path / "photos/o.png")]


def test_a_photo_replaced_while_it_is_read_fails_alone_and_is_done_by_the_next_run(
    asked, tmp_path, monkeypatch
):
    replaced, later, read = tmp_path / "photos/p.png", tmp_path / "later.png", read_photo
    Image.fromarray(np.full((40, 50, 3), 9, np.uint8)).save(later)

    def replace_after(picture, *how):
        photo = read(picture, *how)
        if picture == replaced and later.exists():
            later.rename(replaced)
        return photo

    monkeypatch.setattr("fcp.data.photos.read_photo", replace_after)
    done = label_folder(asked, device="cpu", batch_size=2)
    failed = {one.file: one.error for one in done.results.pictures.values() if one.error}
    told = f"{replaced}: changed while it was read; run again with --resume"
    assert failed == {str(replaced): told}
    again = label_folder(replace(asked, resume=True), device="cpu")
    assert (again.done_before, again.failed) == (1, 0)
    assert again.results.pictures[str(replaced), None].sha256 == sha256_of(replaced)


def test_a_run_trusts_no_hash_of_an_earlier_one(asked, monkeypatch):
    """On a disk with coarse times a replaced photo may look the same."""
    label_folder(asked, device="cpu")
    hashed = []
    monkeypatch.setattr(
        "fcp.labelling.photos.sha256_of", lambda file: hashed.append(file.name) or sha256_of(file)
    )
    label_folder(replace(asked, resume=True), device="cpu")
    assert hashed == ["p.png", "q.png"]


def test_the_fusion_of_a_task_is_what_is_used(asked, model_folder, tmp_path):
    assert asked.task.fusion == DEFAULT_FUSION
    mean = replace(asked.task, fusion="mean")
    label_folder(replace(asked, task=mean), device="cpu")
    segmenter = FewShotSegmenter.from_pretrained(model_folder, device="cpu", fusion="mean")
    assert fit_task(segmenter, mean) == {}  # appearance is off: nobody had a choice
    found = segmenter.predict(tmp_path / "photos/p.png")
    written = read_mask(tmp_path / "found/masks/p.png", found.mask.shape)
    assert (written == found.mask).all()
    with pytest.raises(FcpError, match="the task says pooled, the segmenter was made for mean"):
        fit_task(segmenter, asked.task)
