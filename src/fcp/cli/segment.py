"""``fcp segment``: examples and photos → masks, a report, and files for other tools."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

import typer
from rich.progress import TaskID

from fcp.cli.options import (
    DEFAULT_MODEL,
    DeviceOption,
    FusionOption,
    ModelOption,
    ThreadsOption,
    settle_model,
)
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
    FramesOption,
    InstancesOption,
    MemoryOption,
    MinAreaOption,
    MinScoreOption,
    MoreArgument,
    NegativeOption,
    OutOption,
    OverlayVideoOption,
    OverwriteOption,
    QueryOption,
    RecursiveOption,
    ResumeOption,
    SupportOption,
    ThresholdOption,
    TileOption,
)
from fcp.errors import FcpError
from fcp.labelling.output import REPORT_FILE
from fcp.labelling.photo_results import PictureResult
from fcp.labelling.queries import FAILURES, describe, printable
from fcp.labelling.results import ExampleResult, Results
from fcp.labelling.run import Labelled, Watcher, label_folder
from fcp.labelling.start import Request, Start
from fcp.labelling.task import Task, Tile
from fcp.system.files import is_video
from fcp.system.words import counted

if TYPE_CHECKING:
    from fcp.formats.examples import Example
    from fcp.formats.reading import Reading
    from fcp.formats.writer import Writer


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
    frames: FramesOption = False,
    memory: MemoryOption = 0,
    overlay_video: OverlayVideoOption = False,
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

    Writes masks/NAME.png at the size of the photo (0 and 255; with several classes a label map,
    whose values masks/classes.txt names), overlays/NAME.jpg, results.json (for each photo: score,
    presence and area of each class; seconds, error) and report.html, which shows all results.
    Subfolders of --query are searched, and results keep their paths. Each frame of a video is a
    photo, with a label map Annotations/CLIP/00000.png in DAVIS's layout. A photo that cannot be
    read is reported and the others are segmented; the exit status is then 1. A warning names
    examples that do not fit the others of their class. Only files of an earlier run are ever
    overwritten.

    \b
    Examples:
      fcp segment --support examples --query photos --out found
      fcp segment --support examples --query a.jpg b.png --out found --device cuda
      fcp segment --support coco.json --class zebra --query photos --out found --resume
      fcp segment --support labelme --query photos --out found --format coco --format yolo
      fcp segment --support examples --query clip.mp4 --out found --overlay-video
    """  # noqa: D301  (\b keeps the lines)
    decoding, every_page = read_decoding(values, bands, pages)
    reading, side = new_reading(drawn_on, decoding.page, skip_bad=skip_bad), _read_tile(tile)
    shown, cut = _read_all(support, negative, class_name, reading), (threshold, min_area, min_score)
    task = Task(*shown, fusion, side, instances, *cut, appearance.value, decoding, every_page)
    task, model = replace(task, frames=frames, memory=memory), settle_model(model, device)
    paths, rest = [*query, *(more or [])], (recursive, resume, overwrite, overlay_video)
    kinds, masks = _kinds(formats, paths, frames=frames), _masks_in(support, negative)
    _run(Request(paths, out, task, model, kinds, *rest, masks), device, threads, batch_size)


def _kinds(
    formats: Sequence[FormatName] | None, paths: Sequence[Path], *, frames: bool
) -> list[type[Writer]]:
    """Return the writer classes of the formats, each once; films get DAVIS's too."""
    from fcp.formats import FORMATS

    has_films = frames or any(map(is_video, paths))
    wanted = [*(formats or []), *([FormatName.DAVIS] if has_films else [])]
    return [FORMATS[name] for name in dict.fromkeys(wanted)]


def _masks_in(support: Path, negative: Path | None) -> set[Path]:
    """Return all masks among the examples, also those that are not used: they are no photos."""
    from fcp.formats.contents import masks_in

    return set[Path]().union(*(masks_in(path) for path in (support, negative) if path is not None))


def _read_tile(text: str) -> Tile:
    """Parse ``--tile``: a number of px, "auto", or "off" for whole photos.

    Raises:
        FcpError: the text is none of these.
    """
    if text in ("auto", "off"):
        return "auto" if text == "auto" else None
    if not text.isdecimal() or int(text) < 1:
        raise FcpError(f"--tile: expected a side in px, auto or off, got {text!r}")
    return int(text)


def _read_all(
    support: Path, negative: Path | None, class_name: str | None, reading: Reading
) -> tuple[dict[str, list[Example]], list[Example]]:
    """Read all examples, and print the notes about them."""
    from fcp.formats.read import read_examples

    classes = read_examples(support, class_name, reading)
    against = read_examples(negative, None, reading) if negative is not None else {}
    for text, files in reading.files_by_note().items():
        more = f" (and of {len(files) - 1} more)" if len(files) > 1 else ""
        typer.secho(f"{files[0]}{more}: {text}", fg="yellow", err=True)
    return classes, [example for examples in against.values() for example in examples]


