"""``fcp segment``: examples of one class or several, photos → masks, a page, tools' files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fcp.cli.options import DEFAULT_MODEL, DeviceOption, FusionOption, ModelOption, ThreadsOption
from fcp.cli.progress import progress_bar
from fcp.errors import FcpError
from fcp.files import sha256_of
from fcp.labelling.photos import (
    Job,
    Task,
    Tile,
    decisions_of,
    fit_task,
    pairs_of,
    photo_hash,
    segment_photos,
)
from fcp.labelling.results import DecisionResult, ExampleResult, Results, remove_leftovers

if TYPE_CHECKING:
    import numpy as np

    from fcp.data.prompts import Points
    from fcp.formats.examples import Example
    from fcp.formats.writer import Writer
    from fcp.segmenter import FewShotSegmenter

_FOLDERS = ("masks", "overlays", "labels", "labelme", "yolo", "yolo/labels")


class FormatName(StrEnum):
    """Keys of ``formats.FORMATS``, which would take half a second to import for ``--help``."""

    PNG = "png"
    COCO = "coco"
    YOLO = "yolo"
    LABELME = "labelme"
    LABEL_STUDIO = "label-studio"
    CVAT = "cvat"


class AppearanceName(StrEnum):
    """Values of ``Appearances``."""

    AUTO = "auto"
    OFF = "off"


SupportOption = Annotated[
    Path,
    typer.Option(
        help="Examples: a folder of pictures and masks, one such folder a class, or the files of "
        "COCO, LabelMe or YOLO.",
        metavar="DIR",
    ),
]
QueryOption = Annotated[
    list[Path], typer.Option(help="The photos: a folder, or files.", metavar="DIR|FILES…")
]
# A shell turns `--query *.jpg` into one value and many arguments.
MoreArgument = Annotated[list[Path] | None, typer.Argument(metavar="FILE", hidden=True)]
OutOption = Annotated[
    Path, typer.Option(help="Where masks/, results.json, report.html … go.", metavar="DIR")
]
NegativeOption = Annotated[
    Path | None,
    typer.Option(help="Examples of what is none of the classes, laid out alike.", metavar="DIR"),
]
ClassOption = Annotated[
    str | None,
    typer.Option("--class", help="Look for this class alone; or the examples' name."),
]
FormatOption = Annotated[
    list[FormatName] | None,
    typer.Option("--format", help="Files for other tools too; may be repeated (docs/formats.md)."),
]
TileOption = Annotated[
    str,
    typer.Option(
        help="Cut photos into overlapping tiles of this side, for small things; auto chooses by "
        "the size of the things in the examples.",
        metavar="PX|auto|off",
    ),
]
InstancesOption = Annotated[
    bool, typer.Option("--instances", help="Split each class into its objects.")
]
AppearanceOption = Annotated[
    AppearanceName,
    typer.Option(
        help="Learn what the classes look like, pixel by pixel, and let that decide where the "
        "examples say that it is better (docs/appearance.md)."
    ),
]
ThresholdOption = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        help="Draw nothing of a class that is less likely than this to be in the photo; 0 always "
        "draws. Without it the model's own threshold holds (docs/presence.md).",
        metavar="P",
    ),
]
BatchOption = Annotated[int, typer.Option(min=1, help="Photos at a time; more helps on a GPU.")]
ResumeOption = Annotated[
    bool, typer.Option("--resume", help="Skip what an earlier run has finished.")
]


def segment(
    *,
    support: SupportOption,
    query: QueryOption,
    more: MoreArgument = None,
    out: OutOption,
    negative: NegativeOption = None,
    class_name: ClassOption = None,
    formats: FormatOption = None,
    model: ModelOption = DEFAULT_MODEL,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    fusion: FusionOption = "pooled",
    tile: TileOption = "auto",
    instances: InstancesOption = False,
    appearance: AppearanceOption = AppearanceName.AUTO,
    threshold: ThresholdOption = None,
    batch_size: BatchOption = 1,
    resume: ResumeOption = False,
) -> None:
    """Segment photos by the examples in a folder.

    Writes masks/STEM.png at the photo's own size (0 or 255; of several classes a label map, whose
    values masks/classes.txt names), overlays/STEM.jpg, results.json (for each photo and class:
    score, presence, area; seconds, error) and report.html, which shows it all. A photo that cannot
    be read is reported and the rest goes on; the exit status is 1 then. Examples that are badly
    found from the others of their class are named.

    \b
    Examples:
      fcp segment --support examples --query photos --out found
      fcp segment --support examples --query a.jpg b.png --out found --device cuda
      fcp segment --support coco.json --class zebra --query photos --out found --resume
      fcp segment --support labelme --query photos --out found --format coco --format yolo
    """  # noqa: D301  (\b keeps the lines)
    examples = _read_all_examples(support, negative, class_name)
    task = Task(*examples, fusion, _read_tile(tile), instances, threshold, appearance.value)
    jobs = _list_jobs([*query, *(more or [])])
    _prepare_folders(out)
    with ExitStack() as stack:
        writers = [stack.enter_context(writer) for writer in _writers(formats, out, task)]
        # Here and not above: torch takes seconds to load, and wrong paths are told before that.
        from fcp.segmenter import FewShotSegmenter
        from fcp.threads import set_threads

        results = Results(out, model=model, fingerprint=_fingerprint(model, task))
        waiting = _left_to_do(jobs, results) if resume else jobs
        results.save()
        if waiting:
            segmenter = FewShotSegmenter.from_pretrained(model, device=device, fusion=fusion)
            set_threads(threads)
            results.appearance = _fit(segmenter, task)
            results.examples = _check_examples(segmenter, task)
        with _resumable():
            if waiting:
                _run(segmenter, task, waiting, results, batch_size)
            _export(jobs, results, task, writers)
    _report(len(jobs), len(waiting), results)


def _read_tile(text: str) -> Tile:
    """Read ``--tile``: a number of px, "auto", or "off" for whole photos.

    Raises:
        FcpError: none of these.
    """
    if text in ("auto", "off"):
        return "auto" if text == "auto" else None
    if not text.isdecimal() or int(text) < 1:
        raise FcpError(f"--tile: expected a side in px, auto or off, got {text!r}")
    return int(text)


def _read_all_examples(
    support: Path, negative: Path | None, class_name: str | None
) -> tuple[dict[str, list[Example]], list[Example]]:
    from fcp.formats.read import read_examples

    classes = read_examples(support, class_name)
    against = read_examples(negative) if negative is not None else {}
    return classes, [example for examples in against.values() for example in examples]


def _list_jobs(paths: Sequence[Path]) -> list[Job]:
    from fcp.data.folder import list_pictures, unique_stems

    pictures = list_pictures(paths)
    return [Job(*item) for item in zip(pictures, unique_stems(pictures), strict=True)]


@contextmanager
def _resumable() -> Iterator[None]:
    try:
        yield
    except FcpError as error:
        remedy = "what is finished is kept: put that right and go on with --resume"
        raise FcpError(f"{error}; {remedy}") from error


def _writers(formats: Sequence[FormatName] | None, out: Path, task: Task) -> list[Writer]:
    """Open the writers of other tools' files, and name the values of label maps."""
    from fcp.formats import FORMATS
    from fcp.formats.label_maps import write_class_list

    if len(task.names) > 1:
        write_class_list(out / "masks", task.names)
    return [FORMATS[name](out, task.names) for name in dict.fromkeys(formats or [])]


