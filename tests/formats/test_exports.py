"""Exports that mean something else than they seem to: read as meant, or refused with the reason."""

import json

import numpy as np
import pytest

from fcp.data.images import read_mask
from fcp.errors import FcpError
from fcp.formats.examples import REACHES_OUT
from fcp.formats.read import read_examples
from fcp.formats.reading import Reading
from fcp.formats.voc_xml import CORNERS

SIZE = (30, 40)
SQUARE = [[4, 4], [12, 4], [12, 14], [4, 14]]
SHARES = [[x / SIZE[1], y / SIZE[0]] for x, y in SQUARE]
INSIDE = np.zeros(SIZE, bool)
INSIDE[4:14, 4:12] = True
CORNER = [[0, 0], [1, 0], [1, 1], [0, 1]]


def flat(points):
    return np.ravel(points).tolist()


def only_mask(path, reading=None):
    (examples,) = read_examples(path, reading=reading).values()
    (example,) = examples
    return read_mask(example.annotation, SIZE)


def coco(drawn, **image):
    named = {"file_name": "a.jpg"} | image
    return json.dumps(
        {
            "images": [{"id": 1, "height": SIZE[0], "width": SIZE[1], **named}],
            "categories": [{"id": 1, "name": "cat"}],
            "annotations": [{"id": 1, "image_id": 1, "category_id": 1, **drawn}],
        }
    )


def labelme(points):
    shape = {"label": "cat", "shape_type": "polygon", "points": points}
    return json.dumps({"imagePath": "a.jpg", "shapes": [shape]})


@pytest.mark.parametrize(
    "content",
    [
        coco({"segmentation": [flat(SHARES)]}),
        coco({"segmentation": [], "bbox": [0.1, 0.13333, 0.2, 0.3333]}),
        labelme(SHARES),
    ],
)
def test_shares_in_place_of_px_are_no_thing_in_the_corner(write, content):
    write("a.jpg", SIZE)
    with pytest.raises(FcpError, match=r"all its coordinates lie in 0 … 1; expected px"):
        read_examples(write("a.json", content))


@pytest.mark.parametrize("content", [coco({"segmentation": [flat(CORNER)]}), labelme(CORNER)])
def test_one_pixel_in_the_corner_is_a_thing(write, content):
    write("a.jpg", SIZE)
    assert only_mask(write("a.json", content)).sum() == 1


def test_lvis_names_pictures_by_their_url(write):
    write("000000000001.jpg", SIZE)
    content = json.loads(coco({"segmentation": [flat(SQUARE)]}))
    del content["images"][0]["file_name"]
    content["images"][0]["coco_url"] = "http://images.cocodataset.org/train2017/000000000001.jpg"
    assert (only_mask(write("lvis.json", json.dumps(content))) == INSIDE).all()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"images": [], "annotations": [{"segments_info": []}]}, "a panoptic COCO file; give that"),
        ({"info": {}, "categories": {}, "items": []}, "Datumaro's own JSON; export it as COCO"),
    ],
)
def test_cousins_of_coco_are_named(write, content, told):
    write("a.jpg", SIZE)
    with pytest.raises(FcpError, match=rf"a\.json: {told}"):
        read_examples(write("a.json", json.dumps(content)))


def voc(name, *corners):
    box = "".join(f"<{n}>{v}</{n}>" for n, v in zip(CORNERS, corners, strict=True))
    thing = f"<object><name>cat</name><bndbox>{box}</bndbox></object>"
    return f"<annotation><filename>{name}</filename>{thing}</annotation>"


@pytest.mark.parametrize("name", ["a", "a.jpg", "C:\\data\\a", "A "])
@pytest.mark.parametrize("corners", [(5, 5, 12, 14), (12, 14, 5, 5), (5, 14, 12, 5)])
def test_voc_names_without_suffix_and_boxes_drawn_backwards(write, name, corners):
    write("a.jpg", SIZE)
    assert (only_mask(write("a.xml", voc(name, *corners))) == INSIDE).all()


def test_a_name_without_suffix_may_mean_two_pictures(write):
    write("a.jpg", SIZE)
    write("a.png", SIZE)
    with pytest.raises(FcpError, match=r"is its picture 'a' .*a\.jpg or .*a\.png"):
        read_examples(write("a.xml", voc("a", 5, 5, 12, 14)))


def task(annotations):
    results = [
        {
            "result": [
                {
                    "original_width": SIZE[1],
                    "original_height": SIZE[0],
                    "to_name": "image",
                    "value": {
                        "points": [[100 * x, 100 * y] for x, y in shares],
                        "polygonlabels": ["cat"],
                    },
                }
            ],
            **kept,
        }
        for shares, kept in annotations
    ]
    return json.dumps([{"id": 7, "data": {"image": "a.jpg"}, "annotations": results}])


ELSEWHERE = [[0.5, 0.5], [0.9, 0.5], [0.9, 0.9]]


def test_label_studios_annotations_by_several_people_are_told(write):
    write("a.jpg", SIZE)
    reading = Reading()
    mask = only_mask(write("p.json", task([(SHARES, {}), (ELSEWHERE, {})])), reading)
    assert (mask & INSIDE).sum() == INSIDE.sum()
    assert mask.sum() > INSIDE.sum()
    assert [(note.file.split("/")[-1], note.text) for note in reading.notes] == [
        ("p.json: task 7", "has several annotations, all of which count")
    ]


