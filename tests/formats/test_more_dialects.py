"""What Label Studio, PASCAL VOC's cousins and others write besides, each with the mask it means."""

import json

import pytest
from annotated import INSIDE, SIZE, SQUARE, read_masks_of

from fcp.data.prompts import Box, Points
from fcp.errors import FcpError
from fcp.formats.label_studio import brush_runs
from fcp.formats.read import read_examples
from fcp.formats.reading import Reading

CORNERS = [[10, 40 / 3], [30, 40 / 3], [30, 140 / 3], [10, 140 / 3]]


def label_studio(*results, **data):
    regions = [{"to_name": "image", **one} for one in results]
    data = data or {"image": "a.jpg"}
    return json.dumps([{"id": 1, "data": data, "annotations": [{"result": regions}]}])


@pytest.mark.parametrize("rotation", [0, 90, 180, 270, -90])
def test_label_studios_rotation_is_of_the_view_alone(write, rotation):
    """Its editor turns the stage; numbers stay those of the picture as stored."""
    write("a.jpg", SIZE)
    value = {"points": CORNERS, "polygonlabels": ["cat"]}
    brush = {"format": "rle", "rle": brush_runs(INSIDE), "brushlabels": ["dog"]}
    sizes = {"original_width": 40, "original_height": 30, "image_rotation": rotation}
    text = label_studio({"value": value, **sizes}, {"value": brush, **sizes})
    found = read_masks_of(write("tasks.json", text))
    assert (found["cat"]["a.jpg"] == INSIDE).all()
    assert (found["dog"]["a.jpg"] == INSIDE).all()


def test_label_studios_regions_that_were_labelled_apart(write):
    """With the tags Labels and Polygon there are two results of one region."""
    write("a.jpg", SIZE)
    shape = {"id": "r", "type": "polygon", "value": {"points": CORNERS}}
    label = {"id": "r", "type": "labels", "value": {"points": CORNERS, "labels": ["cat"]}}
    reading = Reading()
    found = read_masks_of(write("tasks.json", label_studio(shape, label)), reading)
    assert (found["cat"]["a.jpg"] == INSIDE).all()
    assert reading.notes == []


def test_label_studios_other_results(write):
    write("a.jpg", SIZE)
    box = {"x": 10, "y": 40 / 3, "width": 20, "height": 100 / 3, "rectanglelabels": ["cat"]}
    others = [
        {"id": "b", "type": "choices", "value": {"choices": ["good"]}},
        {"id": "c", "type": "vectorlabels", "value": {"vertices": [], "vectorlabels": ["cat"]}},
    ]
    reading = Reading()
    text = label_studio({"id": "a", "type": "rectanglelabels", "value": box}, *others)
    assert (read_masks_of(write("tasks.json", text), reading)["cat"]["a.jpg"] == INSIDE).all()
    (note,) = reading.notes
    assert "regions of the type 'vectorlabels' are left out: no shape with a label" in str(note)
    several = label_studio({"value": box}, images=["a.jpg", "b.jpg"])
    with pytest.raises(FcpError, match=r"a task of several pictures; make a task of each"):
        read_examples(write("tasks.json", several))


def test_label_studios_negative_points_are_not_on_the_object(write):
    """A smart tool's points stay in the annotation beside what it found."""
    write("a.jpg", SIZE)
    on, off = ({"x": x, "y": 50, "width": 0.3, "keypointlabels": ["cat"]} for x in (25, 75))
    text = label_studio({"value": on, "is_positive": True}, {"value": off, "is_positive": False})
    reading = Reading()
    (example,) = read_examples(write("tasks.json", text), reading=reading)["cat"]
    assert example.given == (Points([(10, 15)]),)
    (note,) = reading.notes
    assert str(note).endswith("region 2: left out: marked as negative, and so not on the object")
    alone = write("tasks.json", label_studio({"value": off, "is_positive": False}))
    with pytest.raises(FcpError, match=r"tasks\.json: no example is left:\n .*region 1: left out"):
        read_examples(alone)


@pytest.mark.parametrize("kind", ["labels", "keypointlabels"])
def test_label_studios_key_points_have_a_width_and_no_height(write, kind):
    write("a.jpg", SIZE)
    value = {"x": 25, "y": 50, "width": 0.3, kind: ["cat"]}
    (example,) = read_examples(write("tasks.json", label_studio({"value": value})))["cat"]
    assert example.given == (Points([(10, 15)]),)


BODY = [4, 5, 2, 0, 0, 0, 20, 25, 1]  # two points that are labelled, and one that is not


