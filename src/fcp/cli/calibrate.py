"""``fcp calibrate``: fit the probability that a class is in a photo."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from fcp.cli.options import (
    BenchmarkName,
    DeviceOption,
    needs_extra,
    require_fold,
    settle_model,
)
from fcp.cli.progress import progress_bar
from fcp.errors import FcpError
from fcp.method.names import is_free
from fcp.models.files import PRESENCE_FILE
from fcp.system.words import counted

if TYPE_CHECKING:
    from fcp.evaluation.evaluate import Progress
    from fcp.inference.presence import Presence
    from fcp.inference.segmenter import FewShotSegmenter

ModelOption = Annotated[
    str,
    typer.Option(
        help="Model folder, or a name as in `fcp segment --model`; a name needs --out.",
        metavar="MODEL",
    ),
]
ExamplesOption = Annotated[
    Path | None,
    typer.Option(
        help="20 or more labelled pictures, laid out like --support of fcp segment, "
        "instead of a data set.",
        metavar="DIR",
    ),
]
WithoutOption = Annotated[
    Path | None,
    typer.Option(
        help="Pictures that show none of the classes of --examples; needed if there is only one.",
        metavar="DIR",
    ),
]
OutOption = Annotated[
    Path | None,
    typer.Option(
        help="Folder for the model with its presence.json. Default: the model folder.",
        metavar="DIR",
    ),
]
RootOption = Annotated[
    Path | None,
    typer.Option(
        help="Folder that holds the data sets, such as VOC2012/.",
        envvar="FCP_DATA_ROOT",
        metavar="DIR",
    ),
]
OwnBenchmarkOption = Annotated[
    BenchmarkName | None,
    typer.Option(
        help="Data set; folder: --data-root holds CLASS/images and CLASS/masks. Default: that of "
        "the model's recipe, or pascal5i."
    ),
]
FoldOption = Annotated[
    int | None,
    typer.Option(
        help="Fold whose novel classes were not in the model's training. Default: that of the "
        "model's recipe."
    ),
]
AllOption = Annotated[
    bool,
    typer.Option(
        "--all-classes", help="Set if the model was trained on all classes; no --fold then."
    ),
]
PairsOption = Annotated[
    int | None,
    typer.Option(
        min=10,
        help="Number of episodes for each class. Default: 200; with --examples, four times the "
        "number of pictures.",
    ),
]


def calibrate(
    *,
    model: ModelOption,
    examples: ExamplesOption = None,
    without: WithoutOption = None,
    out: OutOption = None,
    data_root: RootOption = None,
    benchmark: OwnBenchmarkOption = None,
    fold: FoldOption = None,
    all_classes: AllOption = False,
    pairs: PairsOption = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed for drawing the episodes.")] = 0,
    device: DeviceOption = "auto",
) -> None:
    """Fit the probability that a class is in a picture.

    Uses val pictures of training classes of a data set, or labelled pictures of your own. Writes
    presence.json: it defines the probability that `fcp segment` and FewShotSegmenter report for
    each class, and the threshold below which a class gets no mask.

    \b
    Examples:
      fcp calibrate --model runs/sam --data-root data --fold 1
      fcp calibrate --model runs/mine --data-root mine --benchmark folder
      fcp calibrate --model free --examples labelled --out models/free
    """  # noqa: D301  (\b keeps the lines)
    folder = _own_folder(model) if out is None else out
    _refuse_mixture(examples, without, benchmark, fold, all_classes=all_classes)
    if examples is not None:
        presence, segmenter = _on_folder(examples, without, model, device, pairs, seed, out=out)
    else:
        root, fold = _require_root(data_root), _fold_of(fold, all_classes=all_classes)
        trained = _as_trained(model, benchmark, fold, all_classes=all_classes)
        presence, segmenter = _on_benchmark(
            root, trained, model, device, pairs=pairs, seed=seed, out=out
        )
    _write(presence, segmenter, folder, is_new=out is not None)
    facts = presence.facts
    typer.echo(
        f"{counted(facts['pairs'], 'episode')} of {counted(facts['classes'], 'class', 'classes')}; "
        f"threshold {presence.threshold}: {facts['recall']:.0%} of present classes get a mask, and "
        f"{facts['false_alarms']:.0%} of absent ones: {folder / PRESENCE_FILE}"
    )


def _own_folder(model: str) -> Path:
    """Return the folder of the user's that a model is read from.

    Raises:
        FcpError: the model is named; a folder of the same name is not it.
    """
    from fcp.models.loading import SHIPPED

    if model in SHIPPED or is_free(model) or not Path(model).is_dir():
        raise FcpError(f"--out: {model} is no folder of yours; name one to write the model to")
    return Path(model)


def _refuse_mixture(
    examples: Path | None,
    without: Path | None,
    benchmark: BenchmarkName | None,
    fold: int | None,
    *,
    all_classes: bool,
) -> None:
    if examples is None and without is not None:
        raise FcpError("--without: is for --examples; a data set has pictures without each class")
    of_data = {
        "--benchmark": benchmark is not None,
        "--fold": fold is not None,
        "--all-classes": all_classes,
    }
    given = [option for option, is_given in of_data.items() if is_given]
    if examples is not None and given:
        raise FcpError(f"{given[0]}: is for a data set; leave it out, or --examples")


def _require_root(data_root: Path | None) -> Path:
    if data_root is None:
        raise FcpError("--data-root: name the folder of the data sets, or --examples of your own")
    return data_root


def _fold_of(fold: int | None, *, all_classes: bool) -> int | None:
    if all_classes and fold is not None:
        raise FcpError("--all-classes: such a model has no novel classes; leave out --fold")
    return fold


class _Trained(NamedTuple):
    """What a model was trained on: a benchmark, and its fold or all of its classes."""

    benchmark: str
    fold: int | None
    has_all: bool


def _as_trained(
    model: str, benchmark: str | None, fold: int | None, *, all_classes: bool
) -> _Trained:
    """Return what a model was trained on: by its recipe, or by the options where it has none.

    Raises:
        FcpError: no such model, or another benchmark or fold than the recipe's, so that classes
            that should stay novel would be known.
    """
    from fcp.evaluation.seen import read_recipe
    from fcp.models.loading import find_model

    recipe = None if is_free(model) else read_recipe(find_model(model))
    if recipe is None:
        return _Trained(benchmark or "pascal5i", fold, all_classes)
    own = recipe.get("benchmark", "pascal5i"), recipe.get("fold")
    differs = {
        "--benchmark": benchmark not in (None, own[0]),
        "--fold": fold not in (None, own[1]),
        "--all-classes": all_classes and own[1] is not None,
    }
    for option in (name for name, other in differs.items() if other):
        raise FcpError(
            f"{option}: {model} was trained with benchmark={own[0]} and fold={own[1]}; leave the "
            "option out, or take --examples of your own"
        )
    return _Trained(*own, own[1] is None)


def _on_folder(
    examples: Path,
    without: Path | None,
    model: str,
    device: str,
    pairs: int | None,
    seed: int,
    *,
    out: Path | None,
) -> tuple[Presence, FewShotSegmenter]:
    """Calibrate on labelled pictures of the user's own."""
    from fcp.data.folder import pictures_inside
    from fcp.formats.read import read_examples

    with needs_extra("calibrate", "train"):
        from fcp.engine.calibrate import calibrate_on_folder
        from fcp.engine.labelled import LabelledPictures

    empty = [] if without is None else [path for _, path in pictures_inside(without)]
    data = LabelledPictures(read_examples(examples), empty)
    segmenter = _load(model, device, out)
    with _progress() as progress:
        presence = calibrate_on_folder(
            segmenter.network, data, per_class=pairs, seed=seed, progress=progress
        )
    return presence, segmenter


