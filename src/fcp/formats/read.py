"""Reader of examples in any known layout: masks, label maps, and files of annotation tools."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

from fcp.data.folder import MASK_SUFFIX, files_in
from fcp.data.mask_names import SPLITS
from fcp.errors import FcpError
from fcp.formats.coco import read_coco
from fcp.formats.coco_parts import read_coco_parts
from fcp.formats.contents import annotations_in, folders_in, may_hold_examples, what_is_left_out
from fcp.formats.cvat_xml import read_cvat
from fcp.formats.examples import Example, class_key
from fcp.formats.folder_names import (
    UNNAMED,
    FolderRead,
    class_of,
    classes_of_folders,
    extend,
    told_parts,
)
from fcp.formats.foreign import describe_foreign
from fcp.formats.foreign_json import refuse_foreign_json
from fcp.formats.label_maps import find_label_maps, read_label_maps
from fcp.formats.label_studio_tasks import read_label_studio
from fcp.formats.labelme import read_labelme
from fcp.formats.listed_parts import read_listed_parts
from fcp.formats.masks import read_masks, read_split_masks
from fcp.formats.reading import MOST_LISTED, Reading
from fcp.formats.text import load_annotations, parse_xml
from fcp.formats.voc_xml import ROOT as VOC_ROOT
from fcp.formats.voc_xml import read_voc_xml
from fcp.formats.yolo import read_yolo, yolo_labels
from fcp.system.runs import read_run

ExamplesByClass = dict[str, list[Example]]

_KNOWN = (
    f"NAME.jpg with NAME{MASK_SUFFIX}.png; images/NAME.jpg with masks/NAME.png (and classes.txt "
    "for several classes); a COCO JSON; LabelMe's JSON files; YOLO's images/ and labels/ with "
    "data.yaml or classes.txt; CVAT's XML; PASCAL VOC's XML; Label Studio's JSON; or a folder of "
    "one of these for each class"
)


def read_examples(
    path: Path | str, class_name: str | None = None, reading: Reading | None = None
) -> ExamplesByClass:
    """Read examples in any known layout.

    Args:
        path: Path of a folder, a JSON of COCO, LabelMe or Label Studio, an XML of CVAT, or a YAML
            of a YOLO data set.
        class_name: The one class to read, or the name of the class of a layout that stores no class
            names; None for all classes.
        reading: Options of the reading, which also collects its notes; None for the defaults.

    Returns:
        Class → examples, at least one, in an order that depends only on the files. If neither the
        layout nor the caller names the class, it has its folder's name; in a folder such as
        ``examples`` it is ``object``, and a note says so.

    Raises:
        FcpError: no known layout, a file that cannot be read, or an unknown class.
    """
    own, path = reading or Reading(), Path(path)
    if not path.exists():
        raise FcpError(f"{path}: no such file or folder; check the path")
    if path.is_dir():
        examples = (
            _read_one_layout(path, own, class_name).examples
            or _read_splits(path, own, class_name)
            or read_class_folders(path, own)
        )
    else:
        examples = _read_file(path, own)
    if not examples:
        foreign = describe_foreign(path)
        if foreign is not None:
            raise FcpError(f"{path}: no example found, but {foreign}")
        if own.notes:
            told = "\n  ".join(map(str, own.notes[:MOST_LISTED]))
            raise FcpError(f"{path}: no example is left:\n  {told}")
        blank = _without_object(path)
        if blank is not None:
            raise FcpError(f"{blank}: no object is annotated in it; annotate one, and export again")
        raise FcpError(f"{path}: no example found; looked for {_KNOWN}")
    if class_name is None:
        _note_alike(path, examples, own)
        return examples
    wanted = class_key(class_name)
    if wanted not in examples:
        known = ", ".join(examples)
        raise FcpError(f"{path}: no example of the class {class_name!r}; it has: {known}")
    return {wanted: examples[wanted]}


def _note_alike(path: Path, names: Iterable[str], reading: Reading) -> None:
    """Note classes whose names differ in case alone: mostly one class, typed by two people."""
    known: dict[str, str] = {}
    for name in names:
        other = known.setdefault(name.casefold(), name)
        if other != name:
            reading.note(path, f"{other!r} and {name!r} are two classes; are they meant as one?")


def read_class_folders(folder: Path, reading: Reading | None = None) -> ExamplesByClass:
    """Read a folder for each class, or for each part of a data set, each in any other layout.

    Which of both they are, tell their names and the labels in their files. Folders without pictures
    and annotations, which archives and systems create, are neither, and so are the results of
    ``fcp segment``.

    Returns:
        Class → examples, in natural order of names; empty if no subfolder holds an example.

    Raises:
        FcpError: one of several folders holds pictures but no example, or a folder beside those of
            classes has several labels and none of its own name.
    """
    own = reading or Reading()
    found: dict[Path, FolderRead] = {}
    told: set[Path] = set()  # folders that hold nothing, for reasons that are among the faults
    with own.gather():
        for inside in _own_folders(folder, own):
            before = len(own.faults)
            found[inside] = _read_one_layout(inside, own, inside.name)
            if not found[inside].examples and len(own.faults) > before:
                told.add(inside)
    full = {inside: read for inside, read in found.items() if read.examples}
    for inside in [one for one in found if full and one not in full]:
        if not may_hold_examples(inside):
            own.note(inside, "left out: it holds no example")
        elif inside not in told:
            own.faults.append(f"{inside}: no example found; looked for {_KNOWN}")
    classes = classes_of_folders(folder, full, own)
    own.finish(folder)
    return classes


def _own_folders(folder: Path, reading: Reading) -> list[Path]:
    """Return the folders of examples in a folder; what fcp has found is none."""
    found = {inside: read_run(inside) is not None for inside in folders_in(folder)}
    for inside in (one for one, is_run in found.items() if is_run):
        reading.note(inside, "left out: results of fcp segment")
    return [one for one, is_run in found.items() if not is_run]


def _read_splits(folder: Path, reading: Reading, class_name: str | None) -> ExamplesByClass:
    """Read a folder of the parts of one data set: ``train/``, ``valid/``, ``test/``."""
    own = [one for one in folders_in(folder) if read_run(one) is None]
    parts = [one for one in own if may_hold_examples(one)]
    if not parts or any(part.name.casefold() not in SPLITS for part in parts):
        return {}
    name = class_name or class_of(folder)
    found: ExamplesByClass = {}
    with reading.gather():
        for part in parts:
            one = _read_one_layout(part, reading, name).examples
            extend(found, one or read_class_folders(part, reading))
    reading.finish(folder)
    if len(parts) > 1:
        reading.note(folder, told_parts(parts))
    return found


def _read_one_layout(folder: Path, reading: Reading, class_name: str | None = None) -> FolderRead:
    """Read a folder of any layout except class folders, and note what else lies in it."""
    found = _read_first_layout(folder, reading, class_name)
    left_out = what_is_left_out(folder, found.examples) if found.examples else ""
    if left_out:
        reading.note(folder, left_out)
    return found


def _read_first_layout(folder: Path, reading: Reading, class_name: str | None = None) -> FolderRead:
    """Read the first known layout in a folder; no examples if there is none.

    Args:
        folder: Folder to read.
        reading: Options of the reading, which also collects its notes.
        class_name: Name of the class of masks, whose files store none; None for the folder's name.
    """
    if yolo_labels(folder):
        return FolderRead(read_yolo(folder, reading), stated=True)
    if find_label_maps(folder):
        return FolderRead(read_label_maps(folder, reading), stated=True)
    listed = read_listed_parts(folder, reading)
    if listed:
        return FolderRead(listed, stated=True)
    name = class_key(class_name or class_of(folder))
    masks = read_split_masks(folder, name, reading) or read_masks(folder, name, reading)
    if class_name is None and [*masks] == [UNNAMED]:
        reading.note(
            folder, f"the class is called {UNNAMED!r}, as no name is given; --class NAME names it"
        )
    if masks:
        # Folders in masks/ may name several.
        return FolderRead(masks, stated=[*masks] != [name])
    files = next(annotations_in(folder), None)
    if files is None:
        return FolderRead({}, stated=False)
    read = _read_json if files[0].suffix.lower() == ".json" else _read_xml
    return FolderRead(read(files, files[0].parent, reading), stated=True)


def _without_object(path: Path) -> Path | None:
    """Return the annotation file, or the folder of YOLO's, that was read and holds no object."""
    if path.is_file() or yolo_labels(path):
        return path
    for place in (path, path / "annotations", path / "Annotations"):
        for file in files_in(place) if place.is_dir() else []:
            if file.suffix.lower() in {".json", ".xml"}:
                return file
    return None


