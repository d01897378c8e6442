"""The photos to segment: paths → photos, names for their results, files left out and why."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from fcp.errors import FcpError
from fcp.labelling.photo_results import Source
from fcp.labelling.results import LeftOut
from fcp.labelling.unique_names import name_films, name_key, unique_names
from fcp.system.files import PICTURE_SUFFIXES, is_video, natural, plain
from fcp.system.runs import files_of_run

if TYPE_CHECKING:
    from fcp.data.pages import Pages

UNKNOWN, SUBFOLDER, DEAD_LINK = "unknown suffix", "in a subfolder", "dead link"
UNREADABLE, OF_A_RUN, EXAMPLE_MASK = "unreadable folder", "result of fcp", "mask of an example"
NO_FILE = "device or pipe"  # whose reading may never end
FURTHER_PAGE, NO_PICTURE = "further page or frame", "thumbnail or mask page"
VIDEO = "video in a folder, which has to be named by itself"
FAILURES = frozenset({DEAD_LINK, UNREADABLE})  # reasons for exit status 1

_ADDRESS = re.compile(r"\w+:/")  # a path has lost the second slash of https://
_LISTED = 3  # missing photos in one message
LONGEST = 200  # bytes of a name; disks allow 255, and temporary files have longer names
_LEFT_BY_SYSTEMS = frozenset({"__macosx", "@eadir", "thumbs.db", "desktop.ini"})
_SUFFIXES = (
    ".png",
    ".jpg",
    ".txt",
    ".json",
)  # of results: no folder may have a file's name


@dataclass
class Photos:
    """Photos that were found, and names for their results.

    Attributes:
        files: Files of the photos; each once, or once for each of its pages.
        pages: Page of each photo in its file, from 1; None if the file is one photo.
        names: Name of each photo's results, without suffix, "/" between folders.
        left_out: Reason → files that are not segmented.
        renamed: Photos whose results cannot have the photo's own name.
    """

    files: list[Path] = field(default_factory=list)
    pages: list[int | None] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    left_out: dict[str, LeftOut] = field(default_factory=dict)
    renamed: list[Path] = field(default_factory=list)

    @property
    def sources(self) -> list[Source]:
        """Keys of the photos' records."""
        return list(zip(map(str, self.files), self.pages, strict=True))

    def add(self, path: Path, page: int | None = None) -> None:
        """Add a photo."""
        self.files.append(path)
        self.pages.append(page)

    def leave_out(self, path: Path, reason: str, count: int = 1) -> None:
        """Count files or pages that are not used."""
        before = self.left_out.get(reason, LeftOut(0, str(path)))
        self.left_out[reason] = LeftOut(before.count + count, before.first)


def find_photos(
    paths: Sequence[Path],
    *,
    recursive: bool = True,
    own: Collection[Path] = (),
    masks: Collection[Path] = (),
    out: Path | None = None,
) -> Photos:
    """Find the photos in folders; ``name_results`` then names their results.

    What may not be looked at is no reason to stop: functions of ``os.path`` say that it is not
    there, where those of ``Path`` raise.

    Files are kept as given, even if they are missing or have an unknown suffix, so that reading
    them reports the error. Files that a run of fcp has written are no photos, wherever they lie.

    Args:
        paths: Folders and files with photos.
        recursive: Whether to search subfolders.
        own: Files that this run writes or has written.
        masks: Mask files of the examples.
        out: Output folder of this run, below which only files that are given by themselves are
            photos: other tools expect copies of the photos there.

    Raises:
        FcpError: no photo was found, or none of those that were given is there.
    """
    search = _Search(recursive, {plain(path) for path in own}, {plain(path) for path in masks}, out)
    for path in paths:
        search.look_into(path, top=True)
    found = search.photos
    if VIDEO in found.left_out and not found.files:
        films = found.left_out[VIDEO]
        raise FcpError(
            f"{', '.join(map(printable, paths))}: no picture in this folder, but"
            f" {films.count} video{'s' * (films.count > 1)}; name each video by itself:"
            f" --query {printable(films.first)}"
        )
    if found.files and not any(map(os.path.lexists, found.files)):
        if any("://" in str(path) or _ADDRESS.match(str(path)) for path in paths):
            raise FcpError("--query: addresses are not fetched; download the photos first")
        missing = ", ".join(map(printable, found.files[:_LISTED]))
        raise FcpError(f"{missing}: no such file or folder; check --query")
    if not found.files:
        reasons = describe(found.left_out)
        why = f" ({reasons})" if reasons else ""
        suffixes = ", ".join(sorted(PICTURE_SUFFIXES))
        raise FcpError(
            f"{', '.join(map(printable, paths))}: no picture in this folder{why}; known: {suffixes}"
        )
    return found


