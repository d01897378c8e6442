"""Labelling configurations: which tag draws which label."""

import pytest

from fcp.errors import FcpError
from fcp.label_studio.label_config import read_labelling

FULL = """
<View>
  <Header value="Mark it"/>
  <Image name="photo" value="$picture" zoom="true"/>
  <RectangleLabels name="box" toName="photo">
    <Label value="cat"/><Label value="dog"/><Label value="bird"/>
  </RectangleLabels>
  <PolygonLabels name="outline" toName="photo">
    <Label value="cat"/><Label value="A dog" alias="dog"/>
  </PolygonLabels>
  <BrushLabels name="brush" toName="photo"><Label value="cat" background="red"/></BrushLabels>
  <KeyPointLabels name="point" toName="photo"><Label value="fish"/></KeyPointLabels>
  <Choices name="choice" toName="photo"><Choice value="good"/></Choices>
</View>
"""


def test_most_exact_tag_draws():
    labelling = read_labelling(FULL)
    assert (labelling.picture, labelling.key) == ("photo", "picture")
    chosen = {label: labelling.control_of(label).name for label in labelling.labels}
    assert chosen == {"cat": "brush", "dog": "outline", "bird": "box"}
    assert labelling.control_of("fish") is None
    assert labelling.control_of("unknown") is None


def test_picture_that_is_drawn_on():
    config = """<View><Image name="a" value="$left"/><Image name="b" value="$right"/>
    <BrushLabels name="tag" toName="b"><Label value="cat"/></BrushLabels></View>"""
    assert read_labelling(config).key == "right"


def test_picture_of_a_task():
    labelling = read_labelling(FULL)
    assert labelling.picture_of({"data": {"picture": "/data/a.png"}}) == "/data/a.png"
    for task in ({"id": 3}, {"id": 3, "data": {"image": "a"}}, {"id": 3, "data": {"picture": 1}}):
        with pytest.raises(FcpError, match="task 3: its data has no picture under 'picture'"):
            labelling.picture_of(task)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("", "cannot be read"),
        ("<View>", "cannot be read"),
        ("<View/>", "expected <Image"),
        ('<View><Image name="a" value="$a"/></View>', "BrushLabels"),
        (
            '<View><Image name="a" value="$a"/>'
            '<KeyPointLabels name="b" toName="a"><Label value="c"/></KeyPointLabels></View>',
            "BrushLabels",
        ),
        (
            '<View><Image name="a" value="$a"/><BrushLabels name="b" toName="a"/></View>',
            "Label value",
        ),
        (
            '<!DOCTYPE v [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;">]><View>&b;</View>',
            "document type",
        ),
    ],
)
def test_what_cannot_be_used(config, message):
    with pytest.raises(FcpError, match=message):
        read_labelling(config)
