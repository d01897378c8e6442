"""A small ``objects/`` with a set of each sort: scenes, worn things, kinds alone, films."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

# SET/ID → the kinds with a mask, each on a row of its own.
PHOTOS = {
    **{f"scenes/meadow{n}": ("cow", "grass") for n in range(4)},
    **{f"scenes/paddock{n}": ("horse", "grass") for n in range(3)},
    **{f"scenes/stable{n}": ("horse", "cow") for n in range(2)},
    **{f"scenes/portrait{n}": ("face",) for n in range(3)},
    **{f"scenes/walker{n}": ("body",) for n in range(2)},
    **{f"scenes/reader{n}": ("body", "book") for n in range(3)},
    **{f"garments/{n}": ("coat", "hair") for n in range(3)},
    **{f"garments/bagged{n}": ("coat", "bag") for n in range(2)},
    **{f"single/{kind}_{n}": (kind,) for kind in ("dolphin", "panda", "emu") for n in range(3)},
    **{f"single/{kind}_{n}": (kind,) for kind in ("flamingo", "barrel", "crab") for n in range(3)},
    **{f"films/{kind}_{n}": (kind,) for kind in ("bear", "surf") for n in range(3)},
}
VOC_OF = {
    **{name: name for name in ("cow", "horse")},
    **dict.fromkeys(("face", "body", "hair"), "person"),
    **dict.fromkeys(("emu", "flamingo"), "bird"),
    **dict.fromkeys(("bear", "surf"), "any"),
}
COCO_OF = {
    "book": "book",
    "bag": "handbag",
    "panda": "bear",
    "bear": "bear",
    "surf": "surfboard",
}
SHOWS_VOC = {"scenes": "labelled", "garments": ["person"], "single": [], "films": "any"}


@pytest.fixture(scope="session")
def mini_objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data root with ``objects/``; see ``PHOTOS``."""
    root = tmp_path_factory.mktemp("objects-root")
    masks: dict[tuple[str, str], int] = {}
    for number, (photo, kinds) in enumerate(PHOTOS.items()):
        name, _, stem = photo.partition("/")
        folder = root / "objects" / name
        (folder / "images").mkdir(parents=True, exist_ok=True)
        pixels = np.full((16, 20, 3), number, np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{stem}.jpg")
        for row, kind in enumerate(kinds):
            mask = np.zeros((16, 20), bool)
            mask[row, : row + 5] = True
            (folder / "masks" / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask).save(folder / "masks" / kind / f"{stem}.png")
            masks[name, kind] = masks.get((name, kind), 0) + 1
    manifest = [
        {
            "set": name,
            "kind": kind,
            "masks": count,
            "voc": VOC_OF.get(kind),
            "coco": COCO_OF.get(kind),
            "shows_voc": SHOWS_VOC[name],
        }
        for (name, kind), count in masks.items()
    ]
    (root / "objects/manifest.json").write_text(json.dumps(manifest))
    return root
