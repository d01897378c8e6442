"""``fcp segment``: examples of one class or several, photos → masks, a page, tools' files."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from fcp.cli.options import DEFAULT_MODEL, DeviceOption, FusionOption, ModelOption, ThreadsOption
from fcp.cli.progress import progress_bar
from fcp.cli.reading_options import (
    BandsOption,
    DrawnOn,
    DrawnOnOption,
    PagesOption,
    RangeOption,
    SkipBadOption,
    new_reading,
    read_decoding,
)
from fcp.cli.segment_options import (
    AppearanceName,
    AppearanceOption,
    BatchOption,
    ClassOption,
    FormatName,
    FormatOption,
    InstancesOption,
    MinAreaOption,
    MinScoreOption,
    MoreArgument,
    NegativeOption,
    OutOption,
    OverwriteOption,
    QueryOption,
    RecursiveOption,
    ResumeOption,
    SupportOption,
    ThresholdOption,
    TileOption,
)
from fcp.errors import FcpError
from fcp.labelling.output import REPORT_FILE, finish
from fcp.labelling.photos import (
    Job,
    Task,
    Tile,
    decisions_of,
    fit_task,
    pairs_of,
    segment_photos,
    used_settings,
)
from fcp.labelling.queries import FAILURES, describe, printable
from fcp.labelling.results import DecisionResult, ExampleResult, Results
from fcp.labelling.start import Request, Start, start_run

if TYPE_CHECKING:
    from fcp.formats.examples import Example
    from fcp.formats.reading import Reading
    from fcp.formats.writer import Writer
    from fcp.segmenter import FewShotSegmenter


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
    min_area: MinAreaOption = None,
    min_score: MinScoreOption = None,
    skip_bad: SkipBadOption = False,
    values: RangeOption = "auto",
    bands: BandsOption = None,
    pages: PagesOption = "largest",
    drawn_on: DrawnOnOption = DrawnOn.UPRIGHT,
    batch_size: BatchOption = 1,
    recursive: RecursiveOption = True,
    resume: ResumeOption = False,
    overwrite: OverwriteOption = False,
) -> None:
    """Segment photos by the examples in a folder.

    Writes masks/NAME.png at the photo's own size (0 or 255; of several classes a label map, whose
    values masks/classes.txt names), overlays/NAME.jpg, results.json (for each photo and class:
    score, presence, area; seconds, error) and report.html, which shows it all. Folders in --query
    are looked into, and results lie in folders alike. A photo that cannot be read is reported and
    the rest goes on; the exit status is 1 then. Examples that are badly found from the others of
    their class are named. No file that is not of an earlier run is ever overwritten.

    \b
    Examples:
      fcp segment --support examples --query photos --out found
      fcp segment --support examples --query a.jpg b.png --out found --device cuda
      fcp segment --support coco.json --class zebra --query photos --out found --resume
      fcp segment --support labelme --query photos --out found --format coco --format yolo
    """  # noqa: D301  (\b keeps the lines)
    decoding, every_page = read_decoding(values, bands, pages)
    reading = new_reading(drawn_on, skip_bad=skip_bad)
    examples = _read_all_examples(support, negative, class_name, reading)
    side, cut = _read_tile(tile), (threshold, min_area, min_score)
    task = Task(*examples, fusion, side, instances, *cut, appearance.value, decoding, every_page)
    paths, kinds = [*query, *(more or [])], _kinds(formats)
    request = Request(
        paths, out, task, model, kinds, recursive=recursive, resume=resume, overwrite=overwrite
    )
    _carry_out(request, device, threads, batch_size)


def _carry_out(request: Request, device: str, threads: int | None, batch_size: int) -> None:
    start = start_run(request)
    _tell(start)
    with ExitStack() as stack:
        writers = [stack.enter_context(writer) for writer in _writers(request)]
        with _resumable():
            if start.waiting:
                segmenter = _load(request, start.results, device, threads)
                _segment(segmenter, request.task, start, batch_size)
            with _timed(start.results, "files"):
                _export(start, request.task, writers)
    finish(start.results)
    _report(start)


def _kinds(formats: Sequence[FormatName] | None) -> list[type[Writer]]:
    """Return the writers of the formats, each once."""
    from fcp.formats import FORMATS

    return [FORMATS[name] for name in dict.fromkeys(formats or [])]


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
    support: Path, negative: Path | None, class_name: str | None, reading: Reading
) -> tuple[dict[str, list[Example]], list[Example]]:
    """Read all examples, and say what a person should know about them."""
    from fcp.formats.read import read_examples

    classes = read_examples(support, class_name, reading)
    against = read_examples(negative, None, reading) if negative is not None else {}
    for text, files in reading.files_by_note().items():
        more = f" (and of {len(files) - 1} more)" if len(files) > 1 else ""
        typer.secho(f"{files[0]}{more}: {text}", fg="yellow", err=True)
    return classes, [example for examples in against.values() for example in examples]


def _tell(start: Start) -> None:
    """Say what is done otherwise than one would expect, and what takes much memory."""
    from fcp.data.photos import bytes_held_whole

    held = {job.picture: bytes_held_whole(job.picture) for job in start.waiting}
    first = max(held, key=lambda photo: held[photo], default=None)
    if first is not None and held[first]:
        count = sum(map(bool, held.values())) - 1
        more = f" (and of {count} more)" if count else ""
        message = (
            f"{printable(first)}{more}: large, and of a kind that is decoded as a whole, which "
            f"takes up to {held[first] / 1e9:.1f} GB of memory; a JPEG, or a PNG of 8 bits without "
            "interlacing, takes next to none"
        )
        typer.secho(message, fg="yellow", err=True)
    if start.changed:
        typer.echo(
            f"{', '.join(start.changed)} have changed since the earlier run: its results are "
            "removed, all photos are done again",
            err=True,
        )
    for photo, name in ((str(job.picture), job.name) for job in start.jobs):
        if photo in start.results.renamed:
            message = f"{printable(photo)}: its results are called {name}"
            typer.secho(message, fg="yellow", err=True)


@contextmanager
def _resumable() -> Iterator[None]:
    try:
        yield
    except FcpError as error:
        remedy = "what is finished is kept: put that right and go on with --resume"
        raise FcpError(f"{error}; {remedy}") from error


@contextmanager
def _timed(results: Results, step: str) -> Iterator[None]:
    """Add the time that a step takes to that of earlier runs."""
    started = time.perf_counter()
    yield
    seconds = results.seconds.get(step, 0) + time.perf_counter() - started
    results.seconds[step] = round(seconds, 3)


def _writers(request: Request) -> list[Writer]:
    """Open the writers of other tools' files, and name the values of label maps."""
    from fcp.formats.label_maps import write_class_list

    names = request.task.names
    if len(names) > 1:
        write_class_list(request.out / "masks", names)
    return [kind(request.out, names) for kind in request.writers]