def split_pages(found: Photos, *, every_page: bool) -> None:
    """Make pages and frames photos of their own, or count those that are not used.

    Each frame of a video is always a photo of its own.

    Args:
        found: Photos to split; changed in place.
        every_page: Whether each page of a TIFF and each frame of an animation becomes a photo of
            its own, except thumbnails and masks.
    """
    files, found.files, found.pages = found.files, [], []
    for file in files:
        pages, is_film = _pages_of(file), is_video(file)
        used = pages.pictures if every_page or is_film else pages.pictures[:1]
        if len(used) < pages.count:
            reason = NO_PICTURE if every_page else FURTHER_PAGE
            found.leave_out(file, reason, pages.count - len(used))
        for page in used if len(used) > 1 or is_film else (None,):
            found.add(file, page)


def _pages_of(file: Path) -> Pages:
    # Imported here, because it loads numpy, which --help does not need.
    from fcp.data.decode import pages_of
    from fcp.data.pages import Pages

    try:
        return pages_of(file)
    except FcpError:  # segmenting it reports the error
        return Pages()


def name_results(
    found: Photos,
    paths: Sequence[Path],
    known: Mapping[Source, str] | None = None,
    *,
    frames: bool = False,
) -> None:
    """Name the results of all photos, and record photos whose name had to be changed.

    A result has the path of its photo relative to the folder that was given, or, for several
    folders, to the innermost folder that holds all of them. A page's name ends with its number. A
    frame is called CLIP/00000 and so on, after its video; so are photos that are frames, after
    their folder, whether that or they themselves were given. No two films share a folder.

    Args:
        found: Photos to name; changed in place.
        paths: Folders and files that were given.
        known: Photo → name of its existing results, which no other photo gets.
        frames: Whether the photos of a folder are the frames of a film.
    """
    known = known or {}
    root = Path(os.path.commonpath([_base_of(path, frames=frames) for path in paths]))
    names = {file: _relative(file, root) for file in found.files}
    films = Counter(name_key(name) for file, name in names.items() if is_video(file))
    if frames:  # a folder of frames is a film of its name
        photos = (name for file, name in names.items() if not is_video(file))
        films.update({name_key(name.rpartition("/")[0]) for name in photos})
    ends = [
        _end_of(file, page, is_alone=films[name_key(names[file])] < 2)
        for file, page in zip(found.files, found.pages, strict=True)
    ]
    own = [names[file] + end for file, end in zip(found.files, ends, strict=True)]
    safe = [_safe(name) for name in own]
    found.renamed = [photo for photo, a, b in zip(found.files, own, safe, strict=True) if a != b]
    fixed = [known.get(photo) for photo in found.sources]
    wanted = name_films(safe, found.files, known, frames=frames)
    found.names = unique_names(wanted, fixed, reserved=known.values())


def _base_of(path: Path, *, frames: bool) -> Path:
    """Return the folder that the results of a given path are named from."""
    folder = plain(path) if os.path.isdir(path) else plain(path).parent
    return folder.parent if frames and not is_video(path) else folder


def sort_frames(found: Photos) -> None:
    """Sort the photos of each folder by name, as those of a folder that is searched are.

    Args:
        found: Photos to sort, before their pages are split; changed in place.
    """
    folders = {folder: n for n, folder in enumerate(dict.fromkeys(p.parent for p in found.files))}
    found.files.sort(key=lambda path: (folders[path.parent], natural(path.name), path.name))


def _end_of(file: Path, page: int | None, *, is_alone: bool) -> str:
    """Return what a photo's name has beyond that of its file.

    Args:
        file: File of the photo.
        page: Page of the photo in its file, or None.
        is_alone: Whether no other video has the name of the file, so that it needs no suffix.
    """
    if page is None:
        return ""
    if not is_video(file):
        return f"-p{page:03}"
    return f"{'' if is_alone else file.suffix.replace('.', '_')}/{page - 1:05}"


def describe(left_out: dict[str, LeftOut]) -> str:
    """Return one line about the files that were not used and why; empty if all were used."""
    return ", ".join(
        f"{one.count} {reason} ({'first ' if one.count > 1 else ''}{printable(one.first)})"
        for reason, one in left_out.items()
    )


def printable(path: object) -> str:
    """Return a path as printable text; undecodable bytes and control characters are escaped."""
    text = str(path).encode(errors="backslashreplace").decode()
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)


