"""Experiments of each table and figure: rows as recipes with settings, folds, seeds and shots.

FCP, its baseline VRP-SAM and its ablations are switches of one model (Table 2, method section 9):
one recipe, and the settings that a row changes. Each compared method has a recipe of its own, on
the same lists and episodes.

A cell is a benchmark with its encoders, such as ``pascal5i-resnet50``, or one row of it, such as
``pascal5i-resnet50/PFENet``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from fcp.errors import FcpError

Target = Literal["table1", "table2", "table3", "table4", "fig1", "fig2", "fig4", "fig5"]

_HEAD = "model.head"
_CONVENTIONAL = f"{_HEAD}.pseudo_mask=conventional"


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        settings: Settings that replace the recipe's.
        method: Compared method whose own recipe is taken, the end of the recipe's name; None for
            the recipe of FCP. A method without training is one of them.
    """

    settings: tuple[str, ...] = ()
    method: str | None = None


ROWS: Mapping[str, Row] = {
    "FCP": Row(),  # row f of Table 2
    "VRP-SAM": Row((f"{_HEAD}.features=F", f"{_HEAD}.matching=pixel", _CONVENTIONAL)),
    "SSP": Row(method="ssp"),
    "PFENet": Row(method="pfenet"),
    "CyCTR": Row(method="cyctr"),
    "BAM": Row(method="bam"),
    "HDMNet": Row(method="hdmnet"),
    "INSID3": Row(method="insid3"),
    "GF-SAM": Row(method="gf-sam"),
    "PerSAM": Row(method="persam"),
    "Matcher": Row(method="matcher"),
    "Contrast": Row(method="contrast"),
    "FCP plain decoder": Row((f"{_HEAD}.plain_decoder=true",)),
    "b": Row((f"{_HEAD}.features=G", f"{_HEAD}.matching=pixel", _CONVENTIONAL)),
    "c": Row((f"{_HEAD}.features=F", _CONVENTIONAL)),
    "d": Row((f"{_HEAD}.features=G", _CONVENTIONAL)),
    "e": Row((_CONVENTIONAL,)),
    "G guided once": Row((f"{_HEAD}.refresh_guidance=false",)),
    "prompt": Row(("loss.guide=0", "loss.ortho=0")),
    "prompt+guide": Row(("loss.ortho=0",)),
    "prompt+ortho": Row(("loss.guide=0",)),
    "T=1": Row((f"{_HEAD}.steps=1",)),
    "T=2": Row((f"{_HEAD}.steps=2",)),
    "T=4": Row((f"{_HEAD}.steps=4",)),
    "T=5": Row((f"{_HEAD}.steps=5",)),
}

# Rows of Table 1, published methods by year; VGG-16 has no recipe of SSP and CyCTR.
_METHODS = ("PFENet", "CyCTR", "SSP", "BAM", "HDMNet")
_VGG_METHODS = ("PFENet", "BAM", "HDMNet")
_FREE = ("INSID3", "GF-SAM", "PerSAM", "Matcher", "Contrast")  # on the frozen encoders of FCP's row
_MAIN = ("FCP", "VRP-SAM")
TABLE2_ROWS = ("VRP-SAM", "b", "c", "d", "e", "FCP", "G guided once")
TABLE4_ROWS = ("prompt", "prompt+guide", "prompt+ortho", "FCP")
FIG5_ROWS = {1: "T=1", 2: "T=2", 3: "FCP", 4: "T=4", 5: "T=5"}


@dataclass(frozen=True)
class Setting:
    """A recipe and the published numbers that it is compared with.

    Attributes:
        name: Benchmark and size of the encoders; files are named by it.
        recipe: Name of the shipped recipe of FCP.
        methods: Start of the names of the compared methods' recipes.
        rows: Rows of Table 1.
        benchmark: Name of the benchmark, a key of ``data.benchmarks``.
        paper: Published numbers to compare with: first part of a key of ``paper.TABLE1``.
    """

    name: str
    recipe: str
    methods: str
    rows: tuple[str, ...]
    benchmark: str
    paper: str


