"""Label maps in several folders with one list of classes above them: parts of one data set."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from fcp.data.folder import Layout, find_layout
from fcp.data.mask_names import SPLITS
from fcp.data.pairing import Pairing, pair_pictures
from fcp.errors import FcpError
from fcp.formats.class_lists import find_list, read_list
from fcp.formats.contents import annotations_in, folders_in, may_hold_examples
from fcp.formats.examples import Example, class_key
from fcp.formats.folder_names import told_parts
from fcp.formats.label_maps import LabelMaps, is_of_one_object, read_paired_maps
from fcp.formats.reading import Reading
from fcp.system.runs import read_run


def read_listed_parts(folder: Path, reading: Reading) -> dict[str, list[Example]]:
    """Read ``2024-05-01/images/…`` with ``2024-05-01/masks/…`` and so on below ``classes.txt``.

    All parts are read at once, since the maps of all of them tell whether the list begins with the
    background's line.

    Returns:
        Class → examples; empty without a list or label maps below it, beside annotation files, and
        where the list names the folders, which then are class folders.

    Raises:
        FcpError: the list names the values of masks in some folders, and others are of another
            layout or have a list of their own; or as of ``read_label_maps``.
    """
    class_file = find_list([folder])
    if class_file is None or any(set(files) - {class_file} for files in annotations_in(folder)):
        return {}
    parts = {part: find_layout(part) for part in _parts(folder)}
    maps = {part: one for part, one in parts.items() if one and _lacks_list_alone(part, one)}
    if not maps or _names_one(class_file, parts):
        return {}
    others = [part for part in parts if part not in maps]
    if others:
        first = next(iter(maps))
        raise FcpError(
            f"{class_file}: does it name the values of the masks in {_told(first, folder)}? "
            f"{_told(others[0], folder)} holds other examples; put the list into each folder that "
            "it is of, or move it away"
        )
    found = LabelMaps(_paired(maps.values(), class_file), class_file)
    reading.note(class_file, f"names the values of the masks below it; {told_parts(maps)}")
    return read_paired_maps(found, folder, reading)


def _parts(folder: Path) -> Iterator[Path]:
    """Yield the folders of examples in a folder, and those in the folders of its splits."""
    for inside in folders_in(folder):
        if read_run(inside) is not None or not may_hold_examples(inside):
            continue
        if inside.name.casefold() in SPLITS and find_layout(inside) is None:
            yield from (one for one in folders_in(inside) if may_hold_examples(one))
        else:
            yield inside


def _lacks_list_alone(part: Path, layout: Layout) -> bool:
    """Whether a folder's masks may be label maps, without a list of their own."""
    return not is_of_one_object(layout) and find_list([part, *layout.mask_folders]) is None


def _names_one(class_file: Path, folders: Iterable[Path]) -> bool:
    listed = read_list(class_file)
    names = {class_key(name).casefold() for name in (*listed.names.values(), listed.first)}
    return any(class_key(one.name).casefold() in names for one in folders)


def _told(part: Path, folder: Path) -> str:
    return f"{part.relative_to(folder).as_posix()}/"


def _paired(layouts: Iterable[Layout], class_file: Path) -> Pairing:
    joined = Pairing([], [], [])
    for layout in layouts:
        paired = pair_pictures(layout.pictures, layout.masks)
        joined.pairs.extend(paired.pairs)
        joined.without_mask.extend(paired.without_mask)
        # Masks of single objects, say, which the list would turn into label maps.
        told = f"{class_file} is taken for the list of these masks' values"
        joined.faults.extend(f"{fault} ({told})" for fault in paired.faults)
    return joined
