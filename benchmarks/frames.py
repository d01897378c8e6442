"""How well are films segmented from their first frame, with and without a memory?

The 30 sequences of ``objects/davis2016_train`` have five frames each, about half a second apart.
The first with its mask is the only example; J is the mean IoU (region similarity) of a sequence's
four later frames, then of all sequences. ``--memory`` lists the numbers of frames remembered, 0 for
none; the memory may change after each frame, since the frames lie so far apart.

    python benchmarks/frames.py --model tiny --data-root DIR
    python benchmarks/frames.py --model small --data-root DIR --memory 0 2
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fcp.data.images import read_image, read_mask
from fcp.inference.clip_memory import ClipMemory, is_sure
from fcp.inference.segmenter import FewShotSegmenter

Frame = tuple[np.ndarray, np.ndarray]  # picture (H, W, 3), true mask (H, W)


def read_sequence(folder: Path, kind: str) -> list[Frame]:
    """Read the frames of a film in order, with their masks."""
    masks = sorted((folder / "masks" / kind).glob("*.png"))
    pictures = [read_image(folder / "images" / f"{mask.stem}.jpg") for mask in masks]
    return [
        (picture, read_mask(mask, picture.shape[:2]))
        for picture, mask in zip(pictures, masks, strict=True)
    ]


def region_similarity(
    segmenter: FewShotSegmenter, frames: Sequence[Frame], memory: int
) -> list[float]:
    """Return the IoU of each frame after the first, which is the example."""
    examples = {"thing": frames[:1]}
    support = segmenter.encode(examples, appearance="off")
    clip = ClipMemory(segmenter, examples, support, memory, every=1)  # frames lie far apart
    found = []
    for picture, truth in frames[1:]:
        prediction = segmenter.predict(picture, support=clip.support, threshold=0)
        mask = prediction.mask
        found.append(float((mask & truth).sum() / max(1, (mask | truth).sum())))
        sure = is_sure(prediction.score, prediction.presence)
        clip.see({"thing": prediction.score} if sure else {}, lambda _: (picture, mask))  # noqa: B023
    return found


def main() -> None:
    """Print J of each film and the means."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--model", default="small")
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--memory", type=int, nargs="+", default=[0, 1, 2, 4])
    parser.add_argument("--device", default="auto")
    given = parser.parse_args()
    segmenter = FewShotSegmenter.from_pretrained(given.model, device=given.device)
    folder = given.data_root / "objects/davis2016_train"
    kinds = sorted(path.name for path in (folder / "masks").iterdir())
    means: dict[int, list[float]] = {memory: [] for memory in given.memory}
    seconds = dict.fromkeys(given.memory, 0.0)
    for kind in kinds:
        frames = read_sequence(folder, kind)
        for memory in given.memory:
            started = time.perf_counter()
            means[memory].append(float(np.mean(region_similarity(segmenter, frames, memory))))
            seconds[memory] += time.perf_counter() - started
        line = " ".join(f"{100 * means[memory][-1]:5.1f}" for memory in given.memory)
        print(f"{kind:20} {line}", flush=True)
    for memory in given.memory:
        values = 100 * np.array(means[memory])
        better = int((values > 100 * np.array(means[given.memory[0]]) + 0.5).sum())
        print(
            f"{given.model}, memory {memory}: J {values.mean():.1f}, {better} films better than "
            f"with {given.memory[0]}, {seconds[memory]:.0f} s"
        )


if __name__ == "__main__":
    main()
