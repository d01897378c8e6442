"""The table of ``fcp data check``."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from fcp.data.check import Check
from fcp.system.words import counted

SHOWN_FILES = 10
FEW_FOLDS = 5  # whose columns have room for a name


def print_check(check: Check) -> None:
    """Print the counts, and below them the notes that explain them."""
    console = Console(soft_wrap=True)
    console.print(f"{check.title}; {check.classes} classes; training pictures: {check.pool}")
    for split, count in check.splits.items():
        console.print(
            f"{split}: {counted(count.pictures, 'picture')}, "
            f"{counted(count.classes, 'class', 'classes')} shown, "
            f"{counted(len(count.missing), 'file')} missing, {len(count.damaged)} damaged"
        )
        for line in (*count.missing, *count.damaged)[:SHOWN_FILES]:
            console.print(f"  {line}", markup=False, highlight=False)
    many = len(check.folds) > FEW_FOLDS
    table = Table("rows of each list, by fold" if many else "rows of each list")
    for fold in check.folds:
        named = f"{fold}" if many else f"fold {fold}"
        table.add_column("all" if fold is None else named, justify="right")
    for rule, rows in check.rules.items():
        table.add_row(rule, *map(str, rows))
        if rule in check.expected:
            table.add_row("  released", *map(str, check.expected[rule]), style="dim")
    console.print(table)
    for note in check.notes:
        console.print(f"- {note}", markup=False, highlight=False)
