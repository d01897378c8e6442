"""Search for the pictures that annotation files name.

A name in a file is never trusted: only pictures inside the annotation file's own folder or the
folder above it are read. Links in these folders are the user's own and are followed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import takewhile
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from urllib.parse import unquote

from fcp.data.folder import find_folder, pictures_in, pictures_inside
from fcp.data.mask_names import IMAGE_FOLDERS
from fcp.data.pairing import name_key
from fcp.errors import FcpError
from fcp.formats.reading import Reading
from fcp.system.files import PICTURE_SUFFIXES, plain
from fcp.system.runs import PAGES, files_of_run

# Folders whose names do not say which pictures are in them.
_NAMELESS = frozenset(
    {*IMAGE_FOLDERS, *"data dataset media photo photos pic pics picture pictures".split()}
    | {*"default upload uploads".split()}
)
# The path in the query of a URL, as of Label Studio's local files.
_QUERY = re.compile(r"[?&](?:d|path|file|image|filename)=([^&#]+)")


class Finder:
    """Search for the pictures that one annotation file names.

    If the stated path does not exist, as for paths of other machines, the only picture of that name
    nearby is taken: beside the file, in a given folder, or in ``images/``, subfolders included, but
    no result of ``fcp segment``.
    Names are compared without case, outer blanks, %-escapes and differences of composed letters.
    A picture in a subfolder is not taken where another folder is stated by a path from here
    (``b/1.jpg`` is not ``a/1.jpg``), or where the stated folder is here too; elsewhere it is noted.

    Args:
        file: Annotation file.
        folders: Folders to search, in this order.
        reading: Collector of notes; None for none.
    """

    def __init__(
        self, file: Path, folders: Iterable[Path] = (), reading: Reading | None = None
    ) -> None:
        self.file = file
        self._reading = reading
        self._told: set[str] = set()
        beside = plain(file).parent
        self._trusted = beside.parent
        self._folders = list(dict.fromkeys([*folders])) or [file.parent]

    def find(self, name: object) -> Path:
        r"""Look for a picture.

        Args:
            name: Name as it stands in the file: a path (``\`` separates folders too) or a URL.

        Raises:
            FcpError: no name, a picture outside the trusted folders, no picture, one in another
                folder than stated alone, or several of the name.
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
            stated = [name_key(part) for part in stated_path(name).parts]
            same = [path for path in found if name_key(path.parent.name) in stated[:-1]]
            found = same if len(same) == 1 else found
        if len(found) == 1:
            self._compare_folders(name, found[0])
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

    def _compare_folders(self, name: str, picture: Path) -> None:
        """Refuse a picture of another folder than the stated one, or note the two folders."""
        path = stated_path(name)
        roots = [plain(root) for root in self._roots]
        below = [plain(picture).relative_to(one) for one in roots if one in plain(picture).parents]
        own = _telling(min(below, key=lambda inner: len(inner.parts)))
        stated = _telling(path)
        same = common_end(own, stated)
        if same in (len(own), len(stated)):
            return
        if same == 0 and (stated[-1] in self._folders_here or _is_relative(name)):
            raise FcpError(
                f"{self.file}: its picture {name!r} is not there, and {picture} lies in another "
                "folder; put it there, or put its name right"
            )
        text = (
            f"pictures of {'/'.join(stated)}/ are taken from {'/'.join(own)}/, where alone their "
            "names occur; are these the same?"
        )
        if self._reading is not None and text not in self._told:
            self._told.add(text)
            self._reading.note(self.file, text)

    def _by_stem(self, base: str) -> list[Path]:
        """Return the pictures whose name without suffix is the stated one."""
        if PureWindowsPath(base).suffix in PICTURE_SUFFIXES:
            return []
        return [path for path in self._all if name_key(path.stem) == base]

    @cached_property
    def _folders_here(self) -> set[str]:
        return {name_key(path.parent.name) for path in self._all}

    @property
    def _all(self) -> Iterator[Path]:
        return (path for paths in self._near.values() for path in paths)

    @cached_property
    def _roots(self) -> list[Path]:
        """Return the folders near the file in which pictures are looked for."""
        beside = self.file.parent
        above = find_folder(plain(beside).parent, IMAGE_FOLDERS)
        roots = [beside, *self._folders, *([above] if above is not None else [])]
        return [
            root for root in roots if root.is_dir() and plain(root).is_relative_to(self._trusted)
        ]

    @cached_property
    def _results(self) -> set[Path]:
        """Return masks and overlays of runs near the file, which have the names of their photos."""
        folders = {plain(one) for one in (self._trusted, *self._roots)}
        return {
            path
            for folder in folders
            for path in files_of_run(folder)
            if not path.is_relative_to(folder / PAGES)
        }

    @cached_property
    def _near(self) -> dict[str, list[Path]]:
        """Index the pictures near the file by the form in which names are compared."""
        found: dict[str, dict[Path, Path]] = {}
        for root in self._roots:
            # The folder above holds other projects too: only files directly in it count.
            above_all = plain(root) == self._trusted
            inside = pictures_in(root) if above_all else [p for _, p in pictures_inside(root)]
            for path in inside:
                if plain(path) in self._results:
                    continue
                found.setdefault(name_key(path.name), {}).setdefault(path.resolve(), path)
        return {name: list(paths.values()) for name, paths in found.items()}


def find_picture(
    file: Path, name: object, folders: Iterable[Path], reading: Reading | None = None
) -> Path:
    """Look for the picture of an annotation file that is of one picture alone; see ``Finder``.

    That the file names another picture although one is called like the file is noted.
    """
    picture = Finder(file, folders, reading).find(name)
    if reading is not None and name_key(picture.stem) != name_key(file.stem):
        places = {plain(file).parent: None, plain(picture).parent: None}
        ends = sorted(PICTURE_SUFFIXES | {end.upper() for end in PICTURE_SUFFIXES}, reverse=True)
        tries = [place / f"{file.stem}{end}" for place in places for end in ends]
        namesake = next(filter(_is_file, tries), None)
        if namesake is not None:
            text = f"is read as of {picture.name}, which it names, not of {namesake.name}"
            reading.note(file, text)
    return picture


def stated_path(name: str) -> PurePosixPath:
    r"""Return the path in a path (``\`` separates folders too) or a URL."""
    query = _QUERY.search(name)
    path = query[1] if query else re.sub(r"^\w+://[^/]*", "", name.split("?")[0])
    return PurePosixPath(PureWindowsPath(unquote(path).strip()).as_posix())


def _is_relative(name: str) -> bool:
    """Return whether a name is a path from the annotations' own folder, not of another machine."""
    return "://" not in name and not _QUERY.search(name) and not PureWindowsPath(name).anchor


def _telling(path: PurePath) -> list[str]:
    """Return the folders of a path, as compared, that may say which pictures are in them."""
    folders = [name_key(part) for part in path.parts[:-1]]
    return [one for one in folders if one not in _NAMELESS | {"/", "//", ".."} and one[-1:] != ":"]


def common_end(one: Sequence[str], other: Sequence[str]) -> int:
    """Return how many last elements are equal."""
    pairs = zip(reversed(one), reversed(other), strict=False)
    return len([*takewhile(lambda pair: pair[0] == pair[1], pairs)])


def _base_names(name: str) -> list[str]:
    """Return the possible file names of a path or URL, the most likely first."""
    query = _QUERY.search(name)
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