@dataclass(frozen=True)
class Scale:
    """The size of a reproduction.

    Attributes:
        settings: Settings of Table 1; the first one is used for all other tables and figures.
        main_seeds: Number of training seeds of FCP and VRP-SAM in Table 1.
        method_seeds: Number of training seeds of the other rows of Table 1.
        seeds: Number of training seeds of all other rows.
        ablation_folds: Folds of Tables 2 and 4 and Fig. 5.
    """

    settings: tuple[Setting, ...]
    main_seeds: int
    method_seeds: int
    seeds: int
    ablation_folds: tuple[int, ...]


def _paper(name: str) -> Setting:
    methods = _VGG_METHODS if name.endswith("vgg16") else _METHODS
    benchmark = name.partition("-")[0]
    rows = (*methods, "VRP-SAM", "FCP")
    return Setting(name, f"{name}-sam-vit-h", name, rows, benchmark, paper=name)


SCALES: Mapping[str, Scale] = {
    "tiny": Scale(
        (
            Setting(
                "pascal5i-tiny",
                "tiny-frozen",
                "tiny",
                (*_METHODS, *_FREE, "VRP-SAM", "FCP plain decoder", "FCP"),
                "pascal5i",
                paper="pascal5i-resnet50",
            ),
        ),
        main_seeds=3,
        method_seeds=2,
        seeds=1,
        ablation_folds=(1, 3),
    ),
    "paper": Scale(
        tuple(
            _paper(name)
            for name in ("pascal5i-resnet50", "pascal5i-vgg16", "coco20i-resnet50", "coco20i-vgg16")
        ),
        main_seeds=1,
        method_seeds=1,
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
    def recipe(self) -> str:
        """Name of the shipped recipe."""
        method = ROWS[self.row].method
        return self.setting.recipe if method is None else f"{self.setting.methods}-{method}"

    @property
    def cell(self) -> str:
        """Name of the cell of a table, such as ``pascal5i-tiny/FCP``; folds and seeds share it."""
        return f"{self.setting.name}/{self.row}"

    @property
    def name(self) -> str:
        """File name that no other training of a scale has."""
        return f"{self.setting.name}-{_plain(self.row)}-fold{self.fold}-seed{self.seed}"

    def belongs_to(self, cell: str) -> bool:
        """Whether a cell's name means this experiment: its setting, or its setting and row."""
        setting, _, row = cell.partition("/")
        return setting == self.setting.name and _plain(row) in ("", _plain(self.row))


def _plain(row: str) -> str:
    return row.lower().replace(" ", "-")


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
    shots: tuple[int, ...] = (1,)
    of_target = scale.ablation_folds
    match target:
        case "table1":
            rows, shots, of_target = (), (1, 5), (0, 1, 2, 3)
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
        for setting in (scale.settings if target == "table1" else (first,))
        for seed in range(seeds or max(scale.main_seeds, scale.method_seeds, scale.seeds))
        for fold in chosen
        for row in (rows or setting.rows)
        if seeds is not None or seed < _seeds(target, scale, row)
    ]


def _seeds(target: Target, scale: Scale, row: str) -> int:
    if target != "table1":
        return scale.seeds
    return scale.main_seeds if row in _MAIN else scale.method_seeds


def choose(wanted: Sequence[Experiment], cell: str) -> list[Experiment]:
    """Return the experiments of a cell.

    Args:
        wanted: Experiments of a target.
        cell: Name of a setting, such as ``pascal5i-resnet50``, or of a row of one, such as
            ``pascal5i-tiny/PFENet``.

    Raises:
        FcpError: there are none; the message lists the cells.
    """
    chosen = [experiment for experiment in wanted if experiment.belongs_to(cell)]
    if not chosen:
        raise FcpError(f"{cell}: no such cell; choose one of {', '.join(cells(wanted))}")
    return chosen


def cells(wanted: Sequence[Experiment]) -> list[str]:
    """Return the names of all cells: those of the settings, then those of their rows."""
    settings = dict.fromkeys(experiment.setting.name for experiment in wanted)
    return [*settings, *dict.fromkeys(experiment.cell for experiment in wanted)]
