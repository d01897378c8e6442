"""Names of results, of which no two are the same on any disk, and no two films share a folder."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from fcp.labelling.photo_results import Source
from fcp.system.files import is_video, plain


def name_films(
    names: Sequence[str], files: Sequence[Path], known: Mapping[Source, str], *, frames: bool
) -> list[str]:
    """Put the frames of each film into a folder that no other film has.

    A film keeps the folder that its known frames have; of other films of one name the later ones
    get ``_2``, ``_3`` ….

    Args:
        names: Name of each photo, CLIP/00000 if it is a frame of a film.
        files: File of each photo.
        known: Photo → name of its existing results.
        frames: Whether the photos of a folder are the frames of a film.

    Returns:
        Name of each photo; unchanged if it is no frame of a film.
    """
    films = [_film_of(file, name, frames=frames) for file, name in zip(files, names, strict=True)]
    wanted = _folders(films, names)
    earlier = [_film_of(Path(file), name, frames=frames) for (file, _), name in known.items()]
    taken = _folders(earlier, list(known.values()))
    fixed = [taken.get(film) for film in wanted]
    unique = unique_names(list(wanted.values()), fixed, reserved=taken.values())
    folders = dict(zip(wanted, unique, strict=True))
    return [
        name if film is None else f"{folders[film]}/{name.rpartition('/')[2]}"
        for film, name in zip(films, names, strict=True)
    ]


def _film_of(file: Path, name: str, *, frames: bool) -> Path | None:
    """Return the video of a frame, or the folder of a picture that is one; None for no frame."""
    if "/" not in name:
        return None
    if is_video(file):
        return plain(file)
    return plain(file).parent if frames else None


def _folders(films: Sequence[Path | None], names: Sequence[str]) -> dict[Path, str]:
    """Return film → folder of its first frame's name."""
    found: dict[Path, str] = {}
    for film, name in zip(films, names, strict=True):
        if film is not None:
            found.setdefault(film, name.rpartition("/")[0])
    return found


def unique_names(
    names: Sequence[str],
    fixed: Sequence[str | None] = (),
    reserved: Collection[str] = (),
) -> list[str]:
    """Make names unique by numbers.

    The first of equal names stays, later ones get ``_2``, ``_3`` …. Upper and lower case count as
    equal, and so do composed and decomposed letters, because many disks treat them so. The same
    list always gives the same names.

    Args:
        names: Wanted names.
        fixed: Fixed name of each entry, or None; empty for no fixed names.
        reserved: Names that must not be used.

    Returns:
        One name for each, all different.
    """
    found: list[str | None] = list(fixed) or [None] * len(names)
    taken = {name_key(name) for name in (*reserved, *(one for one in found if one is not None))}
    for index, name in enumerate(names):
        if found[index] is None and name_key(name) not in taken:
            taken.add(name_key(name))
            found[index] = name
    for index, name in enumerate(names):
        number = 2
        while found[index] is None:
            numbered = f"{name}_{number}"
            if name_key(numbered) not in taken:
                taken.add(name_key(numbered))
                found[index] = numbered
            number += 1
    return [name for name in found if name is not None]


def name_key(name: str) -> str:
    """Return what is equal for names that some disk takes for the same."""
    return unicodedata.normalize("NFC", name).casefold()
