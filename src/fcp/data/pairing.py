"""Masks → their pictures, by the names of files and of the folders that both sides have."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fcp.data.mask_names import (
    folder_without_mark,
    loose_picture_names,
    names_without_mark,
    picture_names,
    stem_of,
)

# A file with the folder, below that of pictures or that of masks, in which it lies.
Placed = tuple[Path, Path]
# Names of folders as compared.
Place = tuple[str, ...]
# (place, name as compared) → pictures, and the places by which it is looked up.
Index = tuple[Callable[[Path], Place], dict[tuple[Place, str], list[Path]]]


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


def pair_pictures(pictures: Sequence[Placed], masks: Sequence[Placed]) -> Pairing:
    """Pair masks with pictures by name.

    A folder that both sides have tells their files apart: ``train/1.jpg`` is not the picture of
    ``1.png`` in the masks' ``val/``. A folder that one side alone has says nothing.
    """
    shared = _folders(pictures) & _folders(masks)

    def told_apart(inner: Path) -> Place:
        return tuple(name for name in _place(inner) if name in shared)

    indices = [
        _indexed(pictures, names_of, place_of)
        for names_of in (picture_names, loose_picture_names)
        for place_of in (_place, told_apart)
    ]
    pairs: dict[Path, Path] = {}
    faults = []
    for inner, mask in masks:
        found = _pictures_of(mask, inner, indices)
        if len(found) != 1:
            faults.append(_unpaired(mask, found, pictures))
            continue
        first = pairs.setdefault(found[0], mask)
        if first != mask:
            faults.append(f"{found[0]}: is {first} its mask, or {mask}?")
    without = [picture for _, picture in pictures if picture not in pairs]
    return Pairing(list(pairs.items()), without, faults)


def begins_with(stem: str, other: str) -> bool:
    """Return whether a file's stem is another one, as compared, with something after it."""
    key = name_key(stem)
    return key.startswith(other) and key[len(other) : len(other) + 1] in {" ", ".", "_", "-"}


def name_key(name: str) -> str:
    """Return the form in which names are compared: NFC, without case and outer blanks."""
    return unicodedata.normalize("NFC", name).casefold().strip()


def _indexed(
    pictures: Sequence[Placed],
    names_of: Callable[[Path], list[str]],
    place_of: Callable[[Path], Place],
) -> Index:
    found: dict[tuple[Place, str], list[Path]] = {}
    for inner, picture in pictures:
        place = place_of(inner)
        for name in {name_key(one) for one in names_of(picture)}:
            found.setdefault((place, name), []).append(picture)
    return place_of, found


def _pictures_of(mask: Path, inner: Path, indices: Sequence[Index]) -> list[Path]:
    """Find the pictures that a mask's name may mean, in the first index that has any."""
    for place_of, named in indices:
        for name in names_without_mark(mask):
            found = named.get((place_of(inner), name_key(name)), [])
            same = [path for path in found if name in (path.stem, path.name)]
            if found:
                return same if len(same) == 1 else found
    return []


def _unpaired(mask: Path, found: Sequence[Path], pictures: Sequence[Placed]) -> str:
    if found:
        return f"{mask}: is it the mask of {found[0]} or of {found[1]}?"
    begun = [
        (len(name), picture)
        for _, picture in pictures
        for name in {name_key(one) for one in picture_names(picture)}
        if begins_with(stem_of(mask), name)
    ]
    longest = max((length for length, _ in begun), default=0)
    of = [picture for length, picture in begun if length == longest]
    hint = ""
    if len(of) == 1:
        hint = (
            f"; if it is that of {of[0].name}, call it {of[0].stem}{mask.suffix}, and join several"
        )
    return f"{mask.parent}: no picture for the mask {mask.name}{hint}"


def _folders(placed: Sequence[Placed]) -> frozenset[str]:
    return frozenset(name for inner in {inner for inner, _ in placed} for name in _place(inner))


def _place(inner: Path) -> Place:
    """Return the names of a folder as compared; ``p1_masks`` is the folder of ``p1``."""
    keys = (name_key(part) for part in inner.parts)
    return tuple(folder_without_mark(key) or key for key in keys)
