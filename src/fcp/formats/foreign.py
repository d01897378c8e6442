"""Files that are often given as examples but are none: their kind, and the remedy."""

from __future__ import annotations

import re
from pathlib import Path

from fcp.data.folder import MASK_SUFFIX, STRAY_FOLDERS, pictures_in
from fcp.data.pairing import begins_with, name_key

MOST_CHECKED = 10_000  # number of files of a folder
MOST_COMPARED = 200  # number of pictures that are compared by name

# Pattern of a file's lower-case name → its kind and the remedy; the first match counts.
_KNOWN = (
    (
        r".*\\.*",
        "a path of Windows as a name; unpack the archive with a program that makes folders",
    ),
    (r".*\.geojson", "shapes of QuPath or a GIS; export them as label images, or as COCO"),
    (
        r"(roiset.*\.zip|.*\.roi)",
        "ImageJ's regions; make masks of them (Edit, Selection, Create Mask)",
    ),
    (r"task-\d+-annotation-.*\.png", "Label Studio's brushed masks, without pictures; export JSON"),
    (r".*via.*\.(csv|json)", "a file of the VGG Image Annotator; export it as COCO"),
    (r".*\.ndjson", "Labelbox's export; convert it to COCO"),
    (r".*\.(h5|hdf5|ilp)", "a file of ilastik; export the segmentation as PNG"),
    (r".*\.(npy|npz|mat)", "numbers, not a picture; save masks as PNG"),
    (
        r".*\.(czi|lif|nd2|oib|oir|vsi|svs|ndpi|mrxs|dcm|nii|nii\.gz)",
        "a picture of a scanner; export it as TIFF",
    ),
    (r".*\.(shp|gpkg|kml|kmz)", "shapes of a GIS; make a mask of them on the picture's own grid"),
    (r".*\.(zip|rar|7z|tar|gz|tgz)", "an archive; unpack it first"),
    (r".*\.jsonl", "records of Prodigy or alike, one a line; convert them to COCO"),
    (r".*_cp_outlines\.txt", "Cellpose's outlines; save the masks as PNG or TIFF"),
    (r".*\.(xcf|psd|ai|svg|pdf)", "a drawing in layers; export the mask as PNG"),
    (r"ade_.*_seg\.png", "masks of ADE20K, whose colours number classes; make label maps of them"),
    (r"annotations\.csv|.*shapes.*\.csv", "a table of shapes; export masks, or COCO"),
    (
        r".*simple segmentation\.(png|tiff?)",
        "ilastik's segmentation, beside its picture; call it NAME_mask, with 0 for the background",
    ),
)
_PATTERNS = [(re.compile(pattern), text) for pattern, text in _KNOWN]


def describe_foreign(folder: Path) -> str | None:
    """Describe the first file in a folder that is known not to be an example.

    Args:
        folder: Path of the folder, or of the one file that was given.

    Returns:
        Its name, its kind and the remedy; None if there is no such file.
    """
    if not folder.is_dir():
        return _told(folder.name)
    if (folder / "meta.json").is_file() and next(folder.glob("*/ann"), None) is not None:
        return "meta.json and ann/: a project of Supervisely; export it as COCO, or as masks"
    masks = next(
        (one for one in folder.glob("*") if one.name.casefold() == "segmentationclass"), None
    )
    if masks is not None and not (folder / "JPEGImages").is_dir():
        return f"{masks.name}/: masks without pictures; put those into JPEGImages/ beside it"
    for index, path in enumerate(folder.rglob("*")):
        if index > MOST_CHECKED:
            return None
        if path.is_file() and not (STRAY_FOLDERS & set(path.parts) or path.name.startswith(".")):
            text = _told(path.name)
            if text is not None:
                return f"{path.relative_to(folder)}: {text}"
    return _same_names(folder)


def _told(name: str) -> str | None:
    return next((text for pattern, text in _PATTERNS if pattern.fullmatch(name.casefold())), None)


def _same_names(folder: Path) -> str | None:
    """Name two pictures, one of which may be the mask: ``a.jpg`` with ``a.png`` or ``a_x.png``."""
    pictures = sorted(pictures_in(folder)[:MOST_COMPARED], key=lambda path: len(path.stem))
    for index, path in enumerate(pictures):
        key = name_key(path.stem)
        for other in pictures[index + 1 :]:
            if name_key(other.stem) == key or begins_with(other.stem, key):
                mask = f"{path.stem}{MASK_SUFFIX}{other.suffix}"
                return f"{path.name} and {other.name}: if {other.name} is the mask, call it {mask}"
    return None
