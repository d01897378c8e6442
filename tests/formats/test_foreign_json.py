"""JSON of other programs: the message says whose it is and what to export."""

from pathlib import Path

import pytest

from fcp.errors import FcpError
from fcp.formats.foreign_json import refuse_foreign_json


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"version": "2.0", "item": {}, "annotations": []}, "V7 Darwin; export it as COCO"),
        ({"dataset": "d", "image": {}, "annotations": []}, "V7 Darwin; export"),
        ({"metadata": {}, "instances": []}, "SuperAnnotate; export"),
        ([{"classId": 1, "points": [1]}], "SuperAnnotate; export"),
        ([{"data_hash": "x", "data_units": {}}], "Encord; export"),
        ({"project_name": "p", "images": [], "label_classes": []}, "Hasty; export"),
        ({"asset": {}, "regions": []}, "VoTT; export it as COCO, or as Pascal VOC"),
        ({"dataset": {"samples": []}, "samples": []}, "Segments.ai; export"),
        ([{"Labeled Data": "a", "Label": {}}], "Labelbox's export; export"),
        ({"objects": [], "size": {}}, "Supervisely; export"),
        ({"objects": [], "imgHeight": 1}, "Cityscapes's polygons; use gtFine's labelIds"),
        ([{"image": "a.jpg", "annotations": [{"coordinates": {}}]}], "Apple's CreateML; export"),
        ([{"shapes": [], "tracks": []}], "backup of CVAT; export the task as 'CVAT for images"),
        ({"items": [], "categories": {}}, "Datumaro's own JSON; export"),
        ({"annotations": [{"segments_info": []}]}, "a panoptic COCO file; give that of the inst"),
        ([{"type": "Feature", "geometry": {}}], "QuPath or a GIS"),
    ],
)
def test_kinds(content, told):
    with pytest.raises(FcpError, match=rf"^some\.json: .*{told}"):
        refuse_foreign_json(content, Path("some.json"))


@pytest.mark.parametrize(
    "content",
    [
        {"images": [], "annotations": [], "categories": []},
        [{"data": {"image": "a.jpg"}, "annotations": []}],
        {"shapes": [], "imagePath": "a.jpg"},
        [],
        {},
        None,
        [1],
    ],
)
def test_ours_and_unknown_ones_pass(content):
    refuse_foreign_json(content, Path("some.json"))
