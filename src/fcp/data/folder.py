"""A user's folders: examples with their masks, and pictures.

Two ways to lay out masks: ``cat1.jpg`` beside ``cat1_mask.png``; ``images/cat1.jpg`` and
``masks/cat1.png``. What other tools write is read by ``fcp.formats``.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fcp.data.images import PICTURE_SUFFIXES
from fcp.errors import FcpError
from fcp.files import natural as natural

MASK_SUFFIX = "_mask"
# Folders that systems, archives and network drives create.
STRAY_FOLDERS = frozenset({"__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information"})


IMAGE_FOLDERS = ("images", "image", "imgs", "img", "jpegimages")
MASK_FOLDERS = ("masks", "mask")
# Names in use for these folders; a folder of such a name may also hold other files.
OTHER_MASK_FOLDERS = (
    *("labels", "label", "annotations", "annotation", "segmentation", "segmentations"),
    *("ground_truth", "groundtruth", "gt", "seg"),
)
_MASK_END = re.compile(r"([ ._-]cp)?[ ._-]masks?$", re.IGNORECASE)  # _cp_masks: Cellpose
# Also accepted in a folder of masks, where every file is a mask.
_OTHER_END = re.compile(
    r"[ ._-](masks?|seg|(simple )?segmentation|labels?|gt|groundtruth|annotation)$", re.IGNORECASE
)
_OME = re.compile(r"\.ome$", re.IGNORECASE)  # a.ome.tif, of microscopes


@dataclass(frozen=True)
class Pairing:
    """Pictures paired with their masks, and files that could not be paired.

    Attributes:
        pairs: Pairs (picture, mask), in natural order of the masks' names.
        without_mask: Pictures without a mask.
        faults: One sentence for each fault.
    """

    pairs: list[tuple[Path, Path]]
    without_mask: list[Path]
    faults: list[str]


def read_support_folder(folder: Path) -> list[tuple[Path, Path]]:
    """Find the examples in a folder; pictures without a mask are left out.

    Files are only paired here; ``fcp.data.prompts.read_support`` reads and checks each pair.

    Args:
        folder: Folder of examples, see ``pair_support_folder``.

    Returns:
        At least one (picture, mask), in natural order of names.

    Raises:
        FcpError: missing, no pairs, a mask without its picture, or two pictures for one mask.
    """
    paired = pair_support_folder(folder)
    if paired.faults:
        raise FcpError(paired.faults[0])
    return paired.pairs


def pair_support_folder(folder: Path) -> Pairing:
    """Pair pictures with masks.

    Args:
        folder: Folder with ``cat1.jpg`` beside ``cat1_mask.png``, or with ``images/cat1.jpg`` and
            ``masks/cat1.png`` (also ``cat1_mask.png``, ``cat1_seg.png`` or ``cat1.jpg.png``),
            subfolders included. Upper and lower case are equal, and so are composed and decomposed
            letters.

    Raises:
        FcpError: missing, or without any mask.
    """
    found = mask_folders(folder)
    if found is not None:
        images, masks = found
        paired = pair_pictures(pictures_inside(images), pictures_inside(masks))
    else:
        files = [(Path(), path) for path in pictures_in(folder)]
        masks_here = [one for one in files if is_mask_name(one[1])]
        paired = pair_pictures([one for one in files if not is_mask_name(one[1])], masks_here)
    if not paired.pairs and not paired.faults:
        raise FcpError(
            f"{folder}: no example found; expected NAME.jpg with NAME{MASK_SUFFIX}.png, or "
            "images/NAME.jpg with masks/NAME.png"
        )
    return paired


def mask_folders(folder: Path) -> tuple[Path, Path] | None:
    """Return the folders of pictures and of masks in a folder; upper and lower case are equal."""
    images, masks = find_folder(folder, IMAGE_FOLDERS), find_folder(folder, MASK_FOLDERS)
    if images is None:
        return _folder_beside_its_masks(folder)
    if masks is None:
        others = (find_folder(folder, [name]) for name in OTHER_MASK_FOLDERS)
        masks = next((one for one in others if one is not None and pictures_inside(one)), None)
    return None if masks is None else (images, masks)


def _folder_beside_its_masks(folder: Path) -> tuple[Path, Path] | None:
    """Return the two folders called ``NAME`` and ``NAME_masks``, if there is just one such pair."""
    if not folder.is_dir():
        return None
    found = {path.name.casefold(): path for path in sorted(folder.iterdir()) if path.is_dir()}
    named = {_MASK_END.sub("", name): masks for name, masks in found.items()}
    pairs = [
        (found[name], masks)
        for name, masks in named.items()
        if name in found and found[name] != masks
    ]
    return pairs[0] if len(pairs) == 1 else None


def find_folder(folder: Path, names: Sequence[str]) -> Path | None:
    """Return the subfolder with the first of these names (lower case) that exists."""
    if not folder.is_dir():
        return None
    found = {path.name.casefold(): path for path in sorted(folder.iterdir()) if path.is_dir()}
    return next((found[name] for name in names if name in found), None)


def is_mask_name(path: Path) -> bool:
    """Return whether a file beside pictures is a mask: ``NAME_mask.png``, upper or lower case."""
    return bool(_MASK_END.search(_stem(path)))


def _stem(path: Path) -> str:
    """Return a file's name without its suffix, also without the double suffix of OME-TIFF."""
    return _OME.sub("", path.stem)


