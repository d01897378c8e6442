"""Label maps: values are classes, by a list of names; where objects overlap, the score decides."""

import numpy as np
import pytest
from PIL import Image

from fcp.data.images import read_labels
from fcp.errors import FcpError
from fcp.formats import FORMATS
from fcp.formats.label_maps import read_label_maps
from fcp.formats.reading import Reading
from fcp.formats.records import LabelledObject, LabelledPicture

SIZE = (3, 4)


@pytest.fixture
def maps(tmp_path, write):
    """Return what writes a data set of one picture: its map and its list of classes."""

    def write_maps(values, names="background\ncat\ndog\n", kind=np.uint8, place="masks"):
        write("set/images/a.png", SIZE)
        write(f"set/{place}/a.png", b"")
        Image.fromarray(np.resize(np.array(values, kind), SIZE)).save(
            tmp_path / f"set/{place}/a.png"
        )
        write("set/classes.txt", names)
        return tmp_path / "set"

    return write_maps


def test_values_are_classes(maps):
    examples = read_label_maps(maps([0, 2, 1, 255]))
    assert list(examples) == ["cat", "dog"]
    assert [e.sources[0].name for e in examples["cat"]] == ["a.png"]  # no photo to segment
    assert [(e.picture.name, e.annotation[0].tolist()) for e in examples["dog"]] == [
        ("a.png", [False, True, False, False])
    ]


def test_lists_of_other_programs(maps, write):
    """LabelMe's list starts with -1; a list may lie beside the maps; 255 may have a name."""
    folder = maps([0, 2], "__ignore__\n_background_\ncat\ndog\n", place="labels")
    assert list(read_label_maps(folder)) == ["dog"]
    (folder / "classes.txt").rename(folder / "labels/labels.txt")
    assert list(read_label_maps(folder)) == ["dog"]
    many = "\n".join(f"c{value}" for value in range(70_000))
    (folder / "labels/labels.txt").unlink()
    assert list(read_label_maps(maps([0, 255], many, place="labels"))) == ["c255"]
    folder = maps([0, 60_000], many, np.uint16, "labels")
    assert list(read_label_maps(folder)) == ["c60000"]


def test_mistakes_are_named(maps, tmp_path, write):
    with pytest.raises(FcpError, match=r"masks/a\.png: the list of classes has no line 3"):
        read_label_maps(maps([0, 3]))
    with pytest.raises(FcpError, match=r"classes\.txt: names no value .*that is in a mask"):
        read_label_maps(maps([0, 255]))
    with pytest.raises(FcpError, match=r"masks/a\.png: class '': a class needs a name"):
        read_label_maps(maps([0, 1], "background\n\ndog"))
    Image.new("RGB", SIZE[::-1], (1, 2, 3)).save(tmp_path / "set/masks/a.png")
    with pytest.raises(FcpError, match=r"masks/a\.png: 12 px have colours that are no class's"):
        read_label_maps(tmp_path / "set")
    write("set/masks/a.png", (4, 3))
    with pytest.raises(FcpError, match=r"masks/a\.png: the mask is 3×4 px but .*a\.png is 4×3"):
        read_label_maps(tmp_path / "set")
    write("set/masks/a.png", b"")
    with pytest.raises(FcpError, match=r"masks/a\.png: the file is empty"):
        read_label_maps(tmp_path / "set")
    with pytest.raises(FcpError, match=r"expected images/, masks/ and a list of classes"):
        read_label_maps(tmp_path)


def test_what_is_written_can_be_read(tmp_path, write, found, classes, masks_of):
    with FORMATS["png"](tmp_path, classes) as writer:
        for picture in found[1:]:
            writer.add(picture)
            write(f"images/{picture.name}.png", picture.size)
    (examples,) = read_label_maps(tmp_path).values()
    (mask,) = masks_of(found[1]).values()
    assert (examples[0].annotation == mask).all()
    picture = Image.open(tmp_path / f"labels/{found[1].name}.png")
    assert (picture.mode, picture.getpalette()[3:6]) == ("P", [128, 0, 0])


def test_the_higher_score_wins_then_the_earlier_object(tmp_path):
    def strip(start, stop):
        mask = np.zeros((1, 8), bool)
        mask[0, start:stop] = True
        return mask

    objects = (
        LabelledObject("none", strip(0, 8)),
        LabelledObject("low", strip(0, 5), 0.25),
        LabelledObject("high", strip(2, 4), 0.5),
        LabelledObject("equal", strip(3, 6), 0.5),
        LabelledObject("late", strip(6, 8)),
    )
    names = ["none", "low", "high", "equal", "late"]
    with FORMATS["png"](tmp_path, names) as writer:
        writer.add(LabelledPicture(tmp_path / "a.jpg", "a", (1, 8), objects))
    labels = read_labels(tmp_path / "labels/a.png")
    assert labels[0].tolist() == [2, 2, 3, 3, 4, 4, 1, 1]


@pytest.mark.parametrize(("count", "kind"), [(255, np.uint8), (256, np.uint16)])
def test_many_classes_take_16_bits(tmp_path, count, kind):
    names = [f"class {index}" for index in range(count)]
    thing = LabelledObject(names[-1], np.ones((2, 2), bool))
    with FORMATS["png"](tmp_path, names) as writer:
        writer.add(LabelledPicture(tmp_path / "a.jpg", "a", (2, 2), (thing,)))
    labels = read_labels(tmp_path / "labels/a.png")
    assert labels.dtype == kind
    assert (labels == count).all()


@pytest.mark.parametrize(
    ("names", "values"),
    [
        ("background\ncat\ndog\ncat\n", "1 and 3 are both"),
        ("cat\ncat\ncat\n", "1, 2 and 3 are all"),  # no line for the background
    ],
)
def test_values_of_one_name_are_one_class_which_is_said(maps, names, values):
    reading = Reading()
    (example,) = read_label_maps(maps([0, 1, 3, 0], names), reading)["cat"]
    assert example.annotation[0].tolist() == [False, True, True, False]
    said = [note.text for note in reading.notes if "called" in note.text]
    assert said == [f"the values {values} called 'cat' and count as one class"]


def test_colours_of_one_name_are_one_class_which_is_said(maps, write):
    folder = maps([0])
    (folder / "classes.txt").unlink()
    write("set/labelmap.txt", "background:0,0,0::\nvoid:9,9,9::\ncat:1,2,3::\ncat:4,5,6::\n")
    row = [(0, 0, 0), (1, 2, 3), (4, 5, 6), (9, 9, 9)]
    Image.fromarray(np.array([row] * SIZE[0], np.uint8)).save(folder / "masks/a.png")
    reading = Reading()
    found = read_label_maps(folder, reading)
    assert found["cat"][0].annotation[0].tolist() == [False, True, True, False]
    said = [note.text for note in reading.notes if "called" in note.text]
    assert said == [
        "the colours (1, 2, 3) and (4, 5, 6) are both called 'cat' and count as one class"
    ]