def _read_file(file: Path, reading: Reading) -> ExamplesByClass:
    suffix = file.suffix.lower()
    if suffix == ".json":
        return _read_json([file], file, reading)
    if suffix == ".xml":
        return _read_xml([file], file, reading)
    if suffix in {".yaml", ".yml"}:
        return read_yolo(file, reading)
    foreign = describe_foreign(file)
    if foreign is not None:
        raise FcpError(f"{file}: {foreign}")
    raise FcpError(f"{file}: expected a folder of examples, a JSON, an XML or a YAML file")


def _read_json(files: list[Path], path: Path, reading: Reading) -> ExamplesByClass:
    """Read LabelMe's JSON files, or one JSON of another tool, depending on the first file.

    Beside LabelMe's files there may be others, such as a list of flags or a damaged file;
    ``read_labelme`` reports them.
    """
    contents: list[Any] = []
    for file in files:
        with suppress(FcpError) if len(files) > 1 else nullcontext():
            contents.append(load_annotations(file))
        if contents and isinstance(contents[-1], dict) and "shapes" in contents[-1]:
            return read_labelme(path, reading)
    if len(files) > 1:
        return read_coco_parts(files, path, reading)
    refuse_foreign_json(contents[0], files[0])
    if isinstance(contents[0], list) or "data" in contents[0]:
        return read_label_studio(files[0], contents[0], reading)
    return read_coco(files[0], reading, contents[0])


def _read_xml(files: list[Path], path: Path, reading: Reading) -> ExamplesByClass:
    """Read PASCAL VOC's XML files, or one XML of CVAT, depending on the first file."""
    root = parse_xml(files[0])
    if root.tag == VOC_ROOT:
        return read_voc_xml(files, reading)
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise FcpError(f"{path}: several XML files ({names}); give the path of the one meant")
    return read_cvat(files[0], reading, root)
