"""Names in use for masks and their folders, as tables; pure functions of names.

Sources: the layouts of PASCAL VOC, ADE20K, Cityscapes, mmsegmentation, nnU-Net, DAVIS, CamVid,
ISIC, DRIVE, CHASE, HRF, DeepGlobe, Oxford-IIIT Pet, CUB, Kvasir, DUTS, Cellpose, ilastik and
Segments.ai.
"""

from __future__ import annotations

import re
from pathlib import Path

# "default" is CVAT's name for a part without a name.
SPLITS = frozenset(
    {"train", "training", "val", "valid", "validation", "test", "testing", "default"}
)

# Folders of pictures and of masks beside each other, in lower case.
IMAGE_FOLDERS = (
    *("images", "image", "imgs", "img", "jpegimages", "img_dir", "imagestr", "leftimg8bit"),
)
MASK_FOLDERS = (
    *("masks", "mask", "labels", "label", "annotations", "annotation", "ann_dir", "labelstr"),
    *("segmentation", "segmentations", "seg", "segs", "segmentationclass", "segmentationclasspng"),
    *("ground_truth", "groundtruth", "ground truth", "ground-truth", "gt", "gts", "gtfine"),
    *("manual", "manual1", "1st_manual", "mattes", "matte", "alpha", "trimaps", "trimap"),
    *("masks_png", "labels_png", "mask_images", "pixellabeldata", "target", "targets"),
)
# Folders whose masks hold values of classes, which say nothing without a list of the classes.
MAP_FOLDERS = frozenset(
    {"segmentationclass", "segmentationclasspng", "ann_dir", "gtfine", "pixellabeldata"}
)
# Folder → folders beside which it holds no masks of objects: in sets of retinas, the field of view.
SUPERSEDED = {"mask": frozenset({"manual", "manual1", "1st_manual"})}

# A mask by this end of its name, wherever it lies; _cp_masks: Cellpose.
_SURE_END = re.compile(r"([ ._-]cp)?[ ._-]masks?$", re.IGNORECASE)
# A mask by these where its picture is there too, or where it lies in a folder of masks.
_WORDS = (
    r"segs?|(simple )?segmentation|labels?|gt|ground[_-]?truth|label_ground-truth|annotation|anno|"
    r"matte|alpha|trimap|manual1?|1stHO|binary|L|gtFine_labelIds"
)
_END = re.compile(rf"[ ._-]({_WORDS})$", re.IGNORECASE)
_START = re.compile(r"^(masks?|gt|labels?|seg)([ ._-]+|(?=\d))", re.IGNORECASE)
# Too unclear beside pictures: CamVid's masks, or the left one of two views; ilastik's ids from 1.
_UNCLEAR = re.compile(r"[ ._-](L|simple segmentation)$", re.IGNORECASE)
# Marks of the picture itself, where masks have marks of their own: 1_sat.jpg with 1_mask.png.
_PICTURE_END = re.compile(
    r"[ ._-](image|img|sat|rgb|orig|original|training|test|leftImg8bit|0000)$", re.IGNORECASE
)
_PICTURE_START = re.compile(r"^(images?|img|im|photo)([ ._-]+|(?=\d))", re.IGNORECASE)
# ADE20K's own masks, whose colours number classes; Cityscapes's further pictures of a mask.
_NO_MASK = re.compile(r"ADE_\w+_\d+_seg|.*_gtFine_(color|instanceIds|labelTrainIds)", re.IGNORECASE)
_FOLDER_WORD = re.compile(
    r"masks?|gts?|ground[ _-]?truths?|labels?|labeled|annot(ation)?s?|seg(mentation)?s?|mattes?",
    re.IGNORECASE,
)
_OME = re.compile(r"\.ome$", re.IGNORECASE)  # a.ome.tif, of microscopes


def stem_of(path: Path) -> str:
    """Return a file's name without its suffix, also without the double suffix of OME-TIFF."""
    return _OME.sub("", path.stem)


def is_mask_name(path: Path) -> bool:
    """Return whether a file beside pictures is a mask: ``NAME_mask.png``, upper or lower case."""
    return bool(_SURE_END.search(stem_of(path)))


def is_other_file(path: Path) -> bool:
    """Return whether a picture in a folder of masks is known to be none."""
    return bool(_NO_MASK.fullmatch(path.stem))


def mark_of(path: Path) -> str | None:
    """Return what marks a file's name as that of a mask if its picture is there, such as ``_seg``.

    Returns:
        The mark in lower case; None if the name has none.
    """
    stem = stem_of(path)
    is_none = is_other_file(path) or _UNCLEAR.search(stem)
    found = None if is_none else _END.search(stem) or _START.search(stem)
    return found[0].casefold() if found else None


def names_without_mark(path: Path) -> list[str]:
    """Return the names that a mask's picture may have, the most literal first."""
    stem = stem_of(path)
    found = (path.stem, stem, _SURE_END.sub("", stem), _END.sub("", stem), _START.sub("", stem))
    return list(dict.fromkeys(found))


def picture_names(path: Path) -> list[str]:
    """Return the names that a picture's mask may have, besides a mark of its own."""
    return list(dict.fromkeys([path.name, path.stem, stem_of(path)]))


def loose_picture_names(path: Path) -> list[str]:
    """Return the names of a picture without a mark of its own, such as ``_sat``."""
    stem = stem_of(path)
    return [
        one for one in (_PICTURE_END.sub("", stem), _PICTURE_START.sub("", stem)) if one != stem
    ]


def folder_without_mark(name: str) -> str | None:
    """Return the name of the folder of pictures that ``NAME_masks`` or ``NAMEannot`` belongs to.

    Returns:
        The name in lower case; None if the folder's name has no such end.
    """
    found = re.fullmatch(rf"(.+?)(?:[ ._-]+(?:{_FOLDER_WORD.pattern})|annot)", name, re.IGNORECASE)
    return found[1].casefold() if found else None


def is_mask_folder_name(name: str) -> bool:
    """Return whether a word in a folder's name speaks of masks."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)  # GroundTruth
    return bool(re.search(rf"(?<![a-z])({_FOLDER_WORD.pattern})(?![a-z])", spaced, re.IGNORECASE))


def is_trimap_name(path: Path) -> bool:
    """Return whether a mask's name or folder calls it a trimap."""
    return path.stem.casefold().endswith("trimap") or path.parent.name.casefold() in (
        "trimap",
        "trimaps",
    )
