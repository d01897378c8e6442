"""A user's folders: examples with their masks, and pictures.

Two ways to lay out masks: ``cat1.jpg`` beside ``cat1_mask.png``; ``images/cat1.jpg`` and
``masks/cat1.png``. What other tools write is read by ``fcp.formats``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

from fcp.data.mask_names import (
    IMAGE_FOLDERS,
    MASK_FOLDERS,
    SPLITS,
    SUPERSEDED,
    folder_without_mark,
    is_mask_folder_name,
    is_mask_name,
    is_other_file,
    mark_of,
)
from fcp.data.pairing import Pairing, Placed, pair_pictures
from fcp.errors import FcpError
from fcp.system.files import PICTURE_SUFFIXES, natural

MASK_SUFFIX = "_mask"
# Folders that systems, archives and network drives create.
STRAY_FOLDERS = frozenset({"__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information"})
MOST_FOLDERS = 6  # that are compared with each other to find those of masks
_JPEG = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".jpg_large"})


@dataclass(frozen=True)
class Layout:
    """Pictures and masks of a folder, before they are paired.

    Attributes:
        pictures: Pictures with the folders in which they lie.
        masks: Masks with the folders in which they lie.
        mask_folders: Folders of the masks, in which a list of classes may lie too.
        assumed: Sentence on what was assumed; empty where the names leave no doubt.
    """

    pictures: list[Placed]
    masks: list[Placed]
    mask_folders: tuple[Path, ...]
    assumed: str = ""


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
    layout = find_layout(folder)
    if layout is None:
        raise FcpError(
            f"{folder}: no example found; expected NAME.jpg with NAME{MASK_SUFFIX}.png, or "
            "images/NAME.jpg with masks/NAME.png"
        )
    return pair_pictures(layout.pictures, layout.masks)


def find_layout(folder: Path) -> Layout | None:
    """Find the pictures and the masks of a folder by the names of files and folders.

    Returns:
        Pictures and masks, of which there is at least one; None if no file is known to be a mask.

    Raises:
        FcpError: the folder cannot be read, or several files or folders may be the masks.
    """
    files = pictures_in(folder)
    return (
        _folders_in_use(folder)
        or _folders_alike(folder)
        or _beside(folder, files)
        or (None if files else _other_folders(folder))
    )


def _folders_in_use(folder: Path) -> Layout | None:
    """Return ``images/`` and ``masks/``, or what others call them."""
    images = find_folder(folder, IMAGE_FOLDERS)
    if images is None:
        return None
    there = {
        path.name.casefold(): path
        for path in _folders_of(folder)
        if path.name.casefold() in MASK_FOLDERS and _holds_pictures(path)
    }
    assumed = ""
    for name, others in SUPERSEDED.items():
        if others & there.keys() and there.pop(name, None) is not None:
            assumed = f"{name}/ is taken for the field of view, and left out"
    if len(there) > 1:
        names = " or ".join(f"{path.name}/" for path in there.values())
        raise FcpError(
            f"{folder}: are {names} the masks of {images.name}/? Move the other one away"
        )
    return next((_layout([(images, masks)], assumed) for masks in there.values()), None)


def _folders_alike(folder: Path) -> Layout | None:
    """Return ``NAME/`` and ``NAME_masks/``; ``train/`` and ``trainannot/``, ``val/`` and so on."""
    inside = {path.name.casefold(): path for path in _folders_of(folder)}
    bare = {name: folder_without_mark(name) for name in inside}
    pairs = [
        (inside[images], inside[masks])
        for masks, images in bare.items()
        if images in inside and _holds_pictures(inside[images]) and _holds_pictures(inside[masks])
    ]
    if len(pairs) > 1 and not all(images.name.casefold() in SPLITS for images, _ in pairs):
        names = ", ".join(f"{images.name}/ with {masks.name}/" for images, masks in pairs[:2])
        raise FcpError(
            f"{folder}: several folders of masks ({names}); put each pair into a folder of its "
            "own, which gives the class its name"
        )
    return _layout(pairs) if pairs else None


def _layout(pairs: Sequence[tuple[Path, Path]], assumed: str = "") -> Layout | None:
    """Return the files of pairs of folders of pictures and of masks."""
    several = len(pairs) > 1
    pictures, masks = [], []
    for of_pictures, of_masks in pairs:
        above = Path(of_pictures.name) if several else Path()
        pictures += [(above / inner, path) for inner, path in pictures_inside(of_pictures)]
        masks += [
            (above / inner, path)
            for inner, path in pictures_inside(of_masks)
            if not is_other_file(path)
        ]
    return Layout(pictures, masks, tuple(one for _, one in pairs), assumed) if masks else None


def _beside(folder: Path, files: Sequence[Path]) -> Layout | None:
    """Return masks beside their pictures: ``NAME_mask.png``, or ``NAME_seg.png`` and the like."""
    masks, assumed = [path for path in files if is_mask_name(path)], ""
    if not masks:
        marked = _marked(files)
        if len(marked) > 1:
            names = " or ".join(some[0].name for some in marked.values())
            raise FcpError(f"{folder}: is {names} a mask? Call masks NAME{MASK_SUFFIX}.png")
        for mark, some in marked.items():
            masks, assumed = some, f"{some[0].name} and others with {mark!r} are taken for masks"
    pictures = [path for path in files if path not in set(masks)]
    place = Path()
    found = Layout([(place, one) for one in pictures], [(place, one) for one in masks], (), assumed)
    return found if masks else None


def _marked(files: Sequence[Path]) -> dict[str, list[Path]]:
    """Return the files by the mark of their name, where the picture of that name is there too."""
    found: dict[str, list[Path]] = {}
    for path in files:
        mark = mark_of(path)
        if mark is not None and path.suffix.lower() not in _JPEG:
            found.setdefault(mark, []).append(path)
    others = [(Path(), path) for path in files if mark_of(path) is None]
    paired = {
        mark: [mask for _, mask in pair_pictures(others, [(Path(), one) for one in some]).pairs]
        for mark, some in found.items()
    }
    return {mark: masks for mark, masks in paired.items() if masks}


def _other_folders(folder: Path) -> Layout | None:
    """Return folders of pictures and of masks that are known by a word or by their files' names."""
    inside = {
        path: pictures_inside(path)
        for path in _folders_of(folder)
        if find_folder(path, IMAGE_FOLDERS) is None and _holds_pictures(path)
    }
    if not 2 <= len(inside) <= MOST_FOLDERS:
        return None
    found = [(a, b) for a, b in permutations(inside, 2) if _are_masks(inside[b], b, inside[a], a)]
    if len(found) > 1:
        names = ", ".join(f"{masks.name}/ of {images.name}/" for images, masks in found)
        raise FcpError(f"{folder}: which are the masks: {names}? Move the other ones away")
    for images, masks in found:
        return _layout(found, f"{masks.name}/ is taken for the masks of {images.name}/")
    return None


def _are_masks(
    inside: Sequence[Placed], masks: Path, pictures: Sequence[Placed], images: Path
) -> bool:
    """Return whether each file in a folder is the mask of a picture in the other one."""
    if any(is_mask_name(path) for _, path in pictures):
        return False
    by_folder = is_mask_folder_name(masks.name) and not is_mask_folder_name(images.name)
    by_files = all(is_mask_name(path) or mark_of(path) is not None for _, path in inside)
    return (by_folder or by_files) and not pair_pictures(pictures, inside).faults


def _folders_of(folder: Path) -> list[Path]:
    return sorted(one for one in folder.iterdir() if one.is_dir() and not _is_hidden(one, folder))


def _holds_pictures(folder: Path) -> bool:
    return any(
        path.suffix.lower() in PICTURE_SUFFIXES and not _is_hidden(path, folder)
        for path in folder.rglob("*")
    )


def find_folder(folder: Path, names: Sequence[str]) -> Path | None:
    """Return the subfolder with the first of these names (lower case) that exists."""
    if not folder.is_dir():
        return None
    found = {path.name.casefold(): path for path in sorted(folder.iterdir()) if path.is_dir()}
    return next((found[name] for name in names if name in found), None)


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
