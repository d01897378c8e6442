"""``fcp segment``: a folder of examples, a folder of photos → masks, overlays and a report."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fcp.cli.options import DeviceOption, FusionOption, ModelOption
from fcp.cli.progress import progress_bar
from fcp.cli.results import PictureResult, Results, remove_leftovers
from fcp.errors import FcpError

if TYPE_CHECKING:
    import numpy as np
    from rich.console import Console

    from fcp.data.folder import SupportPair
    from fcp.prediction import Prediction
    from fcp.segmenter import FewShotSegmenter


@dataclass(frozen=True)
class Job:
    """A picture to segment, and the name of its results without suffix."""

    picture: Path
    name: str

    @property
    def mask(self) -> str:
        """File of the mask, relative to the output folder."""
        return f"masks/{self.name}.png"

    @property
    def overlay(self) -> str:
        """File of the overlay, relative to the output folder."""
        return f"overlays/{self.name}.jpg"


SupportOption = Annotated[
    Path,
    typer.Option(
        help="Examples: NAME.jpg with NAME_mask.png, or images/ and masks/, or a COCO JSON.",
        metavar="DIR",
    ),
]
QueryOption = Annotated[
    list[Path], typer.Option(help="The photos: a folder, or files.", metavar="DIR|FILES…")
]
# A shell turns `--query *.jpg` into one value and many arguments.
MoreArgument = Annotated[list[Path] | None, typer.Argument(metavar="FILE", hidden=True)]
OutOption = Annotated[
    Path, typer.Option(help="Where masks/, overlays/ and results.json go.", metavar="DIR")
]
ClassOption = Annotated[
    str | None, typer.Option("--class", help="Category of the COCO JSON.", metavar="NAME")
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
    model: ModelOption = "tiny",
    device: DeviceOption = "auto",
    fusion: FusionOption = "pooled",
    class_name: ClassOption = None,
    batch_size: BatchOption = 1,
    resume: ResumeOption = False,
) -> None:
    """Segment photos by the examples in a folder.

    Writes masks/STEM.png (0 or 255, at the photo's own size), overlays/STEM.jpg and results.json
    (file, score, area, seconds, error). A photo that cannot be read is reported and the rest goes
    on; the exit status is 1 then.

    \b
    Examples:
      fcp segment --support examples --query photos --out found
      fcp segment --support examples --query a.jpg b.png --out found --device cuda
      fcp segment --support coco.json --class zebra --query photos --out found --resume
    """  # noqa: D301  (\b keeps the lines)
    from fcp.data.folder import list_pictures, read_support_folder, unique_stems

    examples = read_support_folder(support, class_name)
    pictures = list_pictures([*query, *(more or [])])
    jobs = [Job(*item) for item in zip(pictures, unique_stems(pictures), strict=True)]
    _prepare_folders(out)
    # Here and not above: torch takes seconds to load, and a wrong path is told before that.
    from fcp.segmenter import FewShotSegmenter, find_model

    fingerprint = _fingerprint(find_model(model), examples, fusion)
    results = Results(out, model=model, fingerprint=fingerprint)
    waiting = _left_to_do(jobs, results) if resume else jobs
    results.save()
    if waiting:
        segmenter = FewShotSegmenter.from_pretrained(model, device=device, fusion=fusion)
        segmenter.fit([(example.image, example.mask) for example in examples])
        _run(segmenter, waiting, results, batch_size)
    _report(len(jobs), len(waiting), results)


def _prepare_folders(out: Path) -> None:
    try:
        for folder in (out / "masks", out / "overlays"):
            folder.mkdir(parents=True, exist_ok=True)
            remove_leftovers(folder)
        remove_leftovers(out)
    except OSError as error:
        message = f"{out}: cannot be written ({error.strerror}); choose another --out"
        raise FcpError(message) from error


def _fingerprint(model_folder: Path, examples: Sequence[SupportPair], fusion: str) -> str:
    """Hash what decides the results: the model's files, the examples and their fusion."""
    from fcp.checkpoint import CONFIG_FILE, WEIGHTS_FILE
    from fcp.files import sha256_of

    digest = hashlib.sha256(fusion.encode())
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        digest.update(sha256_of(model_folder / name).encode())
    for example in examples:
        digest.update(sha256_of(example.image).encode())
        if isinstance(example.mask, Path):
            digest.update(sha256_of(example.mask).encode())
        else:
            digest.update(example.mask.tobytes())
    return digest.hexdigest()


def _left_to_do(jobs: Sequence[Job], results: Results) -> list[Job]:
    """Take over what an earlier run finished; return the rest."""
    earlier = results.read_earlier()
    if earlier is None:
        typer.echo(
            "the model, the examples or their fusion have changed: all photos are done again",
            err=True,
        )
        return list(jobs)
    waiting = []
    for job in jobs:
        record = earlier.get(str(job.picture))
        if record is None or record.mask != job.mask or record.sha256 != _hash(job.picture):
            waiting.append(job)
        else:
            results.pictures[record.file] = record
    return waiting


def _run(
    segmenter: FewShotSegmenter, jobs: Sequence[Job], results: Results, batch_size: int
) -> None:
    """Segment all jobs. However it ends, the records of what was done are saved."""
    try:
        with progress_bar("photo") as bar, results:
            task = bar.add_task("segmenting", total=len(jobs))
            for start in range(0, len(jobs), batch_size):
                batch = jobs[start : start + batch_size]
                records = _segment_together(segmenter, batch, results.path.parent)
                results.add(records)
                _show_errors(bar.console, records)
                bar.advance(task, len(batch))
    except FcpError as error:
        remedy = "what is finished is kept: put that right and go on with --resume"
        raise FcpError(f"{error}; {remedy}") from error


def _segment_together(
    segmenter: FewShotSegmenter, jobs: Sequence[Job], out: Path
) -> list[PictureResult]:
    """Read, segment and write a batch; a photo that cannot be read fails alone."""
    from fcp.data.images import read_image

    started = time.perf_counter()
    photos: dict[Job, np.ndarray] = {}
    errors: dict[Job, str] = {}
    for job in jobs:
        try:
            photos[job] = read_image(job.picture)
        except FcpError as error:
            errors[job] = str(error)
    predictions = segmenter.predict_batch(photos.values(), batch_size=len(jobs))
    found = dict(zip(photos, predictions, strict=True))
    for job, prediction in found.items():
        _write(job, photos[job], prediction, out)
    seconds = round((time.perf_counter() - started) / len(jobs), 3)
    return [
        _success(job, found[job], seconds) if job in found else _failure(job, errors[job], seconds)
        for job in jobs
    ]


def _write(job: Job, photo: np.ndarray, prediction: Prediction, out: Path) -> None:
    from fcp.files import write_atomically
    from fcp.visualize import encode, overlay

    write_atomically(out / job.mask, encode(prediction.mask, "png"))
    write_atomically(out / job.overlay, encode(overlay(photo, prediction.mask), "jpeg"))


def _show_errors(console: Console, records: Sequence[PictureResult]) -> None:
    for error in filter(None, (record.error for record in records)):
        console.print(error, style="red", markup=False, soft_wrap=True)


def _success(job: Job, found: Prediction, seconds: float) -> PictureResult:
    return PictureResult(
        file=str(job.picture),
        sha256=_hash(job.picture),
        seconds=seconds,
        mask=job.mask,
        overlay=job.overlay,
        score=round(found.score, 4),
        area=round(float(found.mask.mean()), 6),
        area_px=int(found.mask.sum()),
    )


def _failure(job: Job, error: str, seconds: float) -> PictureResult:
    return PictureResult(
        file=str(job.picture), sha256=_hash(job.picture), seconds=seconds, error=error
    )


def _hash(picture: Path) -> str | None:
    from fcp.files import sha256_of

    try:
        return sha256_of(picture)
    except FcpError:
        return None


def _report(pictures: int, attempted: int, results: Results) -> None:
    failed = results.failed()
    skipped = f", {pictures - attempted} done before" if attempted < pictures else ""
    trouble = f", {failed} failed" if failed else ""
    noun = "photo" if pictures == 1 else "photos"
    typer.echo(f"{pictures} {noun}{skipped}{trouble}: {results.path}")
    if failed:
        raise typer.Exit(1)
