"""Names of folders against the labels that their files state: which of them are the classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fcp.data.mask_names import SPLITS
from fcp.errors import FcpError
from fcp.formats.examples import Example, class_key
from fcp.formats.reading import Reading
from fcp.system.words import counted

UNNAMED = "object"  # class of masks in a folder whose name does not say what they show
# Names of folders that say nothing of their class.
_NAMELESS = frozenset(
    "data dataset example examples image images masks photo photos picture pictures sample samples "
    "support supports".split()
)


# Labels that say nothing either.
_NAMELESS_LABELS = frozenset(
    "annotation class default foreground instance item label mask object polygon region roi target "
    "thing".split()
)


@dataclass(frozen=True)
class FolderRead:
    """What was read from a folder.

    Attributes:
        examples: Class → examples.
        stated: Whether the names of the classes are those of the files, not one that the reader
            was given.
    """

    examples: dict[str, list[Example]]
    stated: bool

    @property
    def names_classes(self) -> bool:
        """Whether the files state names that say something; one "object" or "1" does not."""
        return self.stated and not (len(self.examples) == 1 and says_nothing(*self.examples))


def says_nothing(label: str) -> bool:
    """Return whether a label is one that programs and people give where there is one class."""
    return label.casefold() in _NAMELESS_LABELS or label.isdecimal()


def class_of(folder: Path) -> str:
    """Return the class that a folder's name stands for, or ``UNNAMED``."""
    name = class_key(folder.resolve().name)
    return UNNAMED if name.casefold() in _NAMELESS | SPLITS else name


def classes_of_folders(
    folder: Path, found: Mapping[Path, FolderRead], reading: Reading
) -> dict[str, list[Example]]:
    """Name the classes of folders that lie beside each other.

    If a folder is called like one of the labels in its files, folders are classes. If none is, they
    are parts of one data set, whose labels count: such folders are days, places, people or jobs.
    Masks state no label, and have their folder's name in both cases, as has a lone label that says
    nothing.

    Args:
        folder: Folder that holds the others, for notes.
        found: Folder → what was read from it, at least one example.
        reading: Collector of notes and faults.

    Returns:
        Class → examples, in the order of the folders.
    """
    known = {class_key(inside.name) for inside in found}
    stated = [inside for inside, read in found.items() if read.names_classes]
    are_classes = any(class_key(one.name) in found[one].examples for one in stated)
    if not are_classes:
        _note_parts(folder, stated, reading)
    classes: dict[str, list[Example]] = {}
    for inside, read in found.items():
        if not read.names_classes:
            name = class_of(inside) if len(found) == 1 else class_key(inside.name)
            (examples,) = read.examples.values()
            extend(classes, {name: examples})
        elif not are_classes:
            extend(classes, read.examples)
        else:
            with reading.each():
                extend(classes, _of_class_folder(inside, read.examples, known, reading))
    return classes


def extend(
    classes: dict[str, list[Example]], more: Mapping[str, Iterable[Example]]
) -> dict[str, list[Example]]:
    """Add examples to those of the same classes, and return these."""
    for name, examples in more.items():
        classes.setdefault(name, []).extend(examples)
    return classes


def told_parts(folders: Iterable[Path]) -> str:
    """Return the sentence on folders that might have been taken for classes."""
    names = [f"{one.name}/" for one in folders]
    verb = "are read as parts" if len(names) > 1 else "is read as a part"
    what = "classes" if len(names) > 1 else "a class"
    return f"{', '.join(names)} {verb} of one data set, not as {what}"


def _note_parts(folder: Path, parts: list[Path], reading: Reading) -> None:
    """Note parts, but for a single one such as ``images/`` that nobody takes for a class."""
    if len(parts) > 1 or any(class_of(part) != UNNAMED for part in parts):
        reading.note(folder, told_parts(parts))


def _of_class_folder(
    folder: Path, labels: dict[str, list[Example]], known: set[str], reading: Reading
) -> dict[str, list[Example]]:
    """Return the labels of a class folder that are classes; another label alone has its name.

    Other objects in its pictures are left out only with a note: they are taught as background.
    """
    name = class_key(folder.name)
    kept = {label: labels[label] for label in labels if label in known}
    left_out = {label: one for label, one in labels.items() if label not in kept}
    if name in kept:
        if left_out:
            counts = (f"{one!r} ({counted(len(left_out[one]), 'picture')})" for one in left_out)
            reading.note(folder, f"left out: {', '.join(counts)}")
        return kept
    if not left_out:
        told = ", ".join(map(repr, kept))
        reading.note(folder, f"holds no {name!r}: its labels are called like other folders: {told}")
        return kept
    if len(labels) > 1:
        names = ", ".join(labels)
        raise FcpError(
            f"{folder}: which of its classes is meant? Call the folder like one: {names}"
        )
    (label,) = labels
    reading.note(folder, f"its label {label!r} is called {name!r}, after the folder")
    return {name: labels[label]}
