"""What does a step of each recipe cost? True sizes, random weights, random pictures.

One training step of batch 1 through the engine (`fcp train --dry-run`), each recipe in a process of
its own, so that the peak of memory is its own.

    OMP_NUM_THREADS=1 python benchmarks/recipes.py [RECIPE …] [--set optim.precision=bf16]
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from fcp.engine.random_weights import ARCHITECTURES

RECIPES = Path(str(files("fcp") / "recipes"))
HEADER = """| recipe | trainable | frozen | batch | seconds a step | peak memory |
|---|---|---|---|---|---|"""

# Of the dry run's report: parameters, peak memory (MiB), seconds.
_NUMBERS = re.compile(
    r"([\d,]+) trainable and ([\d,]+) frozen.*peak memory ([\d,.]+) MiB.* ([\d.]+) s each",
    re.DOTALL,
)


def main() -> None:
    """Measure the recipes one after the other and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "names", nargs="*", metavar="RECIPE", help="default: all of real segmenters"
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    if len(arguments.names) == 1:
        print(row(arguments.names[0], arguments.set), flush=True)
        return
    names = arguments.names or sorted(path.stem for path in RECIPES.glob("*i-*-sam*.yaml"))
    print(HEADER, flush=True)
    settings = [word for setting in arguments.set for word in ("--set", setting)]
    for name in names:
        code = subprocess.call([sys.executable, __file__, name, *settings])  # noqa: S603  (itself)
        if code:
            print(f"| {name} | failed with exit code {code} |", flush=True)


def row(name: str, settings: Sequence[str] = ()) -> str:
    """Run one step of a shipped recipe and return its line of the table.

    Args:
        name: Of the recipe.
        settings: ``key=value``, applied last.
    """
    from fcp.engine.dry_run import dry_run

    lines: list[str] = []
    with tempfile.TemporaryDirectory() as no_data:
        dry_run(
            RECIPES / f"{name}.yaml",
            overrides=(*one_random_step(name), *settings),
            data_root=Path(no_data),
            report=lines.append,
        )
    return summary(name, "\n".join(lines))


def one_random_step(name: str) -> list[str]:
    """Return the settings that replace weights of the hub by random ones of the same sizes."""
    from fcp.system.documents import load_yaml

    model = load_yaml(RECIPES / f"{name}.yaml")["model"]
    settings = ["optim.epochs=null", "optim.iterations=1", "optim.batch=1"]
    for part in ("backbone", "segmenter"):
        weights = model[part]["weights"]
        settings.append(f"model.{part}.weights=null")
        if ARCHITECTURES[weights] is not None:
            settings.append(f"model.{part}.options.config={json.dumps(ARCHITECTURES[weights])}")
    return settings


def summary(name: str, text: str) -> str:
    """Turn the dry run's report of one step of batch 1 into a line of the table."""
    numbers = [float(number.replace(",", "")) for number in _NUMBERS.findall(text)[0]]
    trainable, frozen, peak, seconds = numbers
    return (
        f"| {name} | {trainable / 1e6:.2f} M | {frozen / 1e6:.1f} M | 1 | {seconds:.0f} | "
        f"{peak / 1024:.1f} GiB |"
    )


if __name__ == "__main__":
    main()
