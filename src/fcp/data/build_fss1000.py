"""The FSS-1000 download → ``FSS-1000/CLASS/N.jpg`` with ``N.png``, and the split of the classes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from fcp.data.archives import Built, Progress, has_size, require_space, store, walk
from fcp.data.fss1000 import FOLDER, PARTS, default_split, read_split
from fcp.errors import FcpError

PICTURES = 10  # of each class


def build_fss1000(
    source: Path,
    out: Path,
    *,
    splits: Path | None,
    say: Callable[[str], None],
    progress: Progress,
) -> Built:
    """Build the data set, or continue an interrupted build.

    Args:
        source: Zip file of the download, or its unpacked folder; folders around the classes do not
            matter.
        out: Data root; ``FSS-1000/`` is made in it.
        splits: Folder with trn.txt, val.txt and test.txt, one class a line; None for the published
            test classes and ``default_split``.
        say: Function that takes the line on disk space before anything is written.
        progress: Function that is called after each file.

    Raises:
        FcpError: the download is missing, broken or of another data set; split files name other
            classes; the disk is full. What was written stays, and the next run continues after it.
    """
    sizes = {m.path: m.size for m in walk(source) if _is_part(m.path)}
    classes = _classes(sizes)
    # A photo without mask, or a mask without photo, is not used; it is reported at the end.
    sizes = {
        path: size
        for path, size in sizes.items()
        if all(path.stem in s for s in classes[path.parent.name])
    }
    paired = {path.parent.name for path in sizes}
    if not paired:
        raise FcpError(f"{source}: no CLASS/1.jpg with CLASS/1.png in it; not FSS-1000")
    split = default_split(paired) if splits is None else read_split(splits, paired)
    folder = out / FOLDER
    missing = [size for path, size in sizes.items() if not has_size(_target(folder, path), size)]
    say(require_space(out, sum(missing)))
    done = 0
    for member in walk(source):
        if member.path in sizes:
            target = _target(folder, member.path)
            if not has_size(target, member.size):
                store(target, member.read)
            done += 1
            progress("pictures and masks", done, len(sizes))
    for part in PARTS:
        text = "".join(f"{name}\n" for name in split[part])
        store(folder / "splits" / f"{part}.txt", text.encode)
    whole = {name: len(photos & masks) for name, (photos, masks) in classes.items()}
    problems = _problems(classes)
    if not split["test"]:
        problems.append("none of the test classes of FSS-1000 is here; give others by --splits DIR")
    return Built(sum(whole.values()), tuple(problems))


def _classes(sizes: dict[PurePosixPath, int]) -> dict[str, tuple[set[str], set[str]]]:
    """Return class → the stems of its photos and of its masks."""
    classes: dict[str, tuple[set[str], set[str]]] = defaultdict(lambda: (set(), set()))
    for path in sizes:
        classes[path.parent.name][path.suffix.lower() == ".png"].add(path.stem)
    return dict(sorted(classes.items()))


def _problems(classes: dict[str, tuple[set[str], set[str]]]) -> list[str]:
    problems = []
    for name, (photos, masks) in classes.items():
        problems += [f"{name}/{stem}.png: no such mask" for stem in sorted(photos - masks)]
        problems += [f"{name}/{stem}.jpg: no such picture" for stem in sorted(masks - photos)]
        if len(photos & masks) < PICTURES and photos == masks:
            problems.append(f"{name}: {len(photos)} pictures, expected {PICTURES}")
    return problems


def _is_part(path: PurePosixPath) -> bool:
    return path.suffix.lower() in {".jpg", ".png"} and path.parent.name != ""


def _target(folder: Path, path: PurePosixPath) -> Path:
    return folder / path.parent.name / f"{path.stem}{path.suffix.lower()}"