def test_what_a_label_studio_user_cancelled_does_not_count(write):
    write("a.jpg", SIZE)
    reading = Reading()
    file = write("p.json", task([(SHARES, {}), (ELSEWHERE, {"was_cancelled": True})]))
    assert (only_mask(file, reading) == INSIDE).all()
    assert reading.notes == []


def test_label_studios_predictions_are_told(write):
    write("a.jpg", SIZE)
    content = json.loads(task([(SHARES, {})]))
    content[0]["predictions"] = content[0].pop("annotations")
    reading = Reading()
    assert (only_mask(write("p.json", json.dumps(content)), reading) == INSIDE).all()
    assert reading.notes[0].text == "has no annotation; its first prediction counts"


def test_other_programs_jsons_beside_labelmes_are_left_out(tmp_path, write):
    """Google Takeout writes one beside each photo."""
    write("a.jpg", SIZE)
    write(
        "a.json", json.dumps({"imagePath": "a.jpg", "shapes": [{"label": "cat", "points": SQUARE}]})
    )
    write("a.jpg.supplemental-metadata.json", '{"title": "a.jpg"}')
    reading = Reading()
    assert (only_mask(tmp_path, reading) == INSIDE).all()
    assert "left out: no JSON of LabelMe" in str(reading.notes)


LABELME_XML = """<annotation><filename>a.jpg</filename><folder>default</folder>
<imagesize><nrows>{rows}</nrows><ncols>{columns}</ncols></imagesize>
<object><name>cat</name><deleted>0</deleted><type>polygon</type><polygon>{points}</polygon></object>
</annotation>"""


def test_cvats_labelme_xml(tmp_path, write):
    points = "".join(f"<pt><x>{x}</x><y>{y}</y></pt>" for x, y in SQUARE)
    write("default/a.jpg", SIZE)
    text = LABELME_XML.format(rows=SIZE[0], columns=SIZE[1], points=points)
    write("default/a.xml", text)
    assert list(read_examples(tmp_path)) == [
        "cat"
    ]  # and not "default", which CVAT calls a part without a name
    assert (only_mask(tmp_path) == INSIDE).all()
    write("default/a.xml", text.replace(points, points[: points.index("</pt>") + 5]))
    with pytest.raises(FcpError, match=r"a\.xml: object 1: a polygon needs 3 points"):
        read_examples(tmp_path)
    write("default/a.xml", text.replace(f"<x>{SQUARE[0][0]}</x>", "<x>left</x>", 1))
    with pytest.raises(FcpError, match=r"a\.xml: object 1: expected a list of x and y in px"):
        read_examples(tmp_path)
    write("default/a.xml", text.replace(f"<nrows>{SIZE[0]}", "<nrows>77"))
    with pytest.raises(FcpError, match=r"made for a picture of .*77"):
        read_examples(tmp_path)


def test_objects_that_were_deleted_in_labelme_are_left_out(tmp_path, write):
    points = "".join(f"<pt><x>{x}</x><y>{y}</y></pt>" for x, y in SQUARE)
    write("default/a.jpg", SIZE)
    text = LABELME_XML.format(rows=SIZE[0], columns=SIZE[1], points=points)
    corners = "".join(f"<pt><x>{x}</x><y>{y}</y></pt>" for x, y in [(0, 0), (39, 0), (39, 5)])
    gone = f"<object><name>cat</name><deleted>1</deleted><polygon>{corners}</polygon></object>"
    write("default/a.xml", text.replace("</annotation>", f"{gone}</annotation>"))
    reading = Reading()
    assert (only_mask(tmp_path, reading) == INSIDE).all()
    assert "objects that were deleted in the tool were left out" in reading.files_by_note()


def test_what_gis_programs_put_beside_a_picture_is_no_annotation(tmp_path, write):
    write("a.tif", SIZE)
    write("a.tif.aux.xml", "<PAMDataset></PAMDataset>")
    box = "<bndbox><xmin>5</xmin><ymin>5</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
    thing = f"<object><name>cat</name>{box}</object>"
    write("b.xml", f"<annotation><filename>a.tif</filename>{thing}</annotation>")
    assert list(read_examples(tmp_path)) == ["cat"]


VOC = (
    "<annotation><filename>a.jpg</filename><object><name>cat</name><bndbox><xmin>21</xmin>"
    "<ymin>11</ymin><xmax>50</xmax><ymax>30</ymax></bndbox></object></annotation>"
)
CVAT = (
    '<annotations><image name="a.jpg">'
    '<box label="cat" xtl="20" ytl="10" xbr="50" ybr="30"/></image></annotations>'
)
PERCENT = {"x": 50, "y": 100 / 3, "width": 75, "height": 200 / 3, "rectanglelabels": ["cat"]}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", coco({"bbox": [20, 10, 30, 20]})),
        ("a.json", labelme([[20, 10], [50, 30]]).replace("polygon", "rectangle")),
        ("a.xml", VOC),
        ("a.xml", CVAT),
        (
            "a.json",
            json.dumps(
                [{"data": {"image": "a.jpg"}, "annotations": [{"result": [{"value": PERCENT}]}]}]
            ),
        ),
    ],
)
def test_boxes_given_by_other_numbers_than_the_formats_are_noted(write, name, content):
    """What reaches 10 px beyond the picture is likely two corners taken for a width and height."""
    write("a.jpg", SIZE)
    reading = Reading()
    mask = only_mask(write(name, content), reading)
    assert mask[10:, 20:].all()
    assert mask.sum() == 20 * 20
    assert [note.text for note in reading.notes] == [REACHES_OUT]
