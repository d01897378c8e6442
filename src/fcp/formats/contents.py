"""What a folder of examples holds, also what is not read: layouts, masks and folders."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from fcp.data.folder import STRAY_FOLDERS, files_in, find_layout, pictures_in
from fcp.data.mask_names import is_mask_name, mark_of
from fcp.data.pairing import pair_pictures
from fcp.errors import FcpError
from fcp.formats.examples import Example
from fcp.formats.text import load_annotations, parse_xml
from fcp.formats.voc_xml import ROOT as VOC_ROOT
from fcp.formats.yolo import yolo_labels
from fcp.system.files import PICTURE_SUFFIXES, natural
from fcp.system.runs import read_run

MOST_TRIED = 20  # number of files of a folder that are tried as annotations
ANNOTATIONS = "annotations"  # folder of annotation files, and root of CVAT's XML
_KEYS = frozenset({"shapes", "annotations", "data"})  # of LabelMe, COCO, Label Studio


def folders_in(folder: Path) -> list[Path]:
    """List the folders in a folder in natural order, but for those that systems create."""
    folders = [
        path
        for path in folder.iterdir()
        if path.is_dir() and path.name[0] != "." and path.name not in STRAY_FOLDERS
    ]
    return sorted(folders, key=lambda path: (natural(path.name), path.name))


def may_hold_examples(folder: Path) -> bool:
    """Return whether a folder holds pictures or files that may be annotations, however deep."""
    return any(
        path.suffix.lower() in PICTURE_SUFFIXES | {".json", ".xml", ".yaml", ".yml"}
        for path in folder.rglob("*")
        if not STRAY_FOLDERS & set(path.parts)
    )


def masks_in(path: Path) -> set[Path]:
    """Find the masks in a folder of examples and its subfolders, also those that no example uses.

    Returns:
        Files that their names and folders call masks; none for a path that is no folder.
    """
    if not path.is_dir():
        return set()
    found = set[Path]()
    with suppress(FcpError):  # whoever reads the examples reports it
        layout = find_layout(path)
        found |= {mask for _, mask in layout.masks} if layout is not None else set()
    deeper = (one for one in folders_in(path) if not one.is_symlink())
    return found.union(*map(masks_in, deeper))


def what_is_left_out(folder: Path, examples: Mapping[str, Sequence[Example]]) -> str:
    """Describe the layouts and folders of examples beside the layout that was read.

    Args:
        folder: Folder of examples.
        examples: Class → examples that were read from it.

    Returns:
        Sentence for a note; empty if there is nothing else.
    """
    layouts = [*_labels_in(folder), *_masks_in(folder)]
    # Without labels and masks, the first annotation files are what was read.
    annotations = list(annotations_in(folder))[0 if layouts else 1 :]
    left = [*layouts[1:], *filter(None, map(_recognised, annotations))]
    left += _folders_with_examples(folder, examples)
    if not left:
        return ""
    read, *names = (_name(one, folder) for one in ([*layouts, folder][0], *left))
    return (
        f"several layouts of examples: {read} and what belongs to it is read; left out: "
        f"{', '.join(names)}; put each layout into a folder of its own"
    )


def _name(path: Path, folder: Path) -> str:
    """Return a path inside a folder as text; the folder itself stands for its annotation files."""
    if path == folder:
        return "the annotation file"
    return path.relative_to(folder).as_posix() + "/" * path.is_dir()


def _labels_in(folder: Path) -> Iterator[Path]:
    """Yield the first label file of YOLO, if there is one."""
    yield from (files[0] for files in [*yolo_labels(folder).values()][:1])


def _masks_in(folder: Path) -> Iterator[Path]:
    """Yield the folder of masks, and the first mask beside its picture, as far as there are."""
    with suppress(FcpError):  # two folders of masks, say
        layout = find_layout(folder)
        yield from layout.mask_folders[:1] if layout is not None else ()
    files = [(Path(), file) for file in pictures_in(folder)]
    masks = [one for one in files if is_mask_name(one[1]) or mark_of(one[1]) is not None]
    marked = set(masks)
    pictures = [one for one in files if one not in marked]
    yield from (mask for _, mask in pair_pictures(pictures, masks).pairs[:1])


def annotations_in(folder: Path) -> Iterator[list[Path]]:
    """Yield the files of each place and kind that may be annotations, in the order of trying."""
    for place in (folder, *_annotation_folders(folder)):
        # GIS programs put a.tif.aux.xml beside a picture.
        inside = [one for one in files_in(place) if not one.name.lower().endswith(".aux.xml")]
        for suffix in (".json", ".xml"):
            files = [one for one in inside if one.suffix.lower() == suffix]
            if files:
                yield files


def _annotation_folders(folder: Path) -> list[Path]:
    inside = {one.name: one for one in folders_in(folder)}
    return [inside[name] for name in (ANNOTATIONS, "Annotations") if name in inside]


def _recognised(files: Iterable[Path]) -> Path | None:
    """Return the first file that holds annotations."""
    return next((file for file in [*files][:MOST_TRIED] if _is_annotation(file)), None)


def _is_annotation(file: Path) -> bool:
    with suppress(FcpError):
        if file.suffix.lower() == ".xml":
            return parse_xml(file).tag in (VOC_ROOT, ANNOTATIONS)
        content = load_annotations(file)
        first = content[0] if isinstance(content, list) and content else content
        return isinstance(first, dict) and bool(_KEYS & first.keys())
    return False


def _folders_with_examples(
    folder: Path, examples: Mapping[str, Sequence[Example]]
) -> Iterator[Path]:
    """Yield the folders of which no file was read, though they hold examples of their own."""
    given = [example for of_class in examples.values() for example in of_class]
    files = [file for one in given for file in (one.picture, *one.sources)]
    places = {file.parent for file in files if isinstance(file, Path)}
    places |= {file.parent for labels in yolo_labels(folder).values() for file in labels}
    # The files in this one are among the annotations of the folder itself.
    places |= set(_annotation_folders(folder))
    used = {above for place in places for above in (place.resolve(), *place.resolve().parents)}
    for inside in folders_in(folder):
        if inside.resolve() not in used and read_run(inside) is None and _holds_examples(inside):
            yield inside


def _holds_examples(folder: Path) -> bool:
    return any(
        [*_labels_in(one), *_masks_in(one)] or any(map(_recognised, annotations_in(one)))
        for one in (folder, *folders_in(folder))
    )
