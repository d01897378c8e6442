"""A project's labelling configuration: which tag draws which label, on which picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from xml.etree import ElementTree

from fcp.errors import FcpError

# Tags that draw an object, the most exact first; their regions' type is the name in lower case.
DRAWN = ("BrushLabels", "PolygonLabels", "RectangleLabels")
# Those that are read as examples, or as a hint, but never written.
HINTED = ("EllipseLabels", "KeyPointLabels")


@dataclass(frozen=True)
class Control:
    """A tag that draws labelled regions.

    Attributes:
        name: its ``name``, a region's ``from_name``.
        kind: a region's ``type``: ``brushlabels``, ``polygonlabels`` …
        labels: Labels that the tag offers.
    """

    name: str
    kind: str
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Labelling:
    """What a labelling configuration says to us.

    Attributes:
        picture: name of the tag that shows the picture, a region's ``to_name``.
        key: Entry of the task's data that holds the picture's URL.
        controls: Tags on that picture, the most exact first.
    """

    picture: str
    key: str
    controls: tuple[Control, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """All labels that a prediction can be of, in the order of the configuration."""
        drawn = (control for control in self.controls if _can_draw(control))
        return tuple(dict.fromkeys(label for control in drawn for label in control.labels))

    def control_of(self, label: str) -> Control | None:
        """Choose the most exact tag that can draw a label; None where there is none."""
        fitting = (one for one in self.controls if _can_draw(one) and label in one.labels)
        return next(fitting, None)

    def picture_of(self, task: Mapping[str, object]) -> str:
        """Return the URL of a task's picture.

        Raises:
            FcpError: it has none.
        """
        data = task.get("data")
        url = data.get(self.key) if isinstance(data, Mapping) else None
        if not isinstance(url, str) or not url:
            raise FcpError(f"task {task.get('id')}: its data has no picture under {self.key!r}")
        return url


def read_labelling(config: str) -> Labelling:
    """Read a labelling configuration.

    Raises:
        FcpError: no XML, no picture, or no tag that draws labelled regions on it.
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
    # Entities could blow a few bytes up to gigabytes; Label Studio's configurations have none.
    if "<!DOCTYPE" in config.upper() or "<!ENTITY" in config.upper():
        raise FcpError("labelling configuration: a document type is not allowed in it")
    try:
        return ElementTree.fromstring(config)  # noqa: S314  (no entities, as asked above)
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
