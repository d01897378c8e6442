"""Photos with masks of many kinds of objects beside VOC's classes, out of eight public sets.

They lie as ``objects/SET/images/ID.jpg`` and ``objects/SET/masks/KIND/ID.png``; the relation of
each kind to the classes of VOC and COCO is in ``objects/manifest.json``. Pictures are called
``SET/ID`` and classes ``SET/KIND``, since two sets may have kinds of the same name. A model is
trained on the kinds that do not overlap with its test classes: ``overlap_with_voc``,
``named_by_coco``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from fcp.checks import check
from fcp.data.counts import count_areas
from fcp.data.dataset import ClassicRule, Split
from fcp.data.folder import files_in
from fcp.data.folds import refuse_fold
from fcp.data.images import read_image, read_mask, read_size
from fcp.errors import FcpError
from fcp.system.documents import read_json

FOLDER = "objects"
MANIFEST = "manifest.json"
ANY = "any"  # value in the manifest: it is unknown which classes the photos show
LABELLED = "labelled"  # value in the manifest: everything that the photos show has a mask
STUFF = frozenset({"building", "grass", "mountain", "road", "sky", "tree", "water"})
HOLDOUT_PART = 4  # one of this many kinds is held out


@dataclass(frozen=True)
class Kind:
    """One entry of the manifest.

    Attributes:
        set: Name of the public set that holds its photos.
        name: Name of the kind, unique in its set.
        masks: Number of its masks.
        voc: Class of VOC that it is or belongs to, ``ANY``, or None for none.
        coco: Class of COCO that it is or belongs to, where VOC has no such class; or None.
        shows_voc: Classes of VOC, or ``ANY``, that the set's photos show without a mask.
        labelled: Whether everything that the set's photos show has a mask.
    """

    set: str
    name: str
    masks: int
    voc: str | None
    coco: str | None
    shows_voc: tuple[str, ...]
    labelled: bool

    def __post_init__(self) -> None:
        """Refuse wrong types and names that cannot be a folder's."""
        check(self)
        for name in (self.set, self.name):
            if not name or Path(name).name != name:
                raise FcpError(f"set, kind: expected the name of a folder, got {name!r}")

    @property
    def alone(self) -> bool:
        """Whether the photos of its set show one kind each, which has the mask."""
        return not self.labelled and not self.shows_voc


@dataclass(frozen=True)
class Objects:
    """The sets of ``objects/`` as one data set.

    The split "train" has the photos without held-out kinds, which are used for training even while
    a model's settings are chosen; "val" has the photos of the held-out kinds (``held_out``).

    Attributes:
        root: Data root, which holds ``objects/``.
    """

    root: Path
    title = "objects (kinds beside VOC's)"
    pool = "every photo that shows no held-out kind"
    min_pixels = 1
    folds = (None,)
    classic_rule: ClassVar[ClassicRule] = "class"

    def __post_init__(self) -> None:
        """Refuse a root that holds no objects.

        Raises:
            FcpError: the manifest is missing or damaged.
        """
        self.kinds  # noqa: B018  (reads the manifest)

    @property
    def kinds(self) -> Mapping[int, Kind]:
        """Class id 1, 2, … → its entry, in the order of the manifest."""
        return read_manifest(self.root / FOLDER / MANIFEST)

    @property
    def classes(self) -> Mapping[int, str]:
        """Class id → ``SET/KIND``."""
        return {class_id: f"{kind.set}/{kind.name}" for class_id, kind in self.kinds.items()}

    def novel(self, fold: int | None) -> tuple[int, ...]:
        """Return the held-out kinds.

        Raises:
            FcpError: a fold is asked for.
        """
        refuse_fold(fold, self.title)
        return tuple(sorted(held_out(self.kinds)))

    def base(self, fold: int | None) -> tuple[int, ...]:
        """Return all other kinds."""
        novel = set(self.novel(fold))
        return tuple(class_id for class_id in self.kinds if class_id not in novel)

    def holdout(self, fold: int | None) -> tuple[int, ...]:
        """Return the held-out kinds."""
        return self.novel(fold)

    def ids(self, split: Split) -> tuple[str, ...]:
        """Return the photos that show no held-out kind, or those that do; set by set."""
        novel = set(self.novel(None))
        return tuple(
            picture
            for picture, shown in self.shown.items()
            if novel.isdisjoint(shown) == (split == "train")
        )

    def areas(self, split: Split) -> Mapping[str, Mapping[int, int]]:
        """Count the pixels of each mask of a split, once per process.

        Raises:
            FcpError: a mask that cannot be read.
        """
        return _areas(self, split)

    def pixels(self, picture: str) -> Mapping[int, int]:
        """Count the pixels of each kind that a picture has a mask of.

        Raises:
            FcpError: missing, damaged, or of another size than its photo.
        """
        counts = {c: int(self.class_mask(picture, c).sum()) for c in self._shown(picture)}
        return {class_id: count for class_id, count in counts.items() if count}

    def files(self, picture: str) -> tuple[Path, ...]:
        """Return a picture's photo, then its masks."""
        masks = (self.mask_path(picture, class_id) for class_id in self._shown(picture))
        return self.image_path(picture), *masks

    def image_path(self, picture: str) -> Path:
        """Return where a picture's photo lies."""
        name, _, photo = picture.partition("/")
        return self.root / FOLDER / name / "images" / f"{photo}.jpg"

    def mask_path(self, picture: str, class_id: int) -> Path:
        """Return where the mask of a kind lies in its set, whether there is one or not."""
        kind, photo = self.kinds[class_id], picture.partition("/")[2]
        return self.root / FOLDER / kind.set / "masks" / kind.name / f"{photo}.png"

    def image(self, picture: str) -> np.ndarray:
        """Read a photo: (H, W, 3) uint8 RGB.

        Raises:
            FcpError: missing or damaged.
        """
        return read_image(self.image_path(picture))

    def class_mask(self, picture: str, class_id: int) -> np.ndarray:
        """Read the mask of one kind: (H, W) bool; empty for a kind that the picture has none of.

        Raises:
            FcpError: missing, damaged, or of another size than its photo.
        """
        photo = self.image_path(picture)
        size = read_size(photo)
        if class_id not in self._shown(picture):
            return np.zeros(size, bool)
        return read_mask(self.mask_path(picture, class_id), size, str(photo))

    def ignored(self, picture: str) -> np.ndarray:
        """Return no pixel, (H, W) bool: what has no mask counts as background."""
        return np.zeros(read_size(self.image_path(picture)), bool)

    @property
    def shown(self) -> Mapping[str, tuple[int, ...]]:
        """Picture id → the kinds that it has a mask of, ascending; set by set."""
        return _shown(self)

    def _shown(self, picture: str) -> tuple[int, ...]:
        if picture not in self.shown:
            raise FcpError(f"{self.root / FOLDER}: no picture {picture!r} in it")
        return self.shown[picture]


