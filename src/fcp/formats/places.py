"""Search for the pictures that annotation files name.

A name in a file is never trusted: only pictures inside the annotation file's own folder or the
folder above it are read. Links in these folders are the user's own and are followed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path, PureWindowsPath
from urllib.parse import unquote

from fcp.data.folder import find_folder, name_key, pictures_in, pictures_inside
from fcp.data.mask_names import IMAGE_FOLDERS
from fcp.errors import FcpError
from fcp.system.files import PICTURE_SUFFIXES
from fcp.system.files import plain as plain


class Finder:
    """Search for the pictures that one annotation file names.

    If the stated path does not exist, as for paths of other machines, the only picture of that name
    nearby is taken: beside the file, in a given folder, or in ``images/``, subfolders included.
    Names are compared without case, outer blanks, %-escapes and differences of composed letters.

    Args:
        file: Annotation file.
        folders: Folders to search, in this order.
    """

    def __init__(self, file: Path, folders: Iterable[Path] = ()) -> None:
        self.file = file
        beside = plain(file).parent
        self._trusted = beside.parent
        self._folders = list(dict.fromkeys([*folders])) or [file.parent]

    def find(self, name: object) -> Path:
        r"""Look for a picture.

        Args:
            name: Name as it stands in the file: a path (``\`` separates folders too) or a URL.

        Raises:
            FcpError: no name, a picture outside the trusted folders, no picture, or several of the
                name.
        """
        if not isinstance(name, str) or not name:
            raise FcpError(f"{self.file}: expected a picture's file name, got {name!r}")
        refused = False
        for folder in self._folders:
            for spelling in dict.fromkeys((name, PureWindowsPath(name).as_posix())):
                path = folder / spelling
                if not plain(path).is_relative_to(self._trusted):
                    refused = True
                elif _is_file(path):
                    return path
        return self._alike(name, refused=refused)

    def _alike(self, name: str, *, refused: bool) -> Path:
        """Find the one picture whose name is the last part of a path or URL."""
        found: list[Path] = []
        for base in _base_names(name):
            found = found or self._near.get(base, []) or self._by_stem(base)
        if len(found) > 1:
            stated = [name_key(part) for part in PureWindowsPath(name).as_posix().split("/")]
            same = [path for path in found if name_key(path.parent.name) in stated[:-1]]
            found = same if len(same) == 1 else found
        if len(found) == 1:
            return found[0]
        if found:
            raise FcpError(f"{self.file}: is its picture {name!r} {found[0]} or {found[1]}?")
        if refused:
            raise FcpError(
                f"{self.file}: its picture {name!r} lies outside {self._trusted}, where it is not "
                "looked for; put the picture beside its annotation"
            )
        raise FcpError(
            f"{self.file}: its picture {name!r} is not there; put it beside {self.file.name}"
        )

    def _by_stem(self, base: str) -> list[Path]:
        """Return the pictures whose name without suffix is the stated one."""
        if PureWindowsPath(base).suffix in PICTURE_SUFFIXES:
            return []
        near = (path for paths in self._near.values() for path in paths)
        return [path for path in near if name_key(path.stem) == base]

    @cached_property
    def _near(self) -> dict[str, list[Path]]:
        """Index the pictures near the file by the form in which names are compared."""
        beside = self.file.parent
        above = find_folder(plain(beside).parent, IMAGE_FOLDERS)
        roots = [beside, *self._folders, *([above] if above is not None else [])]
        found: dict[str, dict[Path, Path]] = {}
        for root in roots:
            if not root.is_dir() or not plain(root).is_relative_to(self._trusted):
                continue
            # The folder above holds other projects too: only files directly in it count.
            above_all = plain(root) == self._trusted
            inside = pictures_in(root) if above_all else [p for _, p in pictures_inside(root)]
            for path in inside:
                found.setdefault(name_key(path.name), {}).setdefault(path.resolve(), path)
        return {name: list(paths.values()) for name, paths in found.items()}


def find_picture(file: Path, name: object, folders: Iterable[Path]) -> Path:
    """Look for the one picture that an annotation file names; see ``Finder``."""
    return Finder(file, folders).find(name)


def _base_names(name: str) -> list[str]:
    """Return the possible file names of a path or URL, the most likely first."""
    query = re.search(r"[?&](?:d|path|file|image|filename)=([^&#]+)", name)
    without = re.split(r"[?#]", name)[0]
    spellings = [name, *([query[1]] if query else []), without]
    spellings += [unquote(one) for one in spellings]
    return list(
        dict.fromkeys(name_key(PureWindowsPath(one.strip()).name) for one in spellings if one)
    )


def pair_by_stem(
    annotations: Iterable[Path], folder: Path
) -> tuple[list[tuple[Path, Path]], list[str]]:
    """Find the picture of each annotation file: the one with the same name without suffix.

    Args:
        annotations: Annotation files, one a picture.
        folder: Folder of the pictures.

    Returns:
        Pairs (picture, annotation), in the order of ``annotations``; and a sentence for each
        annotation without picture, or with several.
    """
    exact: dict[str, list[Path]] = {}
    alike: dict[str, list[Path]] = {}
    for path in pictures_in(folder) if folder.is_dir() else []:
        exact.setdefault(path.stem, []).append(path)
        for name in (path.stem, path.name):
            alike.setdefault(name_key(name), []).append(path)
    pairs, faults = [], []
    for annotation in annotations:
        stem = annotation.stem
        found = exact.get(stem) or alike.get(name_key(stem), [])
        if not found:
            wanted = folder / f"{stem}.jpg"
            faults.append(f"{annotation}: its picture is not there; expected {wanted} or alike")
        elif len(found) > 1:
            faults.append(f"{annotation}: is it of {found[0]} or of {found[1]}?")
        else:
            pairs.append((found[0], annotation))
    return pairs, faults


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that the file system does not allow
        return False
