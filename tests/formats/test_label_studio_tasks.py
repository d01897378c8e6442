"""Label Studio's tasks with several pictures: each region belongs to the picture of its tag."""

import json

import pytest

from fcp.data.prompts import Box
from fcp.errors import FcpError
from fcp.formats.read import read_examples
from fcp.formats.reading import Reading

SIZE = (30, 40)


def region(tag, x):
    value = {"x": x, "y": 10, "width": 20, "height": 20, "rectanglelabels": ["cat"]}
    return {"to_name": tag, "value": value}


def task(*regions, **data):
    return {"id": 1, "data": data, "annotations": [{"result": list(regions)}]}


@pytest.fixture
def read(write):
    """Return what reads tasks: the name of each picture with its boxes' left edges, in px."""
    for name in "ab":
        write(f"set/{name}.jpg", SIZE)

    def read_tasks(*tasks, reading=None):
        found = read_examples(write("set/tasks.json", json.dumps(tasks)), reading=reading)["cat"]
        assert all(isinstance(mark, Box) for one in found for mark in one.marks)
        return [(one.picture.name, [mark.x0 for mark in one.marks]) for one in found]

    return read_tasks


def test_regions_are_on_the_picture_of_their_tag(read):
    several = task(
        *(region(*one) for one in (("after", 50), ("before", 10), ("after", 60))),
        before="a.jpg",
        after="b.jpg",
        tags=["x"],
    )
    assert read(several) == [("b.jpg", [20, 24]), ("a.jpg", [4])]


@pytest.mark.parametrize(
    "data",
    [
        {"image": "a.jpg"},
        {"title": "holiday", "image": "a.jpg"},
        {"title": "b", "page": "https://host/b.html", "image": "/data/upload/1/0f2b3c4d-a.jpg"},
        {"other": "gone.jpg", "image": "a.jpg"},
        {"thumbnail": "a.jpg", "image": "/far/a.jpg"},
        {"image": "a"},
    ],
)
def test_a_tag_that_is_not_called_like_its_data_shows_the_only_picture(read, data):
    assert read(task(region("img", 10), region("photo", 20), **data)) == [("a.jpg", [4, 8])]


def test_a_tag_that_may_show_two_pictures_is_refused_with_its_task_alone(read):
    unclear = task(region("img", 10), ref="b.jpg", image="a.jpg")
    clear = task(region("image", 20), image="b.jpg")
    with pytest.raises(FcpError, match=r"task 1: are the regions of 'img' on 'b\.jpg' or 'a\.jpg'"):
        read(unclear, clear)
    assert read(unclear, clear, reading=Reading(skip_bad=True)) == [("b.jpg", [8])]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"title": "holiday", "image": "gone.jpg"}, r"its picture 'gone\.jpg' is not there"),
        ({"title": "holiday"}, r"its picture 'holiday' is not there"),
        ({"number": 3}, r"task 1: expected a picture's file name in its data"),
    ],
)
def test_a_tag_without_any_picture_is_refused(read, data, message):
    with pytest.raises(FcpError, match=message):
        read(task(region("img", 10), **data))


@pytest.mark.parametrize(
    ("name", "notes"), [("0a2b3c4d-a.jpg", 0), ("20230514-a.jpg", 1), ("/x/20230514-a.jpg", 1)]
)
def test_a_name_that_begins_with_a_date_is_noted_where_it_is_taken_for_an_upload(read, name, notes):
    reading = Reading()
    assert read(task(region("image", 10), image=name), reading=reading) == [("a.jpg", [4])]
    assert ["is 20230514 a date?" in note.text for note in reading.notes] == [True] * notes


@pytest.mark.parametrize("name", ["holidays-a.jpg", "1A2B3C4D-a.jpg", "2023051-a.jpg"])
def test_what_no_upload_begins_with_is_part_of_the_name(read, name):
    with pytest.raises(FcpError, match=rf"its picture '{name}' is not there"):
        read(task(region("image", 10), image=name))


SKIPPED = {"was_cancelled": True, "result": [region("image", 30)]}


@pytest.mark.parametrize(
    ("annotations", "left", "note"),
    [
        ([SKIPPED], [], "left out: skipped by its annotator"),
        ([SKIPPED, SKIPPED], [], "left out: skipped by its annotator"),
        ([{"result": []}, SKIPPED], [], None),  # somebody has found nothing in the picture
        ([SKIPPED, {"result": [region("image", 10)]}], [("a.jpg", [4])], None),
        ([], [("a.jpg", [16])], "has no annotation; its first prediction counts"),
    ],
)
@pytest.mark.parametrize("key", ["annotations", "completions"])
def test_a_prediction_counts_only_where_nobody_has_seen_the_task(
    read, key, annotations, left, note
):
    predictions = [{"result": [region("image", 40)]}]
    asked = {"id": 1, "data": {"image": "a.jpg"}, key: annotations, "predictions": predictions}
    reading = Reading()
    found = read(asked, task(region("image", 20), image="b.jpg"), reading=reading)
    assert found == [*left, ("b.jpg", [8])]
    expected = [] if note is None else [("tasks.json: task 1", note)]
    assert [(one.file.split("/")[-1], one.text) for one in reading.notes] == expected
