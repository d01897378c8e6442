"""The pictures that annotation files name, and the names under which files name pictures.

A name in a file is never trusted: only pictures in the annotation file's own folder or in the
folder above (and inside those) are followed. Links that lie there are the user's own and count as
what they seem to be.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path, PureWindowsPath

from fcp.data.folder import pictures_in
from fcp.errors import FcpError


def find_picture(file: Path, name: object, folders: Iterable[Path]) -> Path:
    r"""Look for the picture that an annotation file names.

    Args:
        file: the annotation file.
        name: as it stands in the file; ``\`` separates folders too.
        folders: where to look, in this order.

    Raises:
        FcpError: no name, a picture elsewhere, or none.
    """
    if not isinstance(name, str) or not name:
        raise FcpError(f"{file}: expected a picture's file name, got {name!r}")
    trusted = plain(file).parent.parent
    refused = False
    for folder in folders:
        for spelling in dict.fromkeys((name, PureWindowsPath(name).as_posix())):
            path = folder / spelling
            if not plain(path).is_relative_to(trusted):
                refused = True
            elif _is_file(path):
                return path
    if refused:
        raise FcpError(
            f"{file}: its picture {name!r} lies outside {trusted}, where it is not looked for; "
            "put the picture beside its annotation"
        )
    raise FcpError(f"{file}: its picture {name!r} is not there; put it beside {file.name}")


def pair_by_stem(annotations: Iterable[Path], folder: Path) -> list[tuple[Path, Path]]:
    """Find the picture of each annotation file: the one of the same name but for the suffix.

    Args:
        annotations: files, one a picture.
        folder: where the pictures lie.

    Returns:
        (picture, annotation), in the order of ``annotations``.

    Raises:
        FcpError: an annotation without picture, or with several.
    """
    pictures: dict[str, list[Path]] = {}
    for path in pictures_in(folder) if folder.is_dir() else []:
        pictures.setdefault(path.stem, []).append(path)
    pairs = []
    for annotation in annotations:
        found = pictures.get(annotation.stem, [])
        if not found:
            wanted = folder / f"{annotation.stem}.jpg"
            raise FcpError(f"{annotation}: its picture is not there; expected {wanted} or alike")
        if len(found) > 1:
            raise FcpError(f"{annotation}: is it of {found[0]} or of {found[1]}?")
        pairs.append((found[0], annotation))
    return pairs


def require_stated_size(source: Path, stated: tuple[object, object], size: tuple[int, int]) -> None:
    """Compare the size (H, W) that a file states for its picture with the picture's own.

    Raises:
        FcpError: they differ: the annotations are of another picture.
    """
    if stated != size:
        turned = "; it is shown turned (EXIF orientation)" if stated == size[::-1] else ""
        raise FcpError(
            f"{source}: made for a picture of {stated[1]}×{stated[0]} px, but its picture is "
            f"{size[1]}×{size[0]} px{turned}; put the right picture there, or annotate this one"
        )


def plain(path: Path) -> Path:
    """Make a path absolute without following links: ``a/../b`` becomes the ``b`` of this folder."""
    return Path(os.path.abspath(path))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that no disk allows
        return False
