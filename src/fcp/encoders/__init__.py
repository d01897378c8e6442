"""The frozen encoders on the left of Figure 3, by name: registries and the two builders.

A builder is imported when it runs, so that importing this package needs neither torch's models
nor transformers. A new encoder is one entry here and one file beside this one.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fcp.checks import check_options
from fcp.config import BackboneConfig, SegmenterConfig
from fcp.errors import FcpError

if TYPE_CHECKING:
    from fcp.encoders.base import Backbone, PromptableSegmenter

__all__ = ["BACKBONES", "SEGMENTERS", "build_backbone", "build_segmenter"]


@dataclass(frozen=True)
class LazyBuilder:
    """A builder that is imported at its first call; called as ``builder(weights, **options)``.

    Attributes:
        module: Dotted path of the module.
        function: Name of the builder in it; its keyword-only arguments are the options.
    """

    module: str
    function: str

    def __call__(self, weights: str | None, **options: Any) -> Any:  # noqa: ANN401  (either interface)
        """Import the builder and run it.

        Raises:
            FcpError: an option that the builder does not have, or a value of the wrong type.
        """
        build = self.load()
        check_options(options, build)
        return build(weights, **options)

    def load(self) -> Callable[..., Any]:
        """Import the builder and return it."""
        build: Callable[..., Any] = getattr(importlib.import_module(self.module), self.function)
        return build


BACKBONES: dict[str, Callable[..., Backbone]] = {
    "resnet50": LazyBuilder("fcp.encoders.resnet", "build_resnet50"),
    "resnet101": LazyBuilder("fcp.encoders.resnet", "build_resnet101"),
    "vgg16_bn": LazyBuilder("fcp.encoders.vgg", "build_vgg16_bn"),
    "mobilenet_v2": LazyBuilder("fcp.encoders.mobilenet", "build_mobilenet_v2"),
    "efficientnet_lite": LazyBuilder("fcp.encoders.efficientnet_lite", "build_efficientnet_lite"),
    "auto": LazyBuilder("fcp.encoders.auto", "build_auto"),
}

SEGMENTERS: dict[str, Callable[..., PromptableSegmenter]] = {
    "sam": LazyBuilder("fcp.encoders.sam", "build_sam"),
    "sam2": LazyBuilder("fcp.encoders.sam2", "build_sam2"),
    "sam_hq": LazyBuilder("fcp.encoders.sam_hq", "build_sam_hq"),
    "tiny": LazyBuilder("fcp.encoders.tiny", "build_tiny"),
}


def build_backbone(config: BackboneConfig) -> Backbone:
    """Build the class-consistent backbone that a configuration names.

    With ``config.weights`` None it has random weights, which ``fcp.models.checkpoint`` replaces by
    those of the model's folder.

    Raises:
        FcpError: an unknown name or option, or weights that are missing or do not fit.
    """
    backbone: Backbone = _build(BACKBONES, "backbone", config)
    return backbone


def build_segmenter(config: SegmenterConfig) -> PromptableSegmenter:
    """Build the promptable segmenter that a configuration names; see ``build_backbone``."""
    segmenter: PromptableSegmenter = _build(SEGMENTERS, "segmenter", config)
    return segmenter


def _build(
    registry: Mapping[str, Callable[..., Any]], part: str, config: BackboneConfig | SegmenterConfig
) -> Any:  # noqa: ANN401  (either interface)
    builder = registry.get(config.name)
    if builder is None:
        raise FcpError(f"{part}.name: unknown {config.name!r}; known: {', '.join(registry)}")
    try:
        return builder(config.weights, **config.options)
    except FcpError as error:
        raise FcpError(f"{part} {config.name!r}: {error}") from error