def _run(request: Request, device: str, threads: int | None, batch_size: int) -> None:
    with _Terminal() as terminal:
        done = label_folder(
            request, device=device, threads=threads, batch_size=batch_size, watcher=terminal
        )
    _report(done)


def _warn_of_large(start: Start) -> None:
    """Warn of photos that take much memory, before the first photo is read."""
    from fcp.data.photos import bytes_held_whole

    # Of all pages of a file its header is read once.
    pictures = dict.fromkeys(job.picture for job in start.waiting)
    held = {picture: bytes_held_whole(picture) for picture in pictures}
    first = max(held, key=lambda photo: held[photo], default=None)
    if first is None or not held[first]:
        return
    count = sum(map(bool, held.values())) - 1
    more = f" (and of {count} more)" if count else ""
    message = (
        f"{printable(first)}{more}: large, and of a kind that is decoded as a whole, which "
        f"takes up to {held[first] / 1e9:.1f} GB of memory; a JPEG, or a PNG of 8 bits without "
        "interlacing, takes next to none"
    )
    typer.secho(message, fg="yellow", err=True)


class _Terminal(Watcher):
    """Messages on the terminal, and a progress bar while photos are segmented."""

    def __init__(self) -> None:
        self._bar, self._shown = progress_bar("photo"), ExitStack()
        self._task, self._left = TaskID(0), 0
        self._changed: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._shown.close()

    def started(self, start: Start) -> None:
        """Report large photos and changed names."""
        self._left, self._changed = len(start.waiting), start.changed
        _warn_of_large(start)
        if start.stale:
            message = (
                f"{', '.join(start.stale)}: of the earlier run, and left as they are; to renew "
                "them, ask again for what made them (--format, --overlay-video)"
            )
            typer.secho(message, fg="yellow", err=True)
        for photo, name in ((str(job.picture), job.name) for job in start.jobs):
            if photo in start.results.renamed:
                message = f"{printable(photo)}: its results are called {name}"
                typer.secho(message, fg="yellow", err=True)

    def learnt(self, results: Results) -> None:
        """Report changed settings and how classes are decided, warn of odd examples, show the bar.

        The results of the earlier run are removed only now, so that this is reported now as well.
        """
        if self._changed:
            typer.echo(
                f"changed since the earlier run: {', '.join(self._changed)}; its results are "
                "removed and all photos are segmented again",
                err=True,
            )
        for name, decided in results.appearance.items():
            if decided.by_appearance:
                typer.echo(f"{name}: {decided.sentence}", err=True)
        for name, judged in results.examples.items():
            for odd in (example for example in judged if example.is_odd):
                typer.secho(_warning(name, odd), fg="yellow", err=True)
        if results.uncalibrated is not None:
            typer.echo(results.uncalibrated, err=True)
        self._shown.enter_context(self._bar)
        self._task = self._bar.add_task("segmenting", total=self._left)

    def segmented(self, records: Sequence[PictureResult]) -> None:
        """Report errors and notes; remove the bar after the last photo."""
        show = self._bar.console.print
        for error in filter(None, (record.error for record in records)):
            show(printable(error), style="red", markup=False, soft_wrap=True)
        for note in (f"{record.title}: {note}" for record in records for note in record.notes):
            show(printable(note), style="yellow", markup=False, soft_wrap=True)
        self._bar.advance(self._task, len(records))
        self._left -= len(records)
        if self._left == 0:
            self._shown.close()


def _warning(name: str, odd: ExampleResult) -> str:
    if odd.is_inverted:
        return (
            f"{odd.file}: is its mask inverted? It covers more than half of the picture, and the "
            f"other examples of {name} match the rest of it"
        )
    likely = f", and a presence of {odd.presence:.0%}" if odd.presence is not None else ""
    return (
        f"{odd.file}: is its mask correct, and is it the same class? The other examples of {name} "
        f"find it with an IoU of {odd.iou:.2f}{likely}"
    )


def _report(done: Labelled) -> None:
    results = done.results
    parts = [counted(done.photos, "photo")]
    parts += [f"{done.done_before} done before"] if done.done_before else []
    parts += [f"{done.by_hand} corrected by hand"] if done.by_hand else []
    parts += [f"{done.failed} failed"] if done.failed else []
    left_out = describe(results.left_out)
    not_used = f"; not used: {left_out}" if left_out else ""
    report = printable(results.path.with_name(REPORT_FILE))
    typer.echo(f"{', '.join(parts)}{not_used}: {printable(results.path)}; look at {report}")
    if done.failed or FAILURES & results.left_out.keys():
        raise typer.Exit(1)
