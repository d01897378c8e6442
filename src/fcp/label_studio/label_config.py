"""A project's labelling configuration: which tag draws which label, on which picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from xml.etree import ElementTree

from fcp.errors import FcpError

# Tags that can draw a prediction, the most exact first; the type of their regions is the name in
# lower case.
DRAWN = ("BrushLabels", "PolygonLabels", "RectangleLabels")
# Tags whose regions are read as examples or hints, but never written.
HINTED = ("EllipseLabels", "KeyPointLabels")


@dataclass(frozen=True)
class Control:
    """A tag that draws labelled regions.

    Attributes:
        name: Name of the tag, ``from_name`` of its regions.
        kind: Type of its regions: ``brushlabels``, ``polygonlabels`` …
        labels: Labels that the tag offers.
    """

    name: str
    kind: str
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Labelling:
    """The relevant parts of a labelling configuration.

    Attributes:
        picture: Name of the tag that shows the picture, ``to_name`` of regions.
        key: Key of the picture's URL in the data of a task.
        controls: Tags that draw on that picture, the most exact first.
    """

    picture: str
    key: str
    controls: tuple[Control, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """All labels that can be predicted, in the order of the configuration."""
        drawn = (control for control in self.controls if _can_draw(control))
        return tuple(dict.fromkeys(label for control in drawn for label in control.labels))

    def control_of(self, label: str) -> Control | None:
        """Return the most exact tag that can draw a label; None if there is none."""
        fitting = (one for one in self.controls if _can_draw(one) and label in one.labels)
        return next(fitting, None)

    def picture_of(self, task: Mapping[str, object]) -> str:
        """Return the URL of a task's picture.

        Raises:
            FcpError: the task has no picture.
        """
        data = task.get("data")
        url = data.get(self.key) if isinstance(data, Mapping) else None
        if not isinstance(url, str) or not url:
            raise FcpError(f"task {task.get('id')}: its data has no picture under {self.key!r}")
        return url


def read_labelling(config: str) -> Labelling:
    """Read a labelling configuration.

    Raises:
        FcpError: the text is no XML, or has no picture with a tag that draws labelled regions.
    """
    root = _parse(config)
    pictures = [tag for tag in root.iter("Image") if tag.get("name") and tag.get("value")]
    if not pictures:
        raise FcpError("labelling configuration: expected <Image name=… value=…>, found none")
    kinds = (*DRAWN, *HINTED)
    for picture in pictures:
        name = picture.attrib["name"]
        found = [control for kind in kinds for control in _controls(root, kind, name)]
        if any(_can_draw(control) for control in found):
            return Labelling(name, picture.attrib["value"].removeprefix("$"), tuple(found))
    raise FcpError(
        f"labelling configuration: none of {', '.join(DRAWN)} with <Label value=…> draws on a "
        "picture; add one of them"
    )


def _parse(config: str) -> ElementTree.Element:
    # Entities can expand a few bytes to gigabytes; configurations of Label Studio have none.
    if "<!DOCTYPE" in config.upper() or "<!ENTITY" in config.upper():
        raise FcpError("labelling configuration: a document type is not allowed in it")
    try:
        return ElementTree.fromstring(config)  # noqa: S314  (no entities, see above)
    except (ElementTree.ParseError, ValueError) as error:
        raise FcpError(f"labelling configuration: cannot be read ({error})") from error


def _controls(root: ElementTree.Element, kind: str, picture: str) -> Iterator[Control]:
    for tag in root.iter(kind):
        labels = [label.get("alias") or label.get("value") for label in tag.iter("Label")]
        named = tuple(label for label in labels if label)
        if tag.get("name") and tag.get("toName") == picture and named:
            yield Control(tag.attrib["name"], kind.lower(), named)


def _can_draw(control: Control) -> bool:
    return control.kind in {kind.lower() for kind in DRAWN}
