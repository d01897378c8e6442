"""How fast is the head? Ours against the equations written plainly, on CPU.

The plain version multiplies all cells with all cells, projects keys and values of all cells, runs
the guidance convolution on the concatenated tensor, and recomputes everything for each shot and
each query. Both see the same ready-made feature maps (no encoder), and their outputs are compared
before anything is timed.

    OMP_NUM_THREADS=2 python benchmarks/head.py [--repeats 5] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from plain_head import Maps, PlainHead
from torch import Tensor

from fcp.config import HeadConfig
from fcp.method.fcp.head import FCPHead
from fcp.structures import BackboneFeatures, Embedding

GRID, IMAGE, FOREGROUND = 64, 512, 0.15
MID_CHANNELS, HIGH_CHANNELS = 1536, 2048  # ResNet-50
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Case:
    """Feature maps of K supports and Q queries, and what the issue asks of them.

    Attributes:
        name: For the report.
        asked: Smallest ratio that passes.
        support: (K, Cm, h, w), and G: (K, C, h, w).
        masks: (K, H, W).
        queries: Q pictures of the same kind.
    """

    name: str
    asked: float
    support: tuple[BackboneFeatures, Embedding]
    masks: Tensor
    queries: tuple[BackboneFeatures, Embedding]


def main() -> None:
    """Check, time, report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="timings of each version")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    head = FCPHead(HeadConfig(), MID_CHANNELS).eval()
    cases = (
        ("1-shot", 3.0, 1, 1),
        ("5-shot", 3.5, 5, 1),
        ("1 support, 20 queries", 4.0, 1, 20),
    )
    rows = []
    print(f"{torch.get_num_threads()} thread(s), {arguments.repeats} repeats, medians")
    for name, asked, shots, queries in cases:
        row = measure(head, make_case(name, asked, shots, queries), arguments.repeats)
        rows.append(row)
        print(
            f"{row['case']:<22} plain {row['plain_s']:7.3f} s   ours {row['ours_s']:7.3f} s   "
            f"{row['ratio']:.2f}x (asked {row['asked']}x)   "
            f"largest difference {row['difference']:.0e}",
            flush=True,
        )
    if arguments.json:
        report = {"threads": torch.get_num_threads(), "cases": rows}
        arguments.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


@torch.inference_mode()
def measure(head: FCPHead, case: Case, repeats: int) -> dict[str, float | str]:
    """Compare the two versions' outputs, then time them in turns.

    Raises:
        ArithmeticError: the outputs differ by more than 1e-4.
    """
    ours_out, plain_out = ours(head, case), plain(head, case)
    difference = max(float((a - b).abs().max()) for a, b in zip(ours_out, plain_out, strict=True))
    if not difference <= TOLERANCE:
        raise ArithmeticError(f"{case.name}: outputs differ by {difference}")
    seconds: dict[str, list[float]] = {"ours": [], "plain": []}
    versions: dict[str, Callable[[FCPHead, Case], object]] = {"ours": ours, "plain": plain}
    for _ in range(repeats):
        for name, version in versions.items():
            start = time.perf_counter()
            version(head, case)
            seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    return {
        "case": case.name,
        "plain_s": medians["plain"],
        "ours_s": medians["ours"],
        "ratio": medians["plain"] / medians["ours"],
        "asked": case.asked,
        "difference": difference,
    }


def make_case(name: str, asked: float, shots: int, queries: int) -> Case:
    """Draw random maps, non-negative as after a ReLU, and masks that are discs."""
    rows = torch.arange(IMAGE).float()
    square_distance = (rows[:, None] - IMAGE / 2) ** 2 + (rows - IMAGE / 2) ** 2
    disc = (square_distance < FOREGROUND * IMAGE**2 / torch.pi).float()
    return Case(
        name=name,
        asked=asked,
        support=_random_maps(shots),
        masks=disc.expand(shots, IMAGE, IMAGE),
        queries=_random_maps(queries),
    )


def _random_maps(count: int) -> tuple[BackboneFeatures, Embedding]:
    mid = torch.rand(count, MID_CHANNELS, GRID, GRID)
    high = torch.rand(count, HIGH_CHANNELS, GRID, GRID)
    return BackboneFeatures(mid, high), Embedding(
        torch.randn(count, HeadConfig().width, GRID, GRID)
    )


def ours(head: FCPHead, case: Case) -> list[Tensor]:
    """Run the package's head: the support once, then each query as it comes."""
    support = head.prepare_support(*case.support, case.masks[None])
    outputs = []
    for q in range(len(case.queries[1].image)):
        features, embedding = case.queries
        one = BackboneFeatures(features.mid[q : q + 1], features.high[q : q + 1])
        query = head.prepare_query(one, Embedding(embedding.image[q : q + 1]))
        found = head(support, query)
        outputs += [found.prompts[0], found.attention_masks[0, :, -1]]
    return outputs


def plain(head: FCPHead, case: Case) -> list[Tensor]:
    """Run the same equations with nothing saved: each query with each shot from the maps on."""
    outputs = []
    shots, queries = len(case.masks), len(case.queries[1].image)
    for q in range(queries):
        pairs = [plain_pair(head, case, k, q) for k in range(shots)]
        prompts, masks = zip(*pairs, strict=True)
        outputs += [torch.cat(prompts), torch.cat(masks)]
    return outputs


def plain_pair(head: FCPHead, case: Case, shot: int, query: int) -> tuple[Tensor, Tensor]:
    """Return prompts (1, N, C) and the last attention mask (1, h, w) of one shot and one query."""
    mask = F.interpolate(case.masks[shot][None, None], (GRID, GRID)).flatten()
    plain_head = PlainHead(head.state_dict(), head.config, (GRID, GRID))
    found = plain_head.pair(_maps(case.support, shot), _maps(case.queries, query), mask)
    return found.prompts[None], found.masks[-1].view(1, GRID, GRID)


def _maps(maps: tuple[BackboneFeatures, Embedding], index: int) -> Maps:
    features, embedding = maps
    raw = (features.mid, embedding.image, features.high)
    return Maps(*(one[index].flatten(1).T for one in raw))


if __name__ == "__main__":
    main()
