"""What does a model cost? Seconds for a support and a query, peak memory, size of the weights.

Times are medians over fresh photos of 500×375 px after one warm-up, file reading left out; memory
is the largest resident size of the whole process, PyTorch included.

    OMP_NUM_THREADS=2 python benchmarks/cost.py --model tiny
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from fcp.inference.segmenter import FewShotSegmenter
from fcp.models.files import WEIGHTS_FILE
from fcp.models.loading import find_model

_WIDTH, _HEIGHT = 500, 375


def median_seconds(work: Callable[[np.ndarray], object], repeats: int) -> float:
    """Run ``work`` on fresh photos; the first run is not counted."""
    rng = np.random.default_rng(0)
    times = []
    for _ in range(repeats + 1):
        photo = rng.integers(0, 256, (_HEIGHT, _WIDTH, 3), dtype=np.uint8)
        started = time.perf_counter()
        work(photo)
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


def main() -> None:
    """Parse, measure, print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--repeats", type=int, default=20)
    arguments = parser.parse_args()
    segmenter = FewShotSegmenter.from_pretrained(arguments.model, device="cpu")
    mask = np.zeros((_HEIGHT, _WIDTH), dtype=bool)
    mask[100:250, 150:350] = True
    support = median_seconds(lambda photo: segmenter.fit([(photo, mask)]), arguments.repeats)
    query = median_seconds(segmenter.predict, arguments.repeats)
    weights = find_model(arguments.model) / WEIGHTS_FILE
    result = {
        "threads": torch.get_num_threads(),
        "seconds_per_support": round(support, 3),
        "seconds_per_query": round(query, 3),
        "peak_memory_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "weights_mb": round(weights.stat().st_size / 1e6, 1),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
