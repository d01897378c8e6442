"""One reading tells all faults at once, and what only a person can decide."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fcp.data.images import read_mask
from fcp.data.prompts import read_support
from fcp.data.turns import turn_array
from fcp.errors import FcpError
from fcp.formats.read import read_examples
from fcp.formats.reading import Reading, require_stated_size

SIZE = (30, 40)
SQUARE = [[2, 3], [12, 3], [12, 20], [2, 20]]


@pytest.fixture
def photo(tmp_path):
    """Return what writes a photo of a size as stored, with an EXIF orientation."""

    def write_photo(name, size=SIZE, turn=1):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        exif = Image.Exif()
        exif[0x0112] = turn
        Image.new("RGB", size[::-1]).save(file, exif=exif)
        return file

    return write_photo


def texts(reading):
    return [str(note) for note in reading.notes]


def mask_of(example, size):
    return read_mask(example.annotation, size)


@pytest.mark.parametrize("turn", range(2, 9))
@pytest.mark.parametrize("size", [SIZE, (40, 40)])
def test_shapes_that_were_drawn_on_the_stored_picture(photo, write, turn, size):
    photo("a.jpg", size, turn)
    drawn = np.zeros(size, bool)
    drawn[3:20, 2:12] = True
    content = {"imagePath": "a.jpg", "shapes": [{"label": "cat", "points": SQUARE}]}
    file = write("a.json", json.dumps(content))
    reading = Reading(drawn_on_raw=True)
    (example,) = read_examples(file, reading=reading)["cat"]
    upright = turn_array(drawn, turn)
    assert (mask_of(example, upright.shape) == upright).all()
    assert texts(reading) == []
    reading = Reading()
    read_examples(file, reading=reading)
    assert f"a.jpg is shown turned (EXIF orientation {turn})" in texts(reading)[0]
    assert texts(reading)[0].endswith("read them with --drawn-on raw")


@pytest.mark.parametrize("turn", [3, 6])
def test_masks_and_points_that_were_drawn_on_the_stored_picture(photo, write, tmp_path, turn):
    photo("coin/a.jpg", (40, 40), turn)
    mask = np.zeros((40, 40), np.uint8)
    mask[3:20, 2:12] = 255
    Image.fromarray(mask).save(tmp_path / "coin/a_mask.png")
    reading = Reading(drawn_on_raw=True)
    (example,) = read_examples(tmp_path / "coin", reading=reading)["coin"]
    assert (mask_of(example, (40, 40)) == (turn_array(mask, turn) > 0)).all()
    photo("points/a.jpg", SIZE, turn)
    shape = {"label": "cat", "shape_type": "point", "points": [[5.5, 7.5]]}
    file = write("points/a.json", json.dumps({"imagePath": "a.jpg", "shapes": [shape]}))
    (example,) = read_examples(file, reading=reading)["cat"]
    spot = np.zeros(SIZE, bool)
    spot[7, 5] = True
    ((row, column),) = np.argwhere(turn_array(spot, turn)).tolist()
    assert list(example.annotation.points) == [(column + 0.5, row + 0.5)]


def test_a_stated_size_tells_what_was_drawn_on(photo, write):
    photo("a.jpg", SIZE, 6)
    content = {"imagePath": "a.jpg", "shapes": [{"label": "cat", "points": SQUARE}]}
    file = write("a.json", json.dumps({**content, "imageHeight": 40, "imageWidth": 30}))
    reading = Reading()
    read_examples(file, reading=reading)
    assert texts(reading) == []
    write("a.json", json.dumps({**content, "imageHeight": 30, "imageWidth": 40}))
    with pytest.raises(FcpError, match=r"turned .* read them with --drawn-on raw$"):
        read_examples(file)
    read_examples(file, reading=Reading(drawn_on_raw=True))


@pytest.mark.parametrize("stated", [(None, None), (0, 0), ("30", "40"), (30.0, "40"), ("", None)])
def test_sizes_that_are_none_or_text(stated):
    require_stated_size(Path("a.json"), stated, SIZE)


def test_another_pictures_annotations():
    with pytest.raises(FcpError, match=r"a\.json: made for a picture of 5×3 px, .* is 4×3 px; put"):
        require_stated_size(Path("a.json"), (3, "5"), (3, 4))


def test_all_faults_are_told_at_once(photo, write):
    photo("a.jpg")
    boxes = [[1, 1, 9, 9], [0, 0, 0, 0], None, [1, 2]]
    annotations = [
        {"id": index, "image_id": 1, "category_id": 1, "bbox": box}
        for index, box in enumerate(boxes)
    ]
    annotations += [
        {"id": 7, "image_id": 9, "category_id": 1, "bbox": boxes[0]},
        {"id": 8, "image_id": 2, "category_id": 1, "bbox": boxes[0]},
        {
            "id": 9,
            "image_id": 1,
            "category_id": 1,
            "segmentation": {"counts": [5], "size": [30, 40]},
        },
    ]
    content = {
        "images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "gone.jpg"}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": annotations,
    }
    file = write("any.json", json.dumps(content))
    with pytest.raises(FcpError, match=r"any\.json: 6 faults; .*--skip-bad:") as caught:
        read_examples(file)
    for told in (
        "a.jpg: annotation 2: neither a segmentation nor a bbox",
        "a.jpg: annotation 3: expected a bbox",
        "annotation 7: there is no image 9",
        "a.jpg: annotation 9: bad segmentation",
        "its picture 'gone.jpg' is not there",
    ):
        assert told in str(caught.value)
    reading = Reading(skip_bad=True)
    (example,) = read_examples(file, reading=reading)["cat"]
    assert mask_of(example, SIZE).sum() == 81
    assert len([text for text in texts(reading) if text.startswith("left out: ")]) == 6


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("kind", ["point", "line"])
def test_points_on_any_edge_of_a_turned_picture(photo, write, kind, turn):
    photo("a.jpg", SIZE, turn)
    corners = [[0, 0], [40, 0], [40, 30], [0, 30]]
    points = [[[x, y]] for x, y in corners] if kind == "point" else [corners]
    shapes = [{"label": "cat", "shape_type": kind, "points": one} for one in points]
    file = write("a.json", json.dumps({"imagePath": "a.jpg", "shapes": shapes}))
    (example,) = read_examples(file, reading=Reading(drawn_on_raw=True))["cat"]
    pixels, mask = read_support(example.picture, example.given)
    assert mask.shape == pixels.shape[:2] == (SIZE if turn < 5 else SIZE[::-1])
    assert mask[[0, 0, -1, -1], [0, -1, 0, -1]].all()


@pytest.mark.parametrize("folders", [("cat", "dog"), ("train", "valid")])
def test_faults_of_all_folders_are_told_at_once(photo, write, tmp_path, folders):
    first, second = folders
    for name in ("a", "b"):
        photo(f"{first}/{name}.jpg")
    photo(f"{second}/c.jpg")
    Image.fromarray(np.eye(*SIZE, dtype=np.uint8) * 255).save(tmp_path / first / "a_mask.png")
    for name in (f"{first}/b", f"{second}/c"):
        write(f"{name}_mask.png", b"no picture")
    with pytest.raises(FcpError, match="2 faults; ") as caught:
        read_examples(tmp_path)
    lines = str(caught.value).split("\n")
    assert all(file in line for file, line in zip(("b_mask", "c_mask"), lines[1:], strict=True))
    reading = Reading(skip_bad=True)
    ((_, examples),) = read_examples(tmp_path, reading=reading).items()
    assert [Path(example.picture).name for example in examples] == ["a.jpg"]
    assert len([text for text in texts(reading) if text.startswith("left out: ")]) == 2


def test_shapes_that_others_outdo_are_counted(photo, write):
    photo("a.jpg")
    kinds = {"polygon": SQUARE, "rectangle": SQUARE[:3:2], "point": SQUARE[:1]}
    shapes = [
        {"label": "cat", "shape_type": kind, "points": points} for kind, points in kinds.items()
    ]
    file = write("a.json", json.dumps({"imagePath": "a.jpg", "shapes": shapes}))
    reading = Reading()
    read_examples(file, reading=reading)
    assert texts(reading)[0].endswith(
        "1 boxes and 1 lines or points do not count beside areas, which are more exact"
    )


def test_masks_that_hardly_anybody_means(photo, write):
    photo("a.jpg")
    whole = [[0, 0], [40, 0], [40, 30], [0, 30]]
    shape = {"label": "cat", "points": whole}
    file = write("a.json", json.dumps({"imagePath": "a.jpg", "shapes": [shape]}))
    reading = Reading()
    read_examples(file, reading=reading)
    assert "the mask covers every pixel" in texts(reading)[0]
