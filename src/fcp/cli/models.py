"""``fcp models``: what there is to choose from, and what each costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fcp.cli.options import DeviceOption

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fcp.inference.cost import Cost
    from fcp.models.catalogue import ModelFacts


def models(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Models to show, such as tiny, free:gf-sam+dinov2-base+sam-vit-base or a model's "
            "folder. Default: the usual ones.",
            metavar="[MODEL]...",
            show_default=False,
        ),
    ] = None,
    *,
    measure: Annotated[
        bool,
        typer.Option(
            "--measure",
            help="Measure seconds and memory for one photo on this machine; of the models named, "
            "or of all that are installed.",
        ),
    ] = False,
    device: DeviceOption = "auto",
    json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """List the models: download, licence, published score, and whether each is installed.

    What is not installed is fetched at its first use, if there is a connection; gated weights only
    after their licence was accepted on the hub.

    \b
    Examples:
      fcp models
      fcp models --measure tiny out/mine
    """  # noqa: D301  (\b keeps the lines)
    from fcp.models.catalogue import find_facts, list_models

    shown = [find_facts(name, device) for name in names] if names else [*list_models()]
    missing = {facts.name: facts.missing() for facts in shown}
    costs: dict[str, Cost] = {}
    if measure:
        here = [facts.name for facts in shown if names or not missing[facts.name]]
        costs = _measure(here, device)
    if json:
        _print_json(shown, missing, costs)
        return
    _print_table(shown, missing)
    for name, cost in costs.items():
        memory = "" if cost.peak_gib is None else f", peak memory {cost.peak_gib:.1f} GiB"
        typer.echo(
            f"{name} on {cost.device}: {cost.seconds_photo:.2f} s a photo, "
            f"{cost.seconds_example:.2f} s an example{memory}"
        )


def _measure(names: Sequence[str], device: str) -> dict[str, Cost]:
    from fcp.inference.cost import measure_cost

    costs = {}
    for name in names:
        typer.secho(f"measuring {name} …", fg="bright_black", err=True)
        costs[name] = measure_cost(name, device=device)
    return costs


def _print_table(shown: Sequence[ModelFacts], missing: Mapping[str, Sequence[object]]) -> None:
    rows = [("model", "download", "licence of the weights", "published mIoU, 1 shot", "installed")]
    for facts in shown:
        licence = ", ".join(facts.licences) or "unknown"
        licence += " (gated)" if facts.gated else ""
        scores = ", ".join(f"{benchmark} {score}" for benchmark, score in facts.scores.items())
        here = "no" if missing[facts.name] else "yes"
        rows.append((facts.name, _size(facts), licence, scores or "–", here))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        typer.echo(line.rstrip())
    typer.echo(
        "\nScores are their authors', each by its own protocol; those of small and tiny are ours, "
        "on a sample of COCO.\nWhich to take, and what may be sold: docs/models.md"
    )


def _size(facts: ModelFacts) -> str:
    if not facts.downloads:
        return "none"
    size = facts.megabytes
    return f"{size} MB" if size < 1000 else f"{size / 1000:.1f} GB"


def _print_json(
    shown: Sequence[ModelFacts], missing: Mapping[str, Sequence[object]], costs: dict[str, Cost]
) -> None:
    from dataclasses import asdict
    from json import dumps

    models = [
        {
            **asdict(facts),
            "megabytes": facts.megabytes,
            "licences": facts.licences,
            "gated": facts.gated,
            "installed": not missing[facts.name],
            "cost": asdict(costs[facts.name]) if facts.name in costs else None,
        }
        for facts in shown
    ]
    typer.echo(dumps(models, indent=1, ensure_ascii=False))
