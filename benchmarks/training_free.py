"""What do the backbone's features give without any training? The floors that a head must beat.

Three maps of the untrained 1-shot task, on novel classes of PASCAL-5i's val: the conventional
pseudo mask (Eq. 5), the cosine similarity to the example's mean foreground, and the contrast, that
similarity less the one to the mean background (the mean over the backbone's levels, each
standardised by BSDS500's pictures, as in training). Each is cut at the threshold that suits the
fold best, so these are upper bounds; mIoU at 512×512 as in `fcp evaluate`.

    python benchmarks/training_free.py --weights MOBILENET --fold 3 --data-root DIR
"""

from __future__ import annotations

import argparse
import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fcp.data.dataset import ClassExample, Picture
from fcp.data.episodes import sample_episodes
from fcp.data.lists import val_lists
from fcp.data.pascal import PascalVOC
from fcp.encoders.mobilenet import MobileNetV2, build_mobilenet_v2
from fcp.engine.train_head import standardise
from fcp.evaluation.episode_counts import MASK
from fcp.evaluation.evaluate import THRESHOLD, evaluate
from fcp.layers.masked import mask_to_grid
from fcp.method.fcp.prototypes.contrast import contrast_maps, level_means, level_units
from fcp.method.fcp.prototypes.prior import conventional_mask, unit_cells

IMAGE_SIZE, LAYERS, LEVELS = 320, (5, 12, 14, 16), (32, 96, 160, 320)
CUTS = {  # of maps in 0 … 1, -1 … 1 and -2 … 2, in that order
    "conventional": np.linspace(0.0, 0.9, 19),
    "foreground": np.linspace(0.0, 0.6, 13),
    "contrast": np.linspace(-0.2, 0.6, 17),
}


class TrainingFree:
    """Predicts from backbone features alone; one map for each kind and threshold.

    Args:
        backbone: With standardised levels.
    """

    def __init__(self, backbone: MobileNetV2) -> None:
        self.backbone = backbone.eval()
        self._query = functools.cache(self._encode_query)
        self._support = functools.cache(self._encode_support)

    @torch.inference_mode()
    def __call__(self, supports: Sequence[ClassExample], query: Picture) -> Mapping[str, Tensor]:
        """Return maps named KIND@CUT, moved so that the evaluation's threshold is the cut."""
        foreground, means = self._support(supports[0])
        high, units, grid = self._query(query)
        sides = contrast_maps(means, units, LEVELS)[0].view(len(LEVELS), 2, -1).mean(0)
        maps = {
            "conventional": conventional_mask(foreground, high)[0, 0],
            "foreground": sides[0],
            "contrast": sides[0] - sides[1],
        }
        moved = {
            f"{kind}@{cut:.2f}": maps[kind].view(grid) - cut + THRESHOLD
            for kind, cuts in CUTS.items()
            for cut in cuts
        }
        return {MASK: torch.zeros(grid), **moved}

    def _encode_query(self, query: Picture) -> tuple[Tensor, Tensor, tuple[int, int]]:
        features = self.backbone(query.image()[None])
        grid = (features.high.shape[-2], features.high.shape[-1])
        return features.high.flatten(2), level_units(features.mid.flatten(2), LEVELS), grid

    def _encode_support(self, example: ClassExample) -> tuple[Tensor, Tensor]:
        mask = example.mask()[None, None]
        features = self.backbone(example.image()[None], mask)
        inside = mask_to_grid(mask[0], features.high.shape[-2:]).flatten(1)
        cells = unit_cells(features.high.flatten(2)[:, :, inside[0]]).mT[None]
        units = level_units(features.mid.flatten(2), LEVELS)
        return cells, level_means(units, inside, LEVELS)


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, score, print JSON: the best threshold of each kind, in percent."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", required=True, help="MobileNetV2, a folder or a hub id")
    parser.add_argument("--fold", type=int, required=True)
    parser.add_argument("--data-root", type=Path, required=True, help="VOC2012/ and BSDS500/")
    parser.add_argument("--episodes", type=int, default=1000)
    arguments = parser.parse_args(argv)
    data = PascalVOC(arguments.data_root)
    backbone = build_mobilenet_v2(arguments.weights, layers=LAYERS, output_stride=16)
    standardise(backbone, IMAGE_SIZE, arguments.data_root)
    episodes = sample_episodes(
        val_lists(data, arguments.fold), shots=1, episodes=arguments.episodes, seed=0
    )
    result = evaluate(TrainingFree(backbone), data, episodes, image_size=IMAGE_SIZE)
    report = {}
    for kind in CUTS:
        tried = {n: s for n, s in result.pseudo_masks.items() if n.startswith(f"{kind}@")}
        best = max(tried, key=lambda name: tried[name].miou)
        report[kind] = {
            "threshold": float(best.partition("@")[2]),
            "miou": round(100 * tried[best].miou, 1),
            "class_iou": {c: round(100 * iou, 1) for c, iou in tried[best].class_iou.items()},
        }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
