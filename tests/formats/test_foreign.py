"""Exports that hold no example: the message names the file, what it is and what to bring."""

import json

import pytest

from fcp.errors import FcpError
from fcp.formats.foreign import describe_foreign
from fcp.formats.read import read_examples

SIZE = (30, 40)
SHAPE = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [[[1, 1]]]}}
SUPERVISELY = {"classes": [{"title": "cat", "shape": "polygon"}], "tags": []}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("images\\a.png", r"images\\a\.png: a path of Windows as a name; unpack"),
        ("shapes/a.geojson", r"shapes/a\.geojson: shapes of QuPath or a GIS; export"),
        ("RoiSet.zip", r"RoiSet\.zip: ImageJ's regions; make masks"),
        ("0001-0002.roi", r"ImageJ's regions; make masks"),
        ("task-1-annotation-2-by-1-tag-cat-0.png", r"Label Studio's brushed masks.*export JSON"),
        ("via_region_data.csv", r"a file of the VGG Image Annotator; export it as COCO"),
        ("export.ndjson", r"Labelbox's export; convert it to COCO"),
        ("a_Probabilities.h5", r"a file of ilastik; export the segmentation as PNG"),
        (
            "a_Simple Segmentation.png",
            r"ilastik's segmentation, beside its picture; call it NAME_mask",
        ),
        ("masks/a.npy", r"masks/a\.npy: numbers, not a picture; save masks as PNG"),
        ("slide.svs", r"slide\.svs: a picture of a scanner; export it as TIFF"),
        ("roads.shp", r"shapes of a GIS; make a mask"),
        ("export.zip", r"export\.zip: an archive; unpack it first"),
        ("SegmentationClass/a.png", r"SegmentationClass/: masks without pictures; put those into"),
    ],
)
def test_what_lies_there_instead_is_named(tmp_path, write, name, told):
    write(name, SIZE if name.endswith(".png") else "x")
    if not name.startswith(("task", "images", "Segm")):
        write("a.jpg", SIZE)
    with pytest.raises(FcpError, match=rf"(?s)no example found, but .*{told}"):
        read_examples(tmp_path)


@pytest.mark.parametrize(
    ("files", "told"),
    [
        (
            {"a.json": {"type": "FeatureCollection", "features": [SHAPE]}},
            r"a\.json: shapes of QuPath",
        ),
        ({"a.json": [SHAPE]}, r"a\.json: shapes of QuPath or a GIS \(GeoJSON\)"),
        ({"meta.json": SUPERVISELY, "ds0/ann/a.jpg.json": {}}, r"meta\.json: a project of Superv"),
    ],
)
def test_jsons_of_other_programs(tmp_path, write, files, told):
    write("a.jpg", SIZE)
    for name, content in files.items():
        write(name, json.dumps(content))
    with pytest.raises(FcpError, match=told):
        read_examples(tmp_path)


def test_what_is_hidden_or_unknown_is_not_spoken_of(tmp_path, write):
    for name in ("notes.md", ".cache.npy", "__MACOSX/a.geojson", "a.jpg"):
        write(name, SIZE if name == "a.jpg" else "x")
    assert describe_foreign(tmp_path) is None
    with pytest.raises(FcpError, match="no example found; looked for"):
        read_examples(tmp_path)