def overlap_with_voc(kinds: Mapping[int, Kind], novel: Collection[str]) -> frozenset[int]:
    """Return the kinds that a model must not learn where classes of VOC stay novel.

    These are the kinds that are, or belong to, such a class, and all kinds of a set whose photos
    show such a class without a mask. A photo that shows any of them is left out too
    (``lists.make_lists``).

    Args:
        kinds: Class id → entry of the manifest.
        novel: Names of VOC's classes, as VOC spells them.
    """
    if not novel:
        return frozenset()
    hidden = {*novel, ANY}
    sets = {kind.set for kind in kinds.values() if hidden.intersection(kind.shows_voc)}
    return frozenset(c for c, kind in kinds.items() if kind.voc in hidden or kind.set in sets)


def named_by_coco(kinds: Mapping[int, Kind]) -> frozenset[int]:
    """Return the kinds that a model must not learn where COCO's classes beyond VOC stay novel.

    A photo that shows any of them is left out too (``lists.make_lists``).
    """
    return frozenset(class_id for class_id, kind in kinds.items() if kind.coco is not None)


def held_out(kinds: Mapping[int, Kind]) -> frozenset[int]:
    """Return the kinds that steps and settings may be chosen by: a fourth, by their names' hash.

    A kind is held out only if it is in none of VOC's classes, and if its set's photos show one kind
    each, so that no other kind loses photos.
    """
    return frozenset(
        class_id
        for class_id, kind in kinds.items()
        if kind.alone and kind.voc is None and _digest(kind.name) % HOLDOUT_PART == 0
    )


def _digest(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest())


@lru_cache(maxsize=8)
def read_manifest(file: Path) -> Mapping[int, Kind]:
    """Read the kinds: class id 1, 2, … → entry, in the order of the file.

    Raises:
        FcpError: missing, no JSON, or an entry that is damaged or comes twice.
    """
    try:
        entries = read_json(file)
    except FcpError as error:
        raise FcpError(f"{error}; see docs/data.md, objects") from error
    if not isinstance(entries, list) or not entries:
        raise FcpError(f"{file}: expected a list with an entry for each kind")
    kinds = [_read_kind(entry, f"{file}: entry {n}") for n, entry in enumerate(entries, start=1)]
    names = [(kind.set, kind.name) for kind in kinds]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise FcpError(f"{file}: the kind {'/'.join(twice[0])} comes twice")
    return dict(enumerate(kinds, start=1))


def _read_kind(entry: Any, where: str) -> Kind:  # noqa: ANN401  (any JSON value)
    words = {ANY: (ANY,), LABELLED: ()}
    try:
        shows = entry["shows_voc"]
        return Kind(
            set=entry["set"],
            name=entry["kind"],
            masks=entry["masks"],
            voc=entry["voc"],
            coco=entry["coco"],
            shows_voc=words[shows] if isinstance(shows, str) else tuple(shows),
            labelled=shows == LABELLED,
        )
    except (KeyError, TypeError) as error:
        raise FcpError(
            f"{where}: expected set, kind, masks, voc, coco, and shows_voc as a list of VOC's "
            f"classes, {ANY!r} or {LABELLED!r}, got {entry!r}"
        ) from error
    except FcpError as error:
        raise FcpError(f"{where}: {error}") from error


@lru_cache(maxsize=8)
def _shown(data: Objects) -> Mapping[str, tuple[int, ...]]:
    """List the pictures that have a mask, also those whose photo is missing."""
    shown: dict[str, list[int]] = {}
    for class_id, kind in data.kinds.items():
        folder = data.root / FOLDER / kind.set / "masks" / kind.name
        for mask in files_in(folder) if folder.is_dir() else ():
            if mask.suffix == ".png":
                shown.setdefault(f"{kind.set}/{mask.stem}", []).append(class_id)
    return {picture: tuple(classes) for picture, classes in shown.items()}


@lru_cache(maxsize=8)
def _areas(data: Objects, split: Split) -> Mapping[str, Mapping[int, int]]:
    return count_areas(data, split)