class _Search:
    """A search in folders that takes each path once, and each folder once, whatever leads to it.

    Links to folders may lead in a circle. Links to files may not, and two links to one photo are
    two photos, as in a data set of git-annex or DVC.

    Args:
        recursive: Whether to search subfolders.
        own: Files that this run writes or has written.
        masks: Mask files of the examples.
        out: Output folder of this run, or None.

    Attributes:
        photos: Photos found so far.
    """

    def __init__(self, recursive: bool, own: set[Path], masks: set[Path], out: Path | None) -> None:
        self.photos = Photos()
        self._recursive = recursive
        self._current = own
        self._earlier: set[Path] = set()
        self._masks = masks
        self._out = out.resolve() if out is not None else None
        self._seen: set[Path] = set()
        self._above: set[Path] = set()

    def look_into(self, path: Path, *, top: bool = False) -> None:
        """Add a file or search a folder; ``top`` if the user gave the path."""
        if top:
            self._look_above(path)
        if not top and os.path.islink(path) and not os.path.exists(path):
            self.photos.leave_out(path, DEAD_LINK)
        elif os.path.isdir(path):
            if not (top or self._recursive):
                self.photos.leave_out(path, SUBFOLDER)
            elif self._is_new(path.resolve()):
                self._look_through(path, top=top)
        elif plain(path) in self._current:
            return
        elif (reason := self._why_no_photo(path, top=top)) is not None:
            self.photos.leave_out(path, reason)
        elif self._is_new(plain(path)):
            self.photos.add(path)

    def _look_above(self, path: Path) -> None:
        """Take note of the runs in whose output folders a path lies."""
        for folder in plain(path).parents:
            if folder not in self._above:
                self._above.add(folder)
                self._earlier |= files_of_run(folder)

    def _why_no_photo(self, path: Path, *, top: bool) -> str | None:
        if os.path.exists(path) and not os.path.isfile(path):
            return NO_FILE
        if plain(path) in self._earlier:
            return OF_A_RUN
        if plain(path) in self._masks:
            return EXAMPLE_MASK
        if top or path.suffix.lower() in PICTURE_SUFFIXES:
            return None
        return VIDEO if is_video(path) else UNKNOWN

    def _look_through(self, folder: Path, *, top: bool) -> None:
        try:
            inside = [path for path in folder.iterdir() if not _is_left_by_system(path.name)]
            for path in inside[:1]:
                path.lstat()  # fails in a folder that may be listed, but not entered
        except OSError as error:
            if top:
                raise FcpError(f"{folder}: cannot be read ({error.strerror})") from error
            self.photos.leave_out(folder, UNREADABLE)
            return
        self._earlier |= files_of_run(folder)
        inside.sort(key=lambda path: (os.path.isdir(path), natural(path.name), path.name))
        is_below_out = self._out is not None and folder.resolve().is_relative_to(self._out)
        for path in inside:
            # Links to folders are not followed there: what they lead to may be photos elsewhere.
            if is_below_out and (path.is_symlink() or not os.path.isdir(path)):
                self._leave_below_out(path)
            else:
                self.look_into(path)

    def _leave_below_out(self, path: Path) -> None:
        if plain(path) not in self._current:
            self.photos.leave_out(path, OF_A_RUN)

    def _is_new(self, path: Path) -> bool:
        is_new = path not in self._seen
        self._seen.add(path)
        return is_new


def _is_left_by_system(name: str) -> bool:
    return name.startswith(".") or name.casefold() in _LEFT_BY_SYSTEMS


def _relative(photo: Path, root: Path) -> str:
    path = plain(photo)
    # Of "..jpg" the stem would be a folder.
    stem = path.stem if path.stem.strip(".") else path.name
    return path.with_name(stem).relative_to(root).as_posix()


def _safe(name: str) -> str:
    """Change what a disk or a format cannot hold; a short hash keeps changed names apart."""
    *folders, last = name.split("/")
    return "/".join([*(_safe_part(part, _SUFFIXES) for part in folders), _safe_part(last)])


def _safe_part(part: str, but: tuple[str, ...] = ()) -> str:
    safe = "".join(sign if _is_text(sign) else "_" for sign in part)
    if safe == part and len(part.encode()) <= LONGEST and not part.lower().endswith(but):
        return part
    short = safe.encode()[:LONGEST].decode(errors="ignore")
    return f"{short}_{hashlib.sha256(os.fsencode(part)).hexdigest()[:8]}"


def _is_text(sign: str) -> bool:
    # Excludes control characters, bytes that are not UTF-8 (which Python keeps as surrogates), and
    # the two noncharacters that no text file may hold.
    return unicodedata.category(sign) not in {"Cc", "Cs"} and sign not in "\ufffe\uffff"
