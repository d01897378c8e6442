"""Readers of annotation tools' files as examples, and writers of results for these tools."""

from __future__ import annotations

from collections.abc import Mapping

from fcp.formats.coco import CocoPolygonsWriter, CocoWriter
from fcp.formats.cvat import CvatWriter
from fcp.formats.davis import DavisWriter
from fcp.formats.label_maps import LabelMapWriter
from fcp.formats.label_studio import LabelStudioWriter
from fcp.formats.labelme import LabelMeWriter
from fcp.formats.writer import Writer
from fcp.formats.yolo import YoloWriter

__all__ = ["FORMATS"]

# Name → writer class, called with the output folder and the class names; ``fcp.formats.writer``.
FORMATS: Mapping[str, type[Writer]] = {
    "png": LabelMapWriter,
    "coco": CocoWriter,
    "coco-polygons": CocoPolygonsWriter,
    "yolo": YoloWriter,
    "labelme": LabelMeWriter,
    "label-studio": LabelStudioWriter,
    "cvat": CvatWriter,
    "davis": DavisWriter,
}