def _load(request: Request, results: Results, device: str, threads: int | None) -> FewShotSegmenter:
    # Here and not above: torch takes seconds to load, and wrong paths are told before that.
    from fcp.segmenter import FewShotSegmenter
    from fcp.threads import set_threads

    with _timed(results, "model"):
        model, fusion = request.model, request.task.fusion
        segmenter = FewShotSegmenter.from_pretrained(model, device=device, fusion=fusion)
        set_threads(threads)
    return segmenter


def _segment(segmenter: FewShotSegmenter, task: Task, start: Start, batch_size: int) -> None:
    """Show the model the examples, and do the photos that are left."""
    results = start.results
    with _timed(results, "examples"):
        results.appearance = _fit(segmenter, task)
        results.examples = _check_examples(segmenter, task)
    results.used = used_settings(segmenter, task)
    with _timed(results, "photos"):
        _run(segmenter, task, start.waiting, results, batch_size)


def _check_examples(segmenter: FewShotSegmenter, task: Task) -> dict[str, list[ExampleResult]]:
    """Judge each example by the others of its class, and warn of the odd ones."""
    judged = segmenter.check_examples(
        {n: pairs_of(shown, task.decoding) for n, shown in task.classes.items()}, tile=task.tile
    )
    found = {
        name: [
            ExampleResult(
                str(example.picture),
                round(one.iou, 4),
                one.is_odd,
                _rounded(one.presence),
                one.is_inverted,
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
                bar.console.print(printable(error), style="red", markup=False, soft_wrap=True)
            for note in (f"{record.title}: {note}" for record in records for note in record.notes):
                bar.console.print(printable(note), style="yellow", markup=False, soft_wrap=True)
            bar.advance(task_of_bar, len(records))


def _rounded(presence: float | None) -> float | None:
    return None if presence is None else round(presence, 4)


def _title(odd: ExampleResult) -> str:
    return f"{odd.file} (inverted?)" if odd.is_inverted else odd.file


def _warning(name: str, odd: ExampleResult) -> str:
    if odd.is_inverted:
        return (
            f"{odd.file}: is its mask inverted? It covers over half of the picture, and the other "
            f"examples of {name} find what it leaves out"
        )
    likely = f", and take it for {name} at {odd.presence:.0%}" if odd.presence is not None else ""
    return (
        f"{odd.file}: is its mask right, and the same kind of thing? The other examples of {name} "
        f"find it with an IoU of {odd.iou:.2f}{likely}"
    )


def _export(start: Start, task: Task, writers: Sequence[Writer]) -> None:
    from fcp.labelling.export import export

    results = start.results
    examples = ", ".join(f"{len(of_class)} of {name}" for name, of_class in task.classes.items())
    date = datetime.fromisoformat(results.date).strftime("%Y-%m-%d %H:%M")
    facts = {"model": results.model, "examples": examples, "date": date}
    facts |= {
        f"look again at ({name})": ", ".join(odd)
        for name, judged in results.examples.items()
        if (odd := [_title(one) for one in judged if one.is_odd])
    }
    facts |= {f"{name} is": decided.sentence for name, decided in results.appearance.items()}
    results.put_in_order(job.source for job in start.jobs)
    records = list(results.pictures.values())
    export(records, results.path.parent, task, writers=writers, facts=facts)


def _report(start: Start) -> None:
    results, photos = start.results, len(start.jobs)
    failed, before = results.failed(), photos - len(start.waiting)
    by_hand = sum(record.by_hand for record in results.pictures.values())
    parts = [f"{photos} {'photo' if photos == 1 else 'photos'}"]
    parts += [f"{before} done before"] if before else []
    parts += [f"{by_hand} corrected by hand"] if by_hand else []
    parts += [f"{failed} failed"] if failed else []
    left_out = describe(results.left_out)
    not_used = f"; not used: {left_out}" if left_out else ""
    report = printable(results.path.with_name(REPORT_FILE))
    typer.echo(f"{', '.join(parts)}{not_used}: {printable(results.path)}; look at {report}")
    if failed or FAILURES & results.left_out.keys():
        raise typer.Exit(1)
