"""What Label Studio, PASCAL VOC's cousins and others write besides, each with the mask it means."""

import json

import pytest
from annotated import INSIDE, SIZE, SQUARE, read_masks_of

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