def _check_examples(segmenter: FewShotSegmenter, task: Task) -> dict[str, list[ExampleResult]]:
    """Judge each example by the others of its class, and warn of the odd ones."""
    judged = segmenter.check_examples(
        {n: pairs_of(shown) for n, shown in task.classes.items()}, tile=task.tile
    )
    found = {
        name: [
            ExampleResult(
                str(example.picture), round(one.iou, 4), one.is_odd, _rounded(one.presence)
            )
            for example, one in zip(task.classes[name], qualities, strict=True)
        ]
        for name, qualities in judged.items()
    }
    for name, examples in found.items():
        for odd in (example for example in examples if example.is_odd):
            typer.secho(_warning(name, odd), fg="yellow", err=True)
    return found


def _fit(segmenter: FewShotSegmenter, task: Task) -> dict[str, DecisionResult]:
    """Encode the examples, and tell about which classes their appearance decides."""
    fit_task(segmenter, task)
    decisions = decisions_of(segmenter)
    for name, decided in decisions.items():
        if decided.by_appearance:
            typer.echo(f"{name}: {decided.sentence}", err=True)
    return decisions


def _run(
    segmenter: FewShotSegmenter, task: Task, jobs: Sequence[Job], results: Results, batch_size: int
) -> None:
    with progress_bar("photo") as bar:
        task_of_bar = bar.add_task("segmenting", total=len(jobs))
        for records in segment_photos(segmenter, task, jobs, results, batch_size):
            for error in filter(None, (record.error for record in records)):
                bar.console.print(error, style="red", markup=False, soft_wrap=True)
            bar.advance(task_of_bar, len(records))