def pair_pictures(
    pictures: Sequence[tuple[Path, Path]], masks: Sequence[tuple[Path, Path]]
) -> Pairing:
    """Pair masks with pictures by name; both are given as (parent folder, file)."""
    named: dict[tuple[Path | None, str], list[Path]] = {}
    for inner, picture in pictures:
        for name in {name_key(one) for one in (picture.name, picture.stem, _stem(picture))}:
            named.setdefault((inner, name), []).append(picture)
            named.setdefault((None, name), []).append(picture)
    pairs: dict[Path, Path] = {}
    faults = []
    for inner, mask in masks:
        found = _pictures_of(mask, inner, named)
        if len(found) != 1:
            faults.append(_unpaired(mask, found))
            continue
        first = pairs.setdefault(found[0], mask)
        if first != mask:
            faults.append(f"{found[0]}: is {first} its mask, or {mask}?")
    without = [picture for _, picture in pictures if picture not in pairs]
    return Pairing(list(pairs.items()), without, faults)


def _unpaired(mask: Path, found: Sequence[Path]) -> str:
    if found:
        return f"{mask}: is it the mask of {found[0]} or of {found[1]}?"
    return f"{mask.parent}: no picture for the mask {mask.name}"


def _pictures_of(
    mask: Path, inner: Path, named: dict[tuple[Path | None, str], list[Path]]
) -> list[Path]:
    """Find the pictures that a mask's name may mean: in the subfolder of its name, or anywhere."""
    stem = _stem(mask)
    names = (mask.stem, stem, _MASK_END.sub("", stem), _OTHER_END.sub("", stem))
    for place in (inner, None):
        for name in dict.fromkeys(names):
            found = named.get((place, name_key(name)), [])
            same = [path for path in found if name in (path.stem, path.name)]
            if found:
                return same if len(same) == 1 else found
    return []


def name_key(name: str) -> str:
    """Return the form in which names are compared: NFC, without case and outer blanks."""
    return unicodedata.normalize("NFC", name).casefold().strip()


def pictures_inside(folder: Path) -> list[tuple[Path, Path]]:
    """List the pictures in a folder and its subfolders, each with its relative folder."""
    deeper = sorted(
        (path for path in folder.rglob("*") if path.is_dir() and not _is_hidden(path, folder)),
        key=lambda path: natural(str(path)),
    )
    return [
        (inner.relative_to(folder), path)
        for inner in (folder, *deeper)
        for path in pictures_in(inner)
    ]


def _is_hidden(path: Path, root: Path) -> bool:
    parts = path.relative_to(root).parts
    return any(part.startswith(".") or part in STRAY_FOLDERS for part in parts)


def pair_whole_folder(folder: Path) -> list[tuple[Path, Path]]:
    """Pair every picture of ``images`` with its mask in ``masks``; none may remain unpaired.

    Returns:
        At least one (picture, mask), in natural order of names.

    Raises:
        FcpError: one of the two folders is missing, a picture without mask or a mask without
            picture, or no pair.
    """
    for names in (IMAGE_FOLDERS, MASK_FOLDERS):
        if find_folder(folder, names) is None:
            raise FcpError(f"{folder}: no folder {names[0]}/ in it; expected images/ and masks/")
    paired = pair_support_folder(folder)
    if paired.without_mask:
        lonely = [path.name for path in paired.without_mask]
        more = " …" if len(lonely) > 3 else ""
        raise FcpError(f"{folder}: no mask (PNG) for the picture {', '.join(lonely[:3])}{more}")
    if paired.faults:
        raise FcpError(paired.faults[0])
    return paired.pairs


def pictures_in(folder: Path) -> list[Path]:
    """List the visible pictures of a folder in natural order; see ``files_in``."""
    return [path for path in files_in(folder) if path.suffix.lower() in PICTURE_SUFFIXES]


def files_in(folder: Path) -> list[Path]:
    """List the visible files of a folder in natural order (img2 before img10).

    Raises:
        FcpError: the folder cannot be read.
    """
    try:
        inside = [path for path in folder.iterdir() if path.is_file()]
    except OSError as error:
        raise FcpError(f"{folder}: cannot be read ({error.strerror})") from error
    visible = [path for path in inside if not path.name.startswith(".")]
    return sorted(visible, key=lambda path: (natural(path.name), path.name))
