"""Label maps: a PNG of class ids for each picture, and a text file of the classes' names.

Line i of ``classes.txt`` or ``labels.txt``, counted from 0, names the value i; line 0 names the
background. A list without the background's line is recognised by a map with one more value than
lines. The value 255 is VOC's "ignore" unless a line names it. A pixel is of one class.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path

import numpy as np

from fcp.config import IGNORE
from fcp.data.folder import Layout, find_layout
from fcp.data.images import (
    empty_labels,
    label_png,
    read_label_picture,
    require_same_size,
    voc_palette,
)
from fcp.data.pairing import Pairing, pair_pictures
from fcp.errors import FcpError
from fcp.formats.class_lists import (
    BACKGROUND,
    BACKGROUND_NAMES,
    ClassList,
    Colour,
    find_list,
    read_list,
)
from fcp.formats.examples import DrawnPicture, Example, examples_by_class, note_shared_names
from fcp.formats.reading import Frame, Reading, frame_of
from fcp.formats.records import LabelledPicture
from fcp.formats.run_lengths import RunLengths, to_runs
from fcp.formats.text import CLASS_FILES, class_lines
from fcp.formats.writer import Writer
from fcp.system.files import make_folder, write_atomically, write_beside

NO_MAPS = frozenset({"segmentations", "trimaps"})  # of CUB and Oxford-IIIT Pet: of one object each


@dataclass(frozen=True)
class LabelMaps:
    """Pictures with their label maps, and the list of classes."""

    paired: Pairing
    class_file: Path


def read_label_maps(folder: Path, reading: Reading | None = None) -> dict[str, list[Example]]:
    """Read ``images/NAME.jpg`` with ``masks/NAME.png`` (or ``labels/``), several classes.

    Also CVAT's ``JPEGImages/`` with ``SegmentationClass/``, and ``NAME_mask.png`` beside
    ``NAME.jpg`` with a list of classes. A colour picture is read by VOC's colours, or by those of
    ``labelmap.txt``.

    Returns:
        Class → examples; classes in the order of their values.

    Raises:
        FcpError: the folder has another layout, a map has no picture or another size, or a value or
            colour has no name.
    """
    found = find_label_maps(folder)
    if found is None:
        raise FcpError(f"{folder}: expected images/, masks/ and a list of classes (classes.txt)")
    return read_paired_maps(found, folder, reading or Reading())


def read_paired_maps(found: LabelMaps, folder: Path, own: Reading) -> dict[str, list[Example]]:
    """Read label maps that have one list; see ``read_label_maps``.

    Args:
        found: Pictures, maps and list.
        folder: Folder that holds all of them, for errors.
        own: Options of the reading, which also collects its notes.
    """
    classes = read_list(found.class_file)
    own.faults += found.paired.faults
    maps = []
    for picture, file in found.paired.pairs:
        with own.each():
            maps.append(_read_map(picture, file, classes, own))
    classes = _settle_first_line(classes, maps, own)
    if classes.colours:
        note_shared_names(classes.colours, own, classes.file, "colours")
    else:
        note_shared_names(classes.names, own, classes.file, "values")
    pictures = []
    for one in maps:
        with own.each():
            pictures.append(_named(one, classes))
    examples = examples_by_class(pictures, classes.names.values(), own)
    own.finish(folder)
    if not examples:
        raise FcpError(f"{found.class_file}: names no value but the background's that is in a mask")
    return examples


def find_label_maps(folder: Path) -> LabelMaps | None:
    """Return the label maps and the list of classes of a folder; None for another layout."""
    layout = find_layout(folder)
    if layout is None or is_of_one_object(layout):
        return None
    class_file = find_list([folder, *layout.mask_folders])
    if class_file is None:
        return None
    return LabelMaps(pair_pictures(layout.pictures, layout.masks), class_file)


def is_of_one_object(layout: Layout) -> bool:
    """Return whether masks are known to be of one object each, whatever their values are."""
    return any(one.name.casefold() in NO_MAPS for one in layout.mask_folders)


def write_class_list(folder: Path, class_names: Sequence[str]) -> None:
    """Write ``classes.txt`` with the names of the label maps' values into a folder.

    Raises:
        FcpError: a name that a line cannot hold, or the file cannot be written.
    """
    file = folder / CLASS_FILES[0]
    write_atomically(file, class_lines([BACKGROUND, *class_names], file))


class LabelMapWriter(Writer):
    """Writer of ``labels/NAME.png`` (VOC's colours; 16-bit grey above 255 classes) and the classes.

    Class i (from 0) has the value i + 1. Where objects overlap, the one with the higher score wins,
    and the earlier one where scores are equal; objects without score come last.
    """

    def __init__(self, out: Path, class_names: Sequence[str]) -> None:
        super().__init__(out, class_names)
        self.folder = out / "labels"
        make_folder(self.folder)
        # Before any map, so that maps never lie there without a list of classes.
        write_class_list(self.folder, class_names)

    @classmethod
    def files_of(cls, names: Iterable[str]) -> Iterator[str]:
        """Yield the list of classes and the maps; see ``Writer``."""
        yield f"labels/{CLASS_FILES[0]}"
        yield from (f"labels/{name}.png" for name in names)

    def close(self) -> None:
        """Do nothing: the only common file is the list of classes, which is written already."""

    def _add(self, picture: LabelledPicture) -> None:
        labels = paint(picture, self.class_ids)
        write_beside(self.folder / f"{picture.name}.png", label_png(labels))


def paint(picture: LabelledPicture, class_ids: Mapping[str, int]) -> np.ndarray:
    """Paint a picture's objects; the one with the higher score wins where objects overlap.

    Args:
        picture: Picture with its objects.
        class_ids: Class → its number, from 0; the value is one more.

    Returns:
        Label map (H, W) uint8, or uint16 above 255 classes.
    """
    labels = empty_labels(picture.size, len(class_ids))
    for found in sorted(picture.objects, key=lambda found: -_or_lowest(found.score)):
        labels[found.mask & (labels == 0)] = class_ids[found.class_name] + 1
    return labels


def _or_lowest(score: float | None) -> float:
    return -inf if score is None else score


@dataclass(frozen=True)
class _Map:
    """A label map that was read: its regions by value, without the background."""

    picture: Path
    file: Path
    frame: Frame
    regions: Mapping[int, RunLengths]


def _read_map(picture: Path, file: Path, classes: ClassList, reading: Reading) -> _Map:
    labels = _labels(file, classes, reading.page)
    frame = frame_of(picture, file, reading)
    if labels.shape != frame.size:
        require_same_size(file, labels.shape, picture)
        raise FcpError(f"{file}: is not of the size of {picture} as it is stored")
    values = [int(value) for value in np.unique(labels) if value != 0]
    return _Map(picture, file, frame, {value: to_runs(labels == value) for value in values})


def _settle_first_line(classes: ClassList, maps: Sequence[_Map], reading: Reading) -> ClassList:
    """Decide whether a list begins with the background's line, and note a decision in doubt."""
    if classes.first.casefold() in BACKGROUND_NAMES:
        return classes
    shifted = {1: classes.first, **{value + 1: name for value, name in classes.names.items()}}
    # Values that have a name only if the first line names the value 1; 255 is the foreground of a
    # single class.
    telling = {len(shifted)} if len(shifted) > 1 else {1, IGNORE}
    if any(telling & one.regions.keys() for one in maps):
        reading.note(classes.file, "no line for the background: its first line names the value 1")
        return replace(classes, names=shifted)
    reading.note(
        classes.file,
        f"its first line ({classes.first}) is taken for the background's, the value 0; if it is a "
        "class, put a line 'background' before it",
    )
    return classes


def _named(one: _Map, classes: ClassList) -> DrawnPicture:
    names, regions = classes.names, dict(one.regions)
    if list(regions) == [IGNORE] and len(names) == 1 and IGNORE not in names:
        regions = {next(iter(names)): regions[IGNORE]}
    unnamed = [value for value in regions if value not in names and value != IGNORE]
    if unnamed:
        raise FcpError(
            f"{one.file}: the list of classes has no line {unnamed[0]} for this value; line i, "
            "from 0, names the value i"
        )
    drawings = [(names[value], runs) for value, runs in regions.items() if value in names]
    return DrawnPicture(one.picture, one.frame.size, one.file, drawings, one.frame.turn)


def _labels(file: Path, classes: ClassList, page: int | None) -> np.ndarray:
    """Read the values of a label map (H, W), whether it holds them or their colours."""
    picture = read_label_picture(file, colours=bool(classes.colours), page=page)
    if picture.ndim == 2:
        return picture
    packed = (picture.astype(np.int64) << np.array([16, 8, 0])).sum(axis=2)
    found, where = np.unique(packed, return_inverse=True)
    colours = [(int(one) >> 16, int(one) >> 8 & 255, int(one) & 255) for one in found]
    values = _values_of_colours(classes)
    unknown = [index for index, colour in enumerate(colours) if colour not in values]
    if unknown and all(red == green == blue for red, green, blue in colours):
        return picture[..., 0]  # ids that a paint program has saved in three bands
    if unknown:
        count = int(np.isin(where, unknown).sum())
        raise FcpError(
            f"{file}: {count} px have colours that are no class's, such as {colours[unknown[0]]}; "
            f"paint without smoothing, in the colours of {classes.file.name}"
        )
    lookup = np.array([values[colour] for colour in colours], np.uint16)
    return lookup[where].reshape(packed.shape)


def _values_of_colours(classes: ClassList) -> dict[Colour, int]:
    if classes.colours:
        value_of = {name: value for value, name in classes.names.items()}
        listed = {colour: value_of.get(name, 0) for colour, name in classes.colours.items()}
        return {(0, 0, 0): 0, **listed}  # black needs no line
    palette = [tuple(colour) for colour in voc_palette().tolist()]
    # One value more than the list has: its first line may name the value 1
    # (``_settle_first_line``).
    named = range(max(classes.names, default=0) + 2)
    known = [0, *(value for value in named if value < len(palette)), IGNORE]
    return {palette[value]: value for value in known}
