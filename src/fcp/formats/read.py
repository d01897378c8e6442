"""Examples in whatever layout people have them: masks, label maps, COCO, LabelMe, YOLO."""

from __future__ import annotations

from pathlib import Path

from fcp.config import load_json
from fcp.data.folder import MASK_SUFFIX, files_in, natural, read_support_folder
from fcp.errors import FcpError
from fcp.formats.coco import read_coco
from fcp.formats.examples import Example
from fcp.formats.label_maps import find_label_maps, read_label_maps
from fcp.formats.labelme import read_labelme
from fcp.formats.yolo import read_yolo, yolo_labels

ExamplesByClass = dict[str, list[Example]]

_KNOWN = (
    f"NAME.jpg with NAME{MASK_SUFFIX}.png; images/NAME.jpg with masks/NAME.png (and classes.txt "
    "for several classes); a COCO JSON; LabelMe's JSON files; YOLO's images/ and labels/ with "
    "data.yaml or classes.txt; or a folder of one of these for each class"
)


def read_examples(path: Path, class_name: str | None = None) -> ExamplesByClass:
    """Read examples in any known layout.

    Args:
        path: a folder, a JSON of COCO or LabelMe, or a data set's YAML of YOLO.
        class_name: the one class to read, or the name of the class of a layout that has no name
            for it; None for all.

    Returns:
        Class → examples, at least one, in an order that the files alone decide. Where neither the
        layout nor the caller has a name for the class, its folder's is taken.

    Raises:
        FcpError: nothing known is there, a file that cannot be read, or an unknown class.
    """
    if not path.exists():
        raise FcpError(f"{path}: no such file or folder; check the path")
    if path.is_dir():
        examples = _read_one_layout(path, class_name) or read_class_folders(path)
    else:
        examples = _read_file(path)
    if not examples:
        raise FcpError(f"{path}: no example found; looked for {_KNOWN}")
    if class_name is None:
        return examples
    if class_name not in examples:
        known = ", ".join(examples)
        raise FcpError(f"{path}: no example of the class {class_name!r}; it has: {known}")
    return {class_name: examples[class_name]}


def read_masks(folder: Path) -> list[Example]:
    """Read ``NAME.jpg`` with ``NAME_mask.png``, or ``images/`` with ``masks/``: one class.

    Raises:
        FcpError: see ``fcp.data.folder.read_support_folder``.
    """
    return [Example(picture, mask) for picture, mask in read_support_folder(folder)]


def read_class_folders(folder: Path) -> ExamplesByClass:
    """Read a folder for each class, each in any other layout; the folders' names are the classes'.

    Returns:
        Class → examples, in natural order of names; none where no folder in it holds an example.

    Raises:
        FcpError: one folder among others in which nothing is found, or one that has several
            classes and none of its own name.
    """
    found = {inside: _read_one_layout(inside) for inside in _folders_in(folder)}
    if not any(found.values()):
        return {}
    return {inside.name: _of_its_name(inside, classes) for inside, classes in found.items()}


def _of_its_name(folder: Path, classes: ExamplesByClass) -> list[Example]:
    """Choose the class that a class folder stands for."""
    if not classes:
        raise FcpError(f"{folder}: no example found; looked for {_KNOWN}")
    if folder.name not in classes and len(classes) > 1:
        known = ", ".join(classes)
        raise FcpError(
            f"{folder}: which of its classes is meant? Call the folder like one: {known}"
        )
    return classes.get(folder.name) or next(iter(classes.values()))


def _read_one_layout(folder: Path, class_name: str | None = None) -> ExamplesByClass:
    """Read a folder of any layout but class folders; no class where it is of none.

    Args:
        folder: to read.
        class_name: of masks, which have no name; None for the folder's.
    """
    if yolo_labels(folder):
        return read_yolo(folder)
    if find_label_maps(folder):
        return read_label_maps(folder)
    if _has_masks(folder):
        return {class_name or folder.resolve().name: read_masks(folder)}
    for place in (folder, folder / "annotations"):
        inside = files_in(place) if place.is_dir() else []
        files = [path for path in inside if path.suffix.lower() == ".json"]
        if files:
            return _read_json(files, place)
    return {}


def _read_file(file: Path) -> ExamplesByClass:
    suffix = file.suffix.lower()
    if suffix == ".json":
        return _read_json([file], file)
    if suffix in {".yaml", ".yml"}:
        return read_yolo(file)
    raise FcpError(f"{file}: expected a folder of examples, a JSON or a YAML file")


def _read_json(files: list[Path], path: Path) -> ExamplesByClass:
    """Read a LabelMe JSON for each picture, or one of COCO for all: the first file tells which."""
    if "shapes" in load_json(files[0]):
        return read_labelme(path)
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise FcpError(f"{path}: several JSON files ({names}); give the path of the one meant")
    return read_coco(files[0])


def _has_masks(folder: Path) -> bool:
    if (folder / "images").is_dir() and (folder / "masks").is_dir():
        return True
    return any(
        path.suffix.lower() == ".png" and path.stem.endswith(MASK_SUFFIX)
        for path in files_in(folder)
    )


def _folders_in(folder: Path) -> list[Path]:
    folders = [path for path in folder.iterdir() if path.is_dir() and path.name[0] != "."]
    return sorted(folders, key=lambda path: (natural(path.name), path.name))
