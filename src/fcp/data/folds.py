"""The classes and the four folds of PASCAL-5i and COCO-20i.

Fold i of PASCAL-5i tests classes 5i+1 … 5i+5 of VOC's order; fold i of COCO-20i tests classes
i+1, i+5, …, i+77 of the 80 categories, counted from 1 in the order of COCO's ids.
"""

from __future__ import annotations

from fcp.errors import FcpError

PASCAL_CLASSES = (
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
# VOC's names of classes → COCO's, where they differ.
PASCAL_IN_COCO = {
    "aeroplane": "airplane",
    "diningtable": "dining table",
    "motorbike": "motorcycle",
    "pottedplant": "potted plant",
    "sofa": "couch",
    "tvmonitor": "tv",
}
# Their class ids in COCO-20i, in VOC's order.
PASCAL_IDS_IN_COCO = (5, 2, 15, 9, 40, 6, 3, 16, 57, 20, 61, 17, 18, 4, 1, 59, 19, 58, 7, 63)
ALL_PASCAL_IDS = tuple(range(1, len(PASCAL_CLASSES) + 1))
COCO_CLASS_COUNT = 80
COCO20I_FOLDS = tuple(tuple(range(i + 1, COCO_CLASS_COUNT + 1, 4)) for i in range(4))
PASCAL5I_FOLDS = tuple(ALL_PASCAL_IDS[start : start + 5] for start in range(0, 20, 5))


def novel_classes(fold: int) -> tuple[int, ...]:
    """Return the five class ids (1 … 20) that a fold tests and never trains on.

    Raises:
        FcpError: no such fold.
    """
    if fold not in range(len(PASCAL5I_FOLDS)):
        raise FcpError(f"fold: expected 0 … {len(PASCAL5I_FOLDS) - 1}, got {fold!r}")
    return PASCAL5I_FOLDS[fold]


def base_classes(fold: int) -> tuple[int, ...]:
    """Return the fifteen class ids (1 … 20) that a fold trains on."""
    novel = novel_classes(fold)
    return tuple(class_id for class_id in ALL_PASCAL_IDS if class_id not in novel)


def coco_novel_classes(fold: int) -> tuple[int, ...]:
    """Return the twenty class ids (1 … 80) that a fold of COCO-20i tests.

    Raises:
        FcpError: no such fold.
    """
    if fold not in range(len(COCO20I_FOLDS)):
        raise FcpError(f"fold: expected 0 … {len(COCO20I_FOLDS) - 1}, got {fold!r}")
    return COCO20I_FOLDS[fold]


def pascal_folds_of_coco(fold: int) -> tuple[int, ...]:
    """Return the folds of PASCAL-5i with a class that a fold of COCO-20i tests.

    Raises:
        FcpError: no such fold.
    """
    tested = set(coco_novel_classes(fold))
    return tuple(
        number
        for number, classes in enumerate(PASCAL5I_FOLDS)
        if tested.intersection(PASCAL_IDS_IN_COCO[class_id - 1] for class_id in classes)
    )


def refuse_fold(fold: int | None, title: str) -> None:
    """Refuse a fold for a data set without folds.

    Args:
        fold: Requested fold.
        title: Title of the data set.

    Raises:
        FcpError: the fold is not None.
    """
    if fold is not None:
        raise FcpError(f"fold: {title} has no folds; leave the fold out (got {fold})")
