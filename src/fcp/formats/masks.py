"""Reader of masks of one class, or of a class for each of their folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fcp.data.folder import Layout, find_layout
from fcp.data.images import look_at_mask, read_label_picture
from fcp.data.mask_names import MAP_FOLDERS, SPLITS, is_trimap_name
from fcp.data.mask_values import trimap_object
from fcp.data.pairing import Pairing, Placed, pair_pictures
from fcp.data.turns import turn_array
from fcp.errors import FcpError
from fcp.formats.examples import Example, class_key
from fcp.formats.reading import Reading, frame_of
from fcp.formats.run_lengths import to_runs, union
from fcp.system.files import leads_nowhere
from fcp.system.words import counted


def read_masks(
    folder: Path, class_name: str | None = None, reading: Reading | None = None
) -> dict[str, list[Example]]:
    """Read ``NAME.jpg`` with ``NAME_mask.png``, ``images/`` with ``masks/``, and what is alike.

    Args:
        folder: Folder of the examples; see ``fcp.data.folder.find_layout``.
        class_name: Name of the class; None for the folder's name.
        reading: Options of the reading, which also collects its notes; None for the defaults.

    Returns:
        Class → examples: one class, or one for each folder in ``masks/`` if ``images/`` has no such
        folders. Empty if no file is known to be a mask.

    Raises:
        FcpError: see ``fcp.data.folder.find_layout``; masks of class ids without names; a mask that
            cannot be read, is of another size than its picture or is empty. All faults are listed.
    """
    own = reading or Reading()
    layout = find_layout(folder)
    if layout is None:
        return {}
    if layout.assumed:
        own.note(folder, layout.assumed)
    for place in layout.mask_folders:
        if place.name.casefold() in MAP_FOLDERS:
            raise FcpError(
                f"{place}: label maps without names; name their values in {place.parent}/"
                "classes.txt (line i, from 0, names the value i), or their colours in labelmap.txt"
            )
    examples, used = {}, set[Path]()
    for name, masks in _by_class(layout, class_name or folder.resolve().name, own, folder).items():
        paired = pair_pictures(layout.pictures, masks)
        examples[class_key(name)] = _read_pairs(paired, own)
        used |= {picture for picture, _ in paired.pairs}
    _note_unused(folder, [path for _, path in layout.pictures if path not in used], own)
    own.finish(folder)
    return {name: found for name, found in examples.items() if found}


def read_split_masks(
    folder: Path, class_name: str | None = None, reading: Reading | None = None
) -> dict[str, list[Example]]:
    """Read a folder for each picture, with a mask for each object, which may have any name.

    This is the layout of the Data Science Bowl 2018: ``ID/images/ID.png``, ``ID/masks/….png``.

    Args:
        folder: Folder that holds such folders, or one of them.
        class_name: Name of the class; None for the folder's name.
        reading: Options of the reading, which also collects its notes; None for the defaults.

    Returns:
        Class → examples, whose masks are joined; empty for another layout.

    Raises:
        FcpError: a mask that cannot be read, is of another size than its picture or is empty.
    """
    own = reading or Reading()
    several = [one for one in sorted(folder.iterdir()) if one.is_dir() and one.name[0] != "."]
    found = [_masks_of_one(one) for one in (several if _masks_of_one(folder) is None else [folder])]
    of_one = [one for one in found if one is not None]
    if not of_one or len(of_one) < len(found):
        return {}
    examples = []
    for picture, masks in of_one:
        with own.each():
            frame = frame_of(picture, masks[0], own)
            parts = [look_at_mask(mask, frame.size, str(picture), own.page)[0] for mask in masks]
            if not any(part.any() for part in parts):
                raise FcpError(f"{masks[0]}: the masks of {picture} are empty; mark the object")
            joined = union(to_runs(turn_array(part, frame.turn)) for part in parts)
            examples.append(Example(picture, joined, tuple(masks)))
    own.note(folder, "the masks of a picture's objects are joined")
    own.finish(folder)
    return {class_key(class_name or folder.resolve().name): examples} if examples else {}


def _masks_of_one(folder: Path) -> tuple[Path, list[Path]] | None:
    """Return the picture that is called like its folder, and the masks of its objects."""
    if not (folder / "images").is_dir() or not (folder / "masks").is_dir():
        return None
    layout = find_layout(folder)
    if layout is None or [path.stem for _, path in layout.pictures] != [folder.name]:
        return None
    return layout.pictures[0][1], [path for _, path in layout.masks]


def _by_class(
    layout: Layout, name: str, reading: Reading, folder: Path
) -> dict[str, Sequence[Placed]]:
    """Return class → masks: classes are the folders of masks that the pictures do not have."""
    tops = {inner.parts[0] if inner.parts else "" for inner, _ in layout.masks}
    same = tops & {inner.parts[0] if inner.parts else "" for inner, _ in layout.pictures}
    told = ", ".join(f"{top}/" for top in sorted(tops))
    if len(tops) < 2 or "" in tops or {top.casefold() for top in tops} <= SPLITS:
        return {name: layout.masks}
    if same:
        reading.note(
            folder,
            f"the pictures and masks in {told} are read as one class, {name}; for several classes "
            "put images/ and masks/ into a folder of each",
        )
        return {name: layout.masks}
    reading.note(folder, f"the folders of the masks are read as classes: {told}")
    return {top: [one for one in layout.masks if one[0].parts[0] == top] for top in sorted(tops)}


def _note_unused(folder: Path, pictures: Sequence[Path], reading: Reading) -> None:
    if pictures:
        left_out = counted(len(pictures), "picture")
        reading.note(folder, f"left out: {left_out} without a mask (first {pictures[0].name})")
    dead = [one for one in sorted(folder.rglob("*")) if leads_nowhere(one)]
    if dead:
        left_out = counted(len(dead), "broken link")
        reading.note(folder, f"left out: {left_out} (first {dead[0].name})")


def _read_pairs(paired: Pairing, reading: Reading) -> list[Example]:
    reading.faults += paired.faults
    examples = []
    for picture, mask in paired.pairs:
        with reading.each():
            examples.append(_read_mask(picture, mask, reading))
    return examples


def _read_mask(picture: Path, mask: Path, reading: Reading) -> Example:
    frame = frame_of(picture, mask, reading)
    values, oddities = look_at_mask(mask, frame.size, str(picture), reading.page)
    is_trimap = is_trimap_name(mask)
    inner = trimap_object(read_label_picture(mask, page=reading.page)) if is_trimap else None
    if inner is not None:
        values, oddities = inner, ["a trimap: its border does not count as the object"]
    for oddity in oddities:
        reading.note(mask, oddity)
    if not values.any():
        raise FcpError(f"{mask}: the mask of {picture} is empty; mark the object to find in it")
    if frame.turn == 1 and inner is None and reading.page is None:
        return Example(picture, mask, (mask,))
    return Example(picture, to_runs(turn_array(values, frame.turn)), (mask,))
