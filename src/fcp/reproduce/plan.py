"""Experiments of each table and figure: rows as settings over a recipe, folds, seeds and shots.

Every row of a scale is trained by the same recipe on the same frozen encoders; a row is the
settings that it changes. The baseline and the ablations are switches of one model (Table 2, method
section 9).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from fcp.errors import FcpError

Target = Literal["table1", "table2", "table3", "table4", "fig1", "fig2", "fig4", "fig5"]

_HEAD = "model.head"
_CONVENTIONAL = f"{_HEAD}.pseudo_mask=conventional"

# Row → settings that replace the recipe's. FCP is row f of Table 2.
ROWS: Mapping[str, tuple[str, ...]] = {
    "FCP": (),
    "VRP-SAM": (f"{_HEAD}.features=F", f"{_HEAD}.matching=pixel", _CONVENTIONAL),
    "b": (f"{_HEAD}.features=G", f"{_HEAD}.matching=pixel", _CONVENTIONAL),
    "c": (f"{_HEAD}.features=F", _CONVENTIONAL),
    "d": (f"{_HEAD}.features=G", _CONVENTIONAL),
    "e": (_CONVENTIONAL,),
    "G guided once": (f"{_HEAD}.refresh_guidance=false",),
    "prompt": ("loss.guide=0", "loss.ortho=0"),
    "prompt+guide": ("loss.ortho=0",),
    "prompt+ortho": ("loss.guide=0",),
    "T=1": (f"{_HEAD}.steps=1",),
    "T=2": (f"{_HEAD}.steps=2",),
    "T=4": (f"{_HEAD}.steps=4",),
    "T=5": (f"{_HEAD}.steps=5",),
}

TABLE2_ROWS = ("VRP-SAM", "b", "c", "d", "e", "FCP", "G guided once")
TABLE4_ROWS = ("prompt", "prompt+guide", "prompt+ortho", "FCP")
FIG5_ROWS = {1: "T=1", 2: "T=2", 3: "FCP", 4: "T=4", 5: "T=5"}


@dataclass(frozen=True)
class Setting:
    """A recipe and the published numbers that it is compared with.

    Attributes:
        name: Benchmark and size of the encoders; files are named by it.
        recipe: Name of a shipped recipe.
        benchmark: Name of the benchmark, a key of ``data.benchmarks``.
        paper: Published numbers to compare with: first part of a key of ``paper.TABLE1``.
    """

    name: str
    recipe: str
    benchmark: str
    paper: str


@dataclass(frozen=True)
class Scale:
    """The size of a reproduction.

    Attributes:
        settings: Settings of Table 1; the first one is used for all other tables and figures.
        main_seeds: Number of training seeds of the main comparison (Table 1).
        seeds: Number of training seeds of all other rows.
        ablation_folds: Folds of Tables 2 and 4 and Fig. 5.
    """

    settings: tuple[Setting, ...]
    main_seeds: int
    seeds: int
    ablation_folds: tuple[int, ...]


SCALES: Mapping[str, Scale] = {
    "tiny": Scale(
        (Setting("pascal5i-tiny", "tiny-frozen", "pascal5i", "pascal5i-resnet50"),),
        main_seeds=3,
        seeds=1,
        ablation_folds=(1, 3),
    ),
    "paper": Scale(
        tuple(
            Setting(name, f"{name}-sam-vit-h", name.split("-")[0], name)
            for name in ("pascal5i-resnet50", "pascal5i-vgg16", "coco20i-resnet50", "coco20i-vgg16")
        ),
        main_seeds=1,
        seeds=1,
        ablation_folds=(0, 1, 2, 3),
    ),
}


@dataclass(frozen=True)
class Experiment:
    """One training with its evaluations.

    Attributes:
        setting: Recipe and benchmark.
        row: Row of a table, a key of ``ROWS``.
        fold: Fold whose classes are novel.
        seed: Seed of the training.
        shots: Number of supports K of each evaluation.
    """

    setting: Setting
    row: str
    fold: int
    seed: int
    shots: tuple[int, ...]

    @property
    def name(self) -> str:
        """File name that no other training of a scale has."""
        row = self.row.lower().replace(" ", "-")
        return f"{self.setting.name}-{row}-fold{self.fold}-seed{self.seed}"


def experiments(
    target: Target,
    scale: Scale,
    folds: tuple[int, ...] | None = None,
    seeds: int | None = None,
) -> list[Experiment]:
    """List the experiments of a table or figure, in the order in which they are run.

    Args:
        target: Table or figure.
        scale: Size of the reproduction.
        folds: Folds to restrict it to; None for all folds of the target.
        seeds: Number of training seeds, at least 1: 0 … seeds - 1; None for as many as the scale
            has.

    Raises:
        FcpError: one of the folds is not part of the target.
    """
    first = scale.settings[0]
    rows: tuple[str, ...] = ("FCP",)
    settings: tuple[Setting, ...] = (first,)
    shots: tuple[int, ...] = (1,)
    of_scale = scale.seeds
    of_target = scale.ablation_folds
    match target:
        case "table1":
            rows, settings, shots = ("VRP-SAM", "FCP"), scale.settings, (1, 5)
            of_scale, of_target = scale.main_seeds, (0, 1, 2, 3)
        case "table2":
            rows = TABLE2_ROWS
        case "table3":
            of_target = (0, 1, 2, 3)
        case "table4":
            rows = TABLE4_ROWS
        case "fig1":
            rows = ("VRP-SAM", "FCP")
        case "fig5":
            rows = tuple(FIG5_ROWS.values())
    chosen = of_target if folds is None else folds
    if not chosen or not set(chosen) <= set(of_target):
        known, got = (", ".join(map(str, names)) or "none" for names in (of_target, chosen))
        raise FcpError(f"folds: {target} is made of folds {known}, got {got}; choose among them")
    return [
        Experiment(setting, row, fold, seed, shots)
        for setting in settings
        for seed in range(of_scale if seeds is None else seeds)
        for fold in chosen
        for row in rows
    ]
