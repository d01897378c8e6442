"""CVAT: masks are decoded as its importer does; names keep XML whole."""

from xml.etree import ElementTree

import numpy as np
import pytest

from fcp.errors import FcpError
from fcp.formats import FORMATS
from fcp.formats.records import LabelledPicture


def decode(element, size):
    """Paint a mask element: runs along the rows of its box, background first."""
    box = {key: int(element.get(key)) for key in ("left", "top", "width", "height")}
    counts = [int(count) for count in element.get("rle").split(",")]
    flat = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    mask = np.zeros(size, bool)
    rows = slice(box["top"], box["top"] + box["height"])
    columns = slice(box["left"], box["left"] + box["width"])
    mask[rows, columns] = flat.reshape(box["height"], box["width"])
    return mask


def test_what_is_written(tmp_path, found, classes):
    with FORMATS["cvat"](tmp_path, classes) as writer:
        for picture in found:
            writer.add(picture)
    root = ElementTree.parse(tmp_path / "cvat.xml").getroot()
    assert root.findtext("version") == "1.1"
    assert [label.findtext("name") for label in root.iter("label")] == classes
    assert root.findtext("meta/task/size") == "3"
    images = root.findall("image")
    assert [image.get("name") for image in images] == ["a/å b.png", "b/å b.png", "b/empty.png"]
    assert [image.get("id") for image in images] == ["0", "1", "2"]
    for image, picture in zip(images, found, strict=True):
        assert (int(image.get("height")), int(image.get("width"))) == picture.size
        things = [thing for thing in picture.objects if thing.mask.any()]
        for element, thing in zip(image.findall("mask"), things, strict=True):
            assert (decode(element, picture.size) == thing.mask).all()
            assert element.get("label") == thing.class_name


@pytest.mark.parametrize("name", ["bell\a", "nul\0", "\ufffe", "escape\x1b[31m"])
def test_names_that_xml_cannot_say(tmp_path, name):
    with pytest.raises(FcpError, match=r"XML cannot hold the name of the class .*; rename it"):
        FORMATS["cvat"](tmp_path, [name])
    writer = FORMATS["cvat"](tmp_path, ["cat"])
    picture = LabelledPicture(tmp_path / f"{name}.jpg", "a", (3, 4), ())
    with writer:
        writer.add(picture)
    (image,) = ElementTree.parse(tmp_path / "cvat.xml").iter("image")
    assert image.get("name") == "a"
