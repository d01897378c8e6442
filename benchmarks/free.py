"""What do the methods without training cost at true size? Random weights, one photo, this machine.

The architectures are the published ones; the query is the support's own photo, so that every step
has something to do. CPU seconds (one thread: what an idle core takes), and the peak memory.

    OMP_NUM_THREADS=1 python benchmarks/free.py free:insid3+dinov3-vitl16
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from fcp.config import SegmenterConfig
from fcp.encoders import build_segmenter
from fcp.encoders.base import PromptableSegmenter
from fcp.encoders.cells import CellEncoder, build_cells
from fcp.engine.random_weights import ARCHITECTURES
from fcp.method.names import parse_name
from fcp.method.registry import METHODS

VIT_L = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16}
BACKBONES: dict[str, dict[str, Any]] = {
    "dinov3-vitl16": {
        "model_type": "dinov3_vit",
        **VIT_L,
        "intermediate_size": 4096,
        "patch_size": 16,
        "num_register_tokens": 4,
    },
    "dinov2-large": {"model_type": "dinov2", **VIT_L, "patch_size": 14, "image_size": 518},
}
KINDS = {"sam-vit-base": "sam", "sam-vit-huge": "sam", "sam2.1-hiera-large": "sam2"}
SEGMENTERS = {
    short: (kind, ARCHITECTURES[f"facebook/{short}"] or {}) for short, kind in KINDS.items()
}


def photo(side: int = 512) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a picture (3, S, S) of a textured disc before a gradient, and the disc's mask."""
    generator = torch.Generator().manual_seed(0)
    ramp = torch.linspace(0, 1, side)
    y, x = torch.meshgrid(ramp, ramp, indexing="ij")
    mask = (x - 0.55) ** 2 + (y - 0.45) ** 2 < 0.06
    noise = torch.rand(3, side, side, generator=generator)
    picture = torch.stack([x, y, 1 - x]) * 0.5 + 0.1 * noise
    return torch.where(mask, 0.3 + 0.7 * noise, picture).clamp(0, 1), mask.float()


def timed(run: Callable[[], Any]) -> tuple[Any, float]:
    """Return what a call gives and the CPU seconds that it took."""
    start = time.process_time()
    return run(), time.process_time() - start


def parts(name: str) -> tuple[CellEncoder | None, PromptableSegmenter | None]:
    """Build the encoders that a name asks for, of true size and random."""
    found = parse_name(name)
    builder = METHODS[found.method]
    cells, segmenter = None, None
    for short in str(found).split("+")[1:]:
        if short in BACKBONES and builder.image_size is not None:
            cells = build_cells(
                None,
                image_size=builder.image_size,
                final_norm=builder.final_norm,
                config=BACKBONES[short],
            )
        elif short in SEGMENTERS:
            kind, config = SEGMENTERS[short]
            segmenter = build_segmenter(SegmenterConfig(kind, options={"config": config}))
        else:
            known = ", ".join([*BACKBONES, *SEGMENTERS])
            raise SystemExit(f"{short}: no architecture here; known: {known}")
    return cells, segmenter


@torch.no_grad()
def main(argv: Sequence[str] | None = None) -> None:
    """Build, run once, print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="free:METHOD+BACKBONE+SEGMENTER")
    parser.add_argument("--preset", default="fss", help="of matcher: coco, fss or parts")
    arguments = parser.parse_args(argv)
    name = parse_name(arguments.model).method
    torch.manual_seed(0)
    options = {"preset": arguments.preset} if name == "matcher" else {}
    method = METHODS[name](*parts(arguments.model), **options)
    image, mask = photo()
    support, support_time = timed(
        lambda: method.encode_support(image[None, None], mask[None, None])
    )
    query, query_time = timed(lambda: method.encode_query(image[None]))
    found, match_time = timed(lambda: method.match(support, query))
    report = {
        "model": str(parse_name(arguments.model)),
        "million_parameters": round(sum(p.numel() for p in method.parameters()) / 1e6),
        "support_s": round(support_time, 1),
        "query_s": round(query_time, 1),
        "match_s": round(match_time, 1),
        "match_share_of_encoders": round(match_time / query_time, 2),
        "peak_GiB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 1),
        "foreground": round(float((found.mask_logits > 0).float().mean()), 3),
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
