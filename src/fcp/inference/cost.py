"""Cost of a model on this machine: seconds for a photo, and peak memory.

Each model has a process of its own, since memory that another one took before would count. torch
is imported there alone.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from typing import TYPE_CHECKING

import numpy as np

from fcp.errors import FcpError
from fcp.system.memory import GIB, peak_memory

if TYPE_CHECKING:
    import torch

HEIGHT, WIDTH = 375, 500
PHOTOS = 3


@dataclass(frozen=True)
class Cost:
    """Cost of a model.

    Attributes:
        device: Device that the model ran on.
        seconds_example: Seconds to encode one example.
        seconds_photo: Seconds for one photo, median of three.
        peak_gib: Peak memory in GiB: of the device if it is a GPU, else of the whole process; None
            where the system does not tell.
    """

    device: str
    seconds_example: float
    seconds_photo: float
    peak_gib: float | None


def measure_cost(model: str, *, device: str = "auto") -> Cost:
    """Measure a model over one photo of 500×375 px, in a fresh process.

    Args:
        model: Model as ``FewShotSegmenter.from_pretrained`` takes it.
        device: Device as ``FewShotSegmenter.from_pretrained`` takes it.

    Raises:
        FcpError: as ``FewShotSegmenter.from_pretrained``; or the process was ended, as systems do
            that are out of memory.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(measure_here, model, device).result()
        except BrokenProcessPool as error:
            raise FcpError(
                f"{model}: the measurement was ended from outside, mostly for lack of memory;"
                " free some, or choose a smaller model"
            ) from error


def measure_here(model: str, device: str) -> Cost:
    """Measure a model in this process; see ``measure_cost``."""
    from fcp.inference.segmenter import FewShotSegmenter

    segmenter = FewShotSegmenter.from_pretrained(model, device=device)
    photo, mask = picture_of_disc()
    segmenter.fit([(photo, mask)]).predict(photo)  # the first ones are slower
    example = _seconds(lambda: segmenter.fit([(photo, mask)]), segmenter.device)
    times = [_seconds(lambda: segmenter.predict(photo), segmenter.device) for _ in range(PHOTOS)]
    return Cost(str(segmenter.device), example, statistics.median(times), _peak(segmenter.device))


def picture_of_disc() -> tuple[np.ndarray, np.ndarray]:
    """Return a picture (H, W, 3) uint8 of a disc before a gradient, and its mask (H, W)."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    mask = (x - 260) ** 2 + (y - 170) ** 2 < 90**2
    noise = np.random.default_rng(0).integers(0, 80, (HEIGHT, WIDTH, 3))
    ramp = (x * 160 // WIDTH)[..., None]
    disc = np.array([160, 60, 20]) + noise
    photo = np.where(mask[..., None], disc, ramp + noise // 8)
    return photo.astype(np.uint8), mask


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        import torch

        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def _peak(device: torch.device) -> float | None:
    if device.type == "cuda":
        import torch

        return torch.cuda.max_memory_allocated(device) / GIB
    held = peak_memory()
    return None if held is None else held / GIB