def _rounded(presence: float | None) -> float | None:
    return None if presence is None else round(presence, 4)


def _warning(name: str, odd: ExampleResult) -> str:
    likely = f", and take it for {name} at {odd.presence:.0%}" if odd.presence is not None else ""
    return (
        f"{odd.file}: is its mask right, and the same kind of thing? The other examples of {name} "
        f"find it with an IoU of {odd.iou:.2f}{likely}"
    )


def _export(jobs: Sequence[Job], results: Results, task: Task, writers: Sequence[Writer]) -> None:
    from fcp.labelling.export import export

    examples = ", ".join(f"{len(of_class)} of {name}" for name, of_class in task.classes.items())
    now = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M")
    facts = {"model": results.model, "examples": examples, "date": now}
    facts |= {f"{name} is": decided.sentence for name, decided in results.appearance.items()}
    records = [results.pictures[str(job.picture)] for job in jobs]
    export(records, results.path.parent, task.names, writers=writers, facts=facts)


def _prepare_folders(out: Path) -> None:
    try:
        for name in ("masks", "overlays"):
            (out / name).mkdir(parents=True, exist_ok=True)
        for folder in (out, *(out / name for name in _FOLDERS)):
            if folder.is_dir():
                remove_leftovers(folder)
    except OSError as error:
        message = f"{out}: cannot be written ({error.strerror}); choose another --out"
        raise FcpError(message) from error


def _fingerprint(model: str, task: Task) -> str:
    """Hash what decides the results: the model's files, the examples and how they are used."""
    from fcp.loading import find_model, model_fingerprint

    how = (task.names, task.fusion, task.tile, task.instances, task.threshold, task.appearance)
    digest = hashlib.sha256(f"{how!r} {model_fingerprint(find_model(model))}".encode())
    for name, examples in (*task.classes.items(), ("", task.negatives)):
        digest.update(name.encode())
        for example in examples:
            digest.update(_hash_of(example.picture) + _hash_of(example.annotation))
    return digest.hexdigest()


def _hash_of(part: Path | np.ndarray | Points) -> bytes:
    """Return what tells a picture, a mask or points from any other."""
    from fcp.data.prompts import Points

    if isinstance(part, Path):
        return sha256_of(part).encode()
    if isinstance(part, Points):
        return repr(part).encode()
    return repr(part.shape).encode() + part.tobytes()


def _left_to_do(jobs: Sequence[Job], results: Results) -> list[Job]:
    """Take over what an earlier run finished; return the rest."""
    earlier = results.read_earlier()
    if earlier is None:
        typer.echo(
            "the model, the examples or their use have changed: all photos are done again",
            err=True,
        )
        return list(jobs)
    waiting = []
    for job in jobs:
        record = earlier.get(str(job.picture))
        if record is None or record.mask != job.mask or record.sha256 != photo_hash(job.picture):
            waiting.append(job)
        else:
            results.pictures[record.file] = record
    return waiting


def _report(pictures: int, attempted: int, results: Results) -> None:
    failed = results.failed()
    skipped = f", {pictures - attempted} done before" if attempted < pictures else ""
    trouble = f", {failed} failed" if failed else ""
    noun = "photo" if pictures == 1 else "photos"
    typer.echo(f"{pictures} {noun}{skipped}{trouble}: {results.path}")
    if failed:
        raise typer.Exit(1)