@pytest.mark.parametrize("rest", [{}, {"bbox": []}, {"bbox": [0, 0, 0, 0], "segmentation": []}])
def test_cocos_key_points_count_where_there_is_nothing_else(write, rest):
    write("a.jpg", SIZE)
    content = {
        "images": [{"id": 1, "file_name": "a.jpg"}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "keypoints": BODY, **rest}],
    }
    (example,) = read_examples(write("a.json", json.dumps(content)))["cat"]
    assert example.given == (Points([(4, 5), (20, 25)]),)
    content["annotations"][0]["bbox"] = [2, 3, 10, 17]
    (example,) = read_examples(write("a.json", json.dumps(content)))["cat"]
    assert example.given == (Box(2, 3, 12, 20),)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([4, 5], "expected x, y and visibility of each key point"),
        (["a", 5, 2], "expected x, y and visibility of each key point"),
        ([4, 5, 0], "none of its key points is labelled"),
        ([400, 5, 1], "far outside the picture"),
    ],
)
def test_cocos_key_points_with_faults(write, points, message):
    write("a.jpg", SIZE)
    content = {
        "images": [{"id": 1, "file_name": "a.jpg"}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "keypoints": points}],
    }
    with pytest.raises(FcpError, match=f"annotation 1: .*{message}"):
        read_examples(write("a.json", json.dumps(content)))


def test_points_that_are_shares_are_refused_though_each_is_a_shape(write):
    write("a.jpg", SIZE)
    shapes = [
        {"label": "cat", "shape_type": "point", "points": [point]}
        for point in ([0.4, 0.2], [0.5, 0.3])
    ]
    file = write("a.json", json.dumps({"imagePath": "a.jpg", "shapes": shapes}))
    with pytest.raises(FcpError, match=r"a\.json: class 'cat': all its coordinates lie in 0 … 1"):
        read_examples(file)


@pytest.mark.parametrize(
    ("shape", "told"),
    [
        ({"shape_type": "point", "points": [[70, 3]]}, "left out: .*70, 3.* outside the picture"),
        ({"shape_type": "spiral", "points": SQUARE}, "unknown shape_type 'spiral', left out"),
    ],
)
def test_why_no_example_is_left(write, shape, told):
    write("a.jpg", SIZE)
    content = {"imagePath": "a.jpg", "shapes": [{"label": "cat", **shape}]}
    file = write("a.json", json.dumps(content))
    with pytest.raises(FcpError, match=f"a\\.json: no example is left:\n  .*{told}"):
        read_examples(file, reading=Reading(skip_bad=True))


@pytest.mark.parametrize("name", ["a.jpg", "a", ""])
def test_polygons_beside_boxes_in_pascal_voc(write, name):
    """RectLabel and Roboflow write both."""
    write("a.jpg", SIZE)
    corners = "".join(f"<x{i}>{x}</x{i}><y{i}>{y}</y{i}>" for i, (x, y) in enumerate(SQUARE, 1))
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>30</xmax><ymax>20</ymax></bndbox>"
    shape = f"<object><name>cat</name><polygon>{corners}</polygon>{box}</object>"
    text = f"<annotation><filename>{name}</filename>{shape}</annotation>"
    assert (read_masks_of(write("a.xml", text))["cat"]["a.jpg"] == INSIDE).all()


@pytest.mark.parametrize(
    ("root", "told"),
    [("OME", "OMERO"), ("Annotations", "Aperio"), ("ASAP_Annotations", "ASAP"), ("kml", "GIS")],
)
def test_xml_of_other_programs(write, root, told):
    with pytest.raises(FcpError, match=rf"a\.xml: .*{told}.*; export masks, COCO, or CVAT"):
        read_examples(write("a.xml", f'<{root} xmlns="http://x.y"/>'))


def test_six_digits_are_exact_enough_for_a_box(write, tmp_path):
    write("images/a.jpg", SIZE)
    write("labels/a.txt", "0 0.2 0.2999999 0.2 0.333333")
    write("data.yaml", "names: [cat]")
    assert (read_masks_of(tmp_path)["cat"]["a.jpg"] == INSIDE).all()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("coco.json", json.dumps({"images": [], "categories": [], "annotations": []})),
        ("a.json", json.dumps({"imagePath": "a.jpg", "shapes": []})),
        ("tasks.json", json.dumps([{"data": {"image": "a.jpg"}, "annotations": []}])),
        ("a.xml", "<annotations><image name='a.jpg'/></annotations>"),
    ],
)
def test_files_without_an_object_are_named(write, name, content):
    write("a.jpg", SIZE)
    file = write(name, content)
    for path in (file, file.parent):
        with pytest.raises(FcpError, match=rf"{name}: no object is annotated in it; annotate one"):
            read_examples(path)
