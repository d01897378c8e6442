"""``results.json``: whole at any moment, read by one strict reader; a photo costs the same."""

import json
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest

from fcp.errors import FcpError
from fcp.labelling.photo_results import ClassResult, ObjectResult, PictureResult
from fcp.labelling.results import (
    FILE_NAME,
    UNFINISHED,
    DecisionResult,
    ExampleResult,
    LeftOut,
    Results,
    read_record,
)

DECISION = DecisionResult(True, 1.0, 0.66, 0.24, "decided by appearance: 66 % against 24 %")


def record(number, **more):
    found = ClassResult(0.5, 0.25, 100, 0.75, [ObjectResult([0, 1, 2, 3], 0.5, "04")])
    how = {"mask": f"masks/{number}.png", "overlay": f"overlays/{number}.jpg", **more}
    return PictureResult(f"p{number}.jpg", "0" * 64, 0.1, classes={"cat": found}, **how)


def results(folder):
    made = Results(
        folder, model="tiny", fingerprint="f", question={"tile": None}, files=["masks/1.png"]
    )
    made.examples = {"cat": [ExampleResult("a.jpg", 0.5, is_odd=False)]}
    made.left_out = {"dead link": LeftOut(1, "gone.jpg")}
    return made


def test_round_trip(tmp_path):
    made = results(tmp_path)
    made.add([record(1), PictureResult("bad.jpg", None, 0.0, error="bad")])
    made.save()
    assert not (tmp_path / UNFINISHED).exists()
    read = read_record(tmp_path)
    assert read.results == list(made.pictures.values())
    assert (read.examples, read.left_out) == (made.examples, made.left_out)
    assert (read.files, read.question) == ({"masks/1.png": None}, {"tile": None})
    content = json.loads((tmp_path / FILE_NAME).read_text())
    assert content["version"]
    assert content["date"]
    assert content["results"][0]["classes"]["cat"]["objects"] == [
        {"box": [0, 1, 2, 3], "score": 0.5, "counts": "04"}
    ]


def test_decisions_come_back(tmp_path):
    made = results(tmp_path)
    made.appearance = {"nuclei": DECISION}
    made.save()
    told = json.loads(made.path.read_text())["appearance"]
    assert told["nuclei"]["sentence"] == DECISION.sentence
    assert read_record(tmp_path).appearance == {"nuclei": DECISION}


def test_a_file_without_decisions_is_refused(tmp_path):
    made = results(tmp_path)
    made.save()
    content = json.loads(made.path.read_text())
    del content["appearance"]
    made.path.write_text(json.dumps(content))
    with pytest.raises(FcpError, match=r"not a complete results file of fcp segment .*appearance"):
        read_record(tmp_path)


def test_a_photo_is_by_hand_where_a_class_is():
    drawn = ClassResult(1.0, 0.25, 100, by_hand=True)
    assert not record(1).by_hand
    assert PictureResult("p.jpg", None, 0.1, classes={"dog": drawn, **record(1).classes}).by_hand


def test_no_folder_holds_no_run(tmp_path):
    assert read_record(tmp_path) is None


def test_paths_of_photos_lead_from_the_folder_of_the_reader(tmp_path, monkeypatch):
    for name in ("one/photos", "two"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "one")
    made = results(tmp_path)
    made.folder = str(tmp_path / "one")
    given = ["photos/a.jpg", str(tmp_path / "b.jpg")]
    made.add([replace(record(number), file=file) for number, file in enumerate(given)])
    made.save()
    assert [one.file for one in read_record(tmp_path).results] == given
    monkeypatch.chdir(tmp_path / "two")
    read = read_record(tmp_path)
    assert [one.file for one in read.results] == ["../one/photos/a.jpg", given[1]]
    again = results(tmp_path)
    again.folder = str(tmp_path / "two")
    again.pictures = {one.source: one for one in read.results}
    again.save()
    monkeypatch.chdir(tmp_path / "one/photos")
    assert [one.file for one in read_record(tmp_path).results] == ["a.jpg", given[1]]
    content = json.loads((tmp_path / FILE_NAME).read_text())
    del content["folder"]  # as an earlier version wrote it
    (tmp_path / FILE_NAME).write_text(json.dumps(content))
    assert read_record(tmp_path).results[0].file == "../one/photos/a.jpg"


def test_what_was_added_before_a_kill_is_there(tmp_path):
    made = results(tmp_path)
    made.save()
    for number in range(3):
        made.add([record(number)])
    with (tmp_path / UNFINISHED).open("ab") as file:
        file.write(b'{"file": "p3.jpg", "sha')  # cut short
    assert read_record(tmp_path).results == [record(number) for number in range(3)]
    with (tmp_path / UNFINISHED).open("ab") as file:
        file.write(b"\n")
    made.add([record(9)])
    assert [one.file for one in read_record(tmp_path).results][-1] == "p9.jpg"


def test_a_photo_costs_the_same_however_many_there_are(tmp_path):
    made = results(tmp_path)
    made.pictures = {f"p{number}.jpg": record(number) for number in range(1000)}
    made.save()
    before = (tmp_path / FILE_NAME).stat()
    made.add([record(1001)])
    after = (tmp_path / FILE_NAME).stat()
    assert (after.st_ino, after.st_size) == (before.st_ino, before.st_size)  # not written again
    assert (tmp_path / UNFINISHED).stat().st_size < 1000


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b'{"format": "fcp-results-6", "results": [1]}',
        b'{"format": "fcp-results-6", "results": NaN}',
        b'{"a": ' * 100_000,
        b"\xff\xfe",
    ],
)
def test_a_damaged_file_names_the_remedy(tmp_path, content):
    (tmp_path / FILE_NAME).write_bytes(content)
    with pytest.raises(FcpError, match=r"results\.json: not a complete results file.*--out"):
        read_record(tmp_path)


def test_an_older_version_is_named(tmp_path):
    (tmp_path / FILE_NAME).write_text('{"format": "fcp-results-3"}')
    with pytest.raises(FcpError, match="older version of fcp"):
        read_record(tmp_path)


def test_no_mutation_ends_in_a_foreign_exception(tmp_path):
    made = results(tmp_path)
    made.add([record(1), record(2)])
    made.save()
    whole = (tmp_path / FILE_NAME).read_bytes()
    generator = np.random.default_rng(0)
    tokens = [b"null", b"1e999", b"-1", b"[]", b"{}", b'"x"', b"NaN", b"true", b"9" * 400]
    read = 0
    for _ in range(500):
        content = bytearray(whole)
        at = int(generator.integers(len(content)))
        if generator.random() < 0.5:
            content[at] = int(generator.integers(256))
        else:
            content[at : at + int(generator.integers(12))] = tokens[generator.integers(len(tokens))]
        (tmp_path / FILE_NAME).write_bytes(content)
        with suppress(FcpError):
            read_record(tmp_path)
            read += 1
    assert 0 < read < 500


def test_values_that_no_run_can_have_are_refused():
    with pytest.raises(FcpError, match="score"):
        ClassResult(1.5, 0.1, 1)
    with pytest.raises(FcpError, match="finite"):
        ClassResult(float("nan"), 0.1, 1)
    with pytest.raises(FcpError, match="area_px"):
        ClassResult(0.5, 0.1, -1)
    with pytest.raises(FcpError, match="box"):
        ObjectResult([1, 2], 0.5, "04")
