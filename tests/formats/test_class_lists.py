"""Lists of classes as programs write them, and files of their names that are none."""

import json

import pytest

from fcp.errors import FcpError
from fcp.formats.class_lists import find_list, read_list


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("class_dict.csv", "name,r,g,b\nVoid,0,0,0\ncat,64,128,64\nbig dog,128,0,192\n"),
        (
            "class_dict_seg.csv",
            "name, r, g, b\nunlabeled, 0, 0, 0\ncat, 64, 128, 64\nbig dog,128,0,192",
        ),
        ("label_colors.txt", "0 0 0\tVoid\n64 128 64\tcat\n128 0 192\t\tbig dog\n"),
        ("labelmap.txt", "# label:color\nbackground:0,0,0::\ncat:64,128,64::\nbig dog:128,0,192::"),
    ],
)
def test_lists_of_colours(write, name, text):
    found = read_list(write(name, text))
    assert found.colours == {(0, 0, 0): "", (64, 128, 64): "cat", (128, 0, 192): "big dog"}
    assert found.names == {1: "cat", 2: "big dog"}


@pytest.mark.parametrize(
    "labels", [{"background": 0, "cat": 1, "dog": 3}, {"0": "background", "1": "cat", "3": "dog"}]
)
def test_nnunets_labels(tmp_path, write, labels):
    file = write("dataset.json", json.dumps({"labels": labels, "numTraining": 2}))
    assert find_list([tmp_path]) == file
    assert read_list(file).names == {1: "cat", 3: "dog"}


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"labels": ["cat"]}', '{"labels": {"cat": [1, 2]}}']
)
def test_a_dataset_json_of_another_program_is_no_list(tmp_path, write, content):
    write("dataset.json", content)
    assert find_list([tmp_path]) is None


@pytest.mark.parametrize("line", ["cat,64,128", "cat,64,128,300", "cat,a,b,c", "64 128 64"])
def test_lines_without_a_colour_are_named(write, line):
    with pytest.raises(FcpError, match=r"class_dict\.csv:2: expected a class and its red, green"):
        read_list(write("class_dict.csv", f"name,r,g,b\n{line}\n"))


def test_a_value_with_two_names_is_refused(write):
    text = "Pixel Value, Class\n0, background\n1, cat\n{}, dog\n"
    assert read_list(write("_classes.csv", text.format(2))).names == {1: "cat", 2: "dog"}
    with pytest.raises(FcpError, match=r"_classes\.csv:4: the value 1 is 'cat' and 'dog'"):
        read_list(write("_classes.csv", text.format(1)))


@pytest.mark.parametrize("other", ["wall", "background"])
def test_a_colour_with_two_names_is_refused(write, other):
    text = f"name,r,g,b\ncat,128,0,0\n{other},128,0,0\n"
    with pytest.raises(FcpError, match=rf"csv: cat and (the )?{other} have one colour, \(128, 0"):
        read_list(write("class_dict.csv", text))
    assert (
        read_list(write("class_dict.csv", text.replace(other, "cat"))).colours[128, 0, 0] == "cat"
    )
