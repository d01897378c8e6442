"""JSON files of other programs, which hold no examples as they are: their kind, and the remedy."""

from __future__ import annotations

from pathlib import Path

from fcp.errors import FcpError

_AS_COCO = "export it as COCO"
_GEOJSON = "shapes of QuPath or a GIS (GeoJSON); export them as label images, or as COCO"
# Keys of the content, or of the first item of a list → kind and remedy; the first match counts.
_KINDS: tuple[tuple[frozenset[str], str], ...] = (
    (frozenset({"type", "geometry"}), _GEOJSON),
    (frozenset({"type", "features"}), _GEOJSON),
    (
        frozenset({"shapes", "tracks"}),
        "annotations of a backup of CVAT; export the task as 'CVAT for images 1.1' with pictures",
    ),
    (frozenset({"item", "annotations"}), f"an annotation of V7 Darwin; {_AS_COCO}"),
    (frozenset({"dataset", "image", "annotations"}), f"an annotation of V7 Darwin; {_AS_COCO}"),
    (frozenset({"metadata", "instances"}), f"an annotation of SuperAnnotate; {_AS_COCO}"),
    (frozenset({"classId", "points"}), f"an annotation of SuperAnnotate; {_AS_COCO}"),
    (frozenset({"data_hash", "data_units"}), f"labels of Encord; {_AS_COCO}"),
    (frozenset({"images", "label_classes"}), f"an export of Hasty; {_AS_COCO}"),
    (frozenset({"asset", "regions"}), f"an annotation of VoTT; {_AS_COCO}, or as Pascal VOC"),
    (frozenset({"assets", "tags"}), f"a project of VoTT; {_AS_COCO}, or as Pascal VOC"),
    (frozenset({"dataset", "samples"}), f"a release of Segments.ai; {_AS_COCO}"),
    (frozenset({"Labeled Data"}), f"Labelbox's export; {_AS_COCO}"),
    (frozenset({"data_row"}), f"Labelbox's export; {_AS_COCO}"),
    (frozenset({"items", "categories"}), f"Datumaro's own JSON; {_AS_COCO}"),
    (frozenset({"classes", "tags"}), f"a project of Supervisely; {_AS_COCO}, or as masks"),
    (frozenset({"objects", "size"}), f"an annotation of Supervisely; {_AS_COCO}, or as masks"),
    (frozenset({"objects", "imgHeight"}), "Cityscapes's polygons; use gtFine's labelIds"),
)


def refuse_foreign_json(content: object, file: Path) -> None:
    """Refuse the content of a file of a known kind that holds no examples, with the remedy.

    Args:
        content: Parsed content of the file.
        file: Path of the file.

    Raises:
        FcpError: the content is of a known kind.
    """
    first = content[0] if isinstance(content, list) and content else content
    if isinstance(first, dict) and "data" not in first:
        kind = _kind_of_item(first) if isinstance(content, list) else None
        kind = kind or _kind(first)
        if kind is not None:
            raise FcpError(f"{file}: {kind}")


def _kind_of_item(first: dict[str, object]) -> str | None:
    """Return the kind of a list by its first item."""
    if "image_id" in first:
        return (
            "a list of COCO results, without the names of pictures and classes; give the file "
            "with images, categories and annotations"
        )
    if {"image", "imagefilename"} & first.keys() and isinstance(first.get("annotations"), list):
        return f"boxes of Apple's CreateML; {_AS_COCO}"
    if {"image", "annotator"} & first.keys():
        return "Label Studio's JSON-MIN, which lacks information; export JSON"
    return None


def _kind(first: dict[str, object]) -> str | None:
    annotations = first.get("annotations")
    for one in annotations[:1] if isinstance(annotations, list) else []:
        if isinstance(one, dict) and "segments_info" in one:
            return "a panoptic COCO file; give that of the instances"
    for keys, text in _KINDS:
        if keys <= first.keys():
            return text
    inside = first.get("_via_img_metadata", first)
    one = next(iter(inside.values()), None) if isinstance(inside, dict) else None
    if isinstance(one, dict) and "regions" in one:
        return "a project of the VGG Image Annotator; export it as COCO"
    return None
