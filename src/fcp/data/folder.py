"""A person's own folders: examples with their masks, pictures to segment, names for the results.

Two ways to lay out masks: ``cat1.jpg`` beside ``cat1_mask.png``; ``images/cat1.jpg`` and
``masks/cat1.png``. What other tools write is read by ``fcp.formats``.
"""

from __future__ import annotations

import re
from pathlib import Path

from fcp.data.images import PICTURE_SUFFIXES
from fcp.errors import FcpError

MASK_SUFFIX = "_mask"


def read_support_folder(folder: Path) -> list[tuple[Path, Path]]:
    """Find the examples in a folder; pictures without a mask are left out.

    Files are only paired here; ``fcp.data.prompts.read_support`` reads and checks each pair.

    Args:
        folder: with ``cat1.jpg`` beside ``cat1_mask.png``, or ``images/cat1.jpg`` and
            ``masks/cat1.png``.

    Returns:
        At least one (picture, mask), in natural order of names.

    Raises:
        FcpError: missing, no pairs, a mask without its picture, or two pictures for one mask.
    """
    if _has_two_folders(folder):
        masks = {path.stem: path for path in files_in(folder / "masks") if _is_mask_file(path)}
        return _pair(pictures_in(folder / "images"), masks, folder)
    masks = {
        path.stem.removesuffix(MASK_SUFFIX): path
        for path in files_in(folder)
        if _is_mask_file(path) and path.stem.endswith(MASK_SUFFIX)
    }
    pictures = [path for path in pictures_in(folder) if not path.stem.endswith(MASK_SUFFIX)]
    return _pair(pictures, masks, folder)


def pair_whole_folder(folder: Path) -> list[tuple[Path, Path]]:
    """Pair every picture of ``images`` with its mask in ``masks``; neither may be alone.

    Returns:
        At least one (picture, mask), in natural order of names.

    Raises:
        FcpError: one of the two folders is missing, a picture without mask or a mask without
            picture, or nothing at all.
    """
    for name in ("images", "masks"):
        if not (folder / name).is_dir():
            raise FcpError(f"{folder}: no folder {name}/ in it; expected images/ and masks/")
    pictures = pictures_in(folder / "images")
    masks = {path.stem: path for path in files_in(folder / "masks") if _is_mask_file(path)}
    lonely = [path.name for path in pictures if path.stem not in masks]
    if lonely:
        more = " …" if len(lonely) > 3 else ""
        raise FcpError(f"{folder}: no mask (PNG) for the picture {', '.join(lonely[:3])}{more}")
    return _pair(pictures, masks, folder)


def _pair(pictures: list[Path], masks: dict[str, Path], folder: Path) -> list[tuple[Path, Path]]:
    by_stem: dict[str, Path] = {}
    for picture in pictures:
        first = by_stem.setdefault(picture.stem, picture)
        if picture.stem in masks and first != picture:
            raise FcpError(f"{masks[picture.stem]}: is it the mask of {first} or of {picture}?")
    lonely = [path.name for stem, path in masks.items() if stem not in by_stem]
    if lonely:
        more = " …" if len(lonely) > 3 else ""
        raise FcpError(f"{folder}: no picture for the mask {', '.join(lonely[:3])}{more}")
    if not masks:
        raise FcpError(
            f"{folder}: no example found; expected NAME.jpg with NAME{MASK_SUFFIX}.png, or "
            "images/NAME.jpg with masks/NAME.png"
        )
    return [(by_stem[stem], mask) for stem, mask in masks.items()]


def _has_two_folders(folder: Path) -> bool:
    return (folder / "images").is_dir() and (folder / "masks").is_dir()


def pictures_in(folder: Path) -> list[Path]:
    """List the visible pictures of a folder in natural order; see ``files_in``."""
    return [path for path in files_in(folder) if path.suffix.lower() in PICTURE_SUFFIXES]


def _is_mask_file(path: Path) -> bool:
    # Only PNG: a JPEG's noise around an edge is nonzero and would count as foreground.
    return path.suffix.lower() == ".png"


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


def natural(name: str) -> list[tuple[int, str]]:
    """Return a key to sort by: numbers in a name compare as numbers, (0, text) and (number, "")."""
    return [
        (int(part), "") if part.isdecimal() else (0, part.casefold())
        for part in re.split(r"(\d+)", name)
    ]