def _on_benchmark(
    data_root: Path,
    trained: _Trained,
    model: str,
    device: str,
    *,
    pairs: int | None,
    seed: int,
    out: Path | None,
) -> tuple[Presence, FewShotSegmenter]:
    """Calibrate on a data set."""
    from fcp.data.benchmarks import open_benchmark

    data, fold = open_benchmark(trained.benchmark, data_root), trained.fold
    if not trained.has_all:
        require_fold(data, fold)
    with needs_extra("calibrate", "train"):
        from fcp.engine.calibrate import PAIRS_OF_CLASS
        from fcp.engine.calibrate import calibrate as fit

    segmenter = _load(model, device, out)
    count = PAIRS_OF_CLASS if pairs is None else pairs
    with _progress() as progress:
        presence = fit(segmenter.network, data, fold, per_class=count, seed=seed, progress=progress)
    return presence, segmenter


@contextmanager
def _progress() -> Iterator[Progress]:
    """Show how many episodes have been answered."""
    with progress_bar("episode") as bar:
        task = bar.add_task("calibrating", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _load(model: str, device: str, out: Path | None) -> FewShotSegmenter:
    """Load the model to calibrate.

    Raises:
        FcpError: no such model, or ``out`` holds another one, which would be lost.
    """
    from fcp.inference.segmenter import FewShotSegmenter
    from fcp.models.folder import holds_model

    segmenter = FewShotSegmenter.from_pretrained(settle_model(model, device), device=device)
    if out is None or not holds_model(out):
        return segmenter
    with suppress(FcpError):  # files of another program, or a damaged model
        there = FewShotSegmenter.from_pretrained(out.resolve(), device=device)
        if there.fingerprint == segmenter.fingerprint:
            return segmenter
    raise FcpError(f"{out}: holds another model than {model}; choose another --out")


def _write(presence: Presence, segmenter: FewShotSegmenter, folder: Path, *, is_new: bool) -> None:
    """Write presence.json into the model's own folder, or the whole model into a new one."""
    if is_new:
        segmenter.presence = presence
        segmenter.save_pretrained(folder)
    else:
        presence.save(folder)
