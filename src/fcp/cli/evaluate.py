"""``fcp evaluate``: score a model on a benchmark, with the protocol's card beside the numbers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from fcp.cli.options import DataRootOption, DeviceOption, FusionOption, ModelOption
from fcp.cli.progress import progress_bar
from fcp.errors import FcpError

if TYPE_CHECKING:
    from fcp.config import Fusion
    from fcp.data.episodes import EpisodeSpec
    from fcp.data.pascal import PascalVOC
    from fcp.evaluation.evaluate import EvaluationResult
    from fcp.segmenter import FewShotSegmenter


def evaluate(
    *,
    data_root: DataRootOption,
    fold: Annotated[int, typer.Option(min=0, max=3, help="Whose novel classes are tested.")],
    out: Annotated[Path, typer.Option(help="The report to write.", metavar="FILE.json")],
    benchmark: Annotated[Literal["pascal5i"], typer.Option(help="Which benchmark.")] = "pascal5i",
    shots: Annotated[int, typer.Option(min=1, help="Examples of each episode.")] = 1,
    model: ModelOption = "tiny",
    device: DeviceOption = "auto",
    fusion: FusionOption = "mean",
    episodes: Annotated[int, typer.Option(min=1, help="How many.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="What the episodes are drawn with.")] = 0,
) -> None:
    """Score a model on a benchmark.

    The report holds miou, fb_iou, class_iou, episodes and protocol, the card that says exactly
    what was tested; also the scores at the photos' own size and those of both pseudo masks.

    \b
    Example:
      fcp evaluate --data-root data --fold 1 --shots 1 --model runs/tiny --out fold1.json
    """  # noqa: D301  (\b keeps the lines)
    from fcp.data.episodes import episodes_hash, sample_episodes
    from fcp.data.lists import val_lists
    from fcp.data.pascal import PascalVOC
    from fcp.evaluation.report import make_card, write_report
    from fcp.segmenter import FewShotSegmenter, find_model

    if not out.parent.is_dir():
        raise FcpError(f"{out}: there is no folder {out.parent}; make it first")
    data = PascalVOC(data_root)
    drawn = sample_episodes(val_lists(data, fold), shots=shots, episodes=episodes, seed=seed)
    card = make_card(
        fold=fold,
        shots=shots,
        seed=seed,
        episode_sha256=episodes_hash(drawn),
        model_folder=find_model(model),
        fusion=fusion,
    )
    result = _run(FewShotSegmenter.from_pretrained(model, device=device), data, drawn, fusion)
    write_report(out, result, card)
    typer.echo(
        f"mIoU {100 * result.square.miou:.1f}, FB-IoU {100 * result.square.fb_iou:.1f}: {out}"
    )


def _run(
    segmenter: FewShotSegmenter,
    data: PascalVOC,
    episodes: tuple[EpisodeSpec, ...],
    fusion: Fusion,
) -> EvaluationResult:
    from fcp.evaluation.evaluate import evaluate as run_evaluation
    from fcp.evaluation.predictor import FCPPredictor

    size = segmenter.model.config.image_size
    with progress_bar("episode") as bar:
        task = bar.add_task("evaluating", total=len(episodes))
        return run_evaluation(
            FCPPredictor(segmenter.model, fusion=fusion),
            data,
            episodes,
            image_size=size,
            progress=lambda done, _: bar.update(task, completed=done),
        )
