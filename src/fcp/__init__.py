"""Few-shot segmentation: mark an object in a few examples, find it in any photo.

FCP, "Foreground-Covering Prototype Generation and Matching for SAM-Aided Few-Shot Segmentation"
(AAAI 2025). Names are loaded on first use, so that importing the package does not load torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fcp.config import BackboneConfig, HeadConfig, ModelConfig, SegmenterConfig
    from fcp.data.prompts import Box, Points, Scribble
    from fcp.errors import FcpError
    from fcp.inference.prediction import ClassPrediction, Prediction
    from fcp.inference.segmenter import FewShotSegmenter
    from fcp.inference.support import Support
    from fcp.method.fcp.heads import run_head
    from fcp.method.fcp.model import FCP

    __version__: str

__all__ = [
    "FCP",
    "BackboneConfig",
    "Box",
    "ClassPrediction",
    "FcpError",
    "FewShotSegmenter",
    "HeadConfig",
    "ModelConfig",
    "Points",
    "Prediction",
    "Scribble",
    "SegmenterConfig",
    "Support",
    "__version__",
    "run_head",
]

_HOMES = {
    "FCP": "fcp.method.fcp.model",
    "BackboneConfig": "fcp.config",
    "Box": "fcp.data.prompts",
    "ClassPrediction": "fcp.inference.prediction",
    "FcpError": "fcp.errors",
    "FewShotSegmenter": "fcp.inference.segmenter",
    "HeadConfig": "fcp.config",
    "ModelConfig": "fcp.config",
    "Points": "fcp.data.prompts",
    "Prediction": "fcp.inference.prediction",
    "Scribble": "fcp.data.prompts",
    "SegmenterConfig": "fcp.config",
    "Support": "fcp.inference.support",
    "run_head": "fcp.method.fcp.heads",
}


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib import metadata  # slow to load, and hardly ever asked for

        return metadata.version("fcp-seg")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'fcp' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
