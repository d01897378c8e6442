"""Typed configuration, checked on creation, from plain values and back to them.

Standard library only. Defaults are the paper's (AAAI 2025, arXiv 2501.00752): ResNet-50
features at 512 px, SAM at 1024 px.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from fcp.checks import check, require, require_least

IGNORE = 255  # label of pixels whose truth is unknown: they are neither foreground nor background
FeatureSource = Literal["F", "G", "F+G"]
Matching = Literal["pixel", "prototype"]
PseudoMask = Literal["conventional", "attention"]
Fusion = Literal["mean", "confidence", "pooled"]  # of K shots; explained in fcp.method.fusion

# Sizes of a model: far above all known ones, and small enough that a mistake fills no memory.
MOST_PX, MOST_CHANNELS, MOST_STEPS = 8192, 16384, 1000


@dataclass(frozen=True)
class HeadConfig:
    """The trainable head: sizes, and the switches that make the ablations of Table 2 and Eq. 6.

    Examples:
        >>> HeadConfig(features="F", matching="pixel", pseudo_mask="conventional").tokens
        50

    Attributes:
        width: Number C of channels of the head and of the prompt tokens; equals the segmenter's.
        tokens: Number N of learnable tokens of each branch.
        steps: Number T of refinement steps; the last one reads the backbone's features as values.
        heads: Number of attention heads; divides ``width``.
        features: Features that the prototypes gather ("F" backbone, "G" SAM, "F+G" both).
        matching: Kind of matching: prototype-prototype (FCP) or prototype-pixel (VRP-SAM).
        pseudo_mask: Mask that guides the query's later steps: the attention-based mask of the step
            before (FCP, Eq. 8) or the conventional one throughout (Eq. 5).
        refresh_guidance: Whether G is guided anew at each step with the attention mask (released
            program), or once with the conventional mask (paper, Eq. 6).
        mask_prompt: Whether the last attention mask also enters the mask decoder as its dense mask
            prompt (ours, for small segmenters; not in the paper).
        contrast_levels: Number of channels of each level of the backbone's mid-level map whose
            similarity to the support's foreground and background is added to the guidance (ours,
            for small backbones; empty: none, as the paper).
        plain_decoder: Whether convolutions of the head draw the mask, not the promptable segmenter
            (ours, to tell what the segmenter gives; not in the paper).
        correlation: Number of hidden channels of the correlation decoder, whose mask replaces the
            conventional mask and is the dense mask prompt (ours; 0: none, as the paper). The
            backbone must return its levels.
        contrast_share: Largest share of the mask of Contrast (``method.contrast``) in that of
            pooled examples, 0 … 1; of K examples it is this · (1 − 1/K) (ours; 0: none, as the
            paper).
        maps_after_dropout: Whether pseudo masks and losses use the attention maps after dropout
            (released program) or before it (default).
        attention_dropout: Dropout rate of the attention of the refinement steps.
        matching_dropout: Dropout rate of the attention of the matching layer.
        feature_dropout: Rate of channel dropout on projected backbone features.
    """

    width: int = 256
    tokens: int = 50
    steps: int = 3
    heads: int = 4
    features: FeatureSource = "F+G"
    matching: Matching = "prototype"
    pseudo_mask: PseudoMask = "attention"
    refresh_guidance: bool = True
    mask_prompt: bool = False
    contrast_levels: list[int] = field(default_factory=list)
    plain_decoder: bool = False
    correlation: int = 0
    contrast_share: float = 0.0
    maps_after_dropout: bool = False
    attention_dropout: float = 0.5
    matching_dropout: float = 0.2
    feature_dropout: float = 0.5

    def __post_init__(self) -> None:
        """Refuse sizes that no head can have."""
        check(self)
        require(self.width >= 4 and self.width % 4 == 0, "width", "a multiple of 4", self.width)
        for name, most in (
            ("width", MOST_CHANNELS),
            ("tokens", MOST_CHANNELS),
            ("steps", MOST_STEPS),
        ):
            require(getattr(self, name) <= most, name, f"at most {most}", getattr(self, name))
        require(
            self.heads >= 1 and self.width % self.heads == 0,
            "heads",
            "a divisor of width",
            self.heads,
        )
        require(self.tokens >= 1, "tokens", "at least 1", self.tokens)
        require(self.steps >= 1, "steps", "at least 1", self.steps)
        counts = all(1 <= level <= MOST_CHANNELS for level in self.contrast_levels)
        require(counts, "contrast_levels", "channel counts of at least 1", self.contrast_levels)
        even = 0 <= self.correlation <= MOST_CHANNELS and self.correlation % 2 == 0
        expected = f"an even number 0 … {MOST_CHANNELS}"
        require(even, "correlation", expected, self.correlation)
        require(0 <= self.contrast_share <= 1, "contrast_share", "0 … 1", self.contrast_share)
        for name in ("attention_dropout", "matching_dropout", "feature_dropout"):
            require(0 <= getattr(self, name) < 1, name, "in [0, 1)", getattr(self, name))
        if self.matching == "pixel":
            why = "with matching 'pixel' (VRP-SAM)"
            require(self.features != "F+G", "features", f"'F' or 'G' {why}", self.features)
            attention_free = self.pseudo_mask == "conventional"
            require(attention_free, "pseudo_mask", f"'conventional' {why}", self.pseudo_mask)
        if self.plain_decoder:
            prompted = self.mask_prompt or self.correlation or self.contrast_share
            fits = self.matching == "prototype" and not prompted
            why = "false with matching 'pixel', mask_prompt, correlation or contrast_share"
            require(fits, "plain_decoder", why, True)
        if self.mask_prompt:
            has_mask = self.pseudo_mask == "attention" and self.steps >= 2
            require(has_mask, "mask_prompt", "false unless attention masks exist (steps ≥ 2)", True)


@dataclass(frozen=True)
class BackboneConfig:
    """The class-consistent backbone: registry name, source of its weights, its own options.

    Examples:
        >>> BackboneConfig("resnet50", options={"stem": "7x7"}).weights is None
        True

    Attributes:
        name: Key of ``fcp.encoders.BACKBONES``.
        weights: Hub id, folder or file; None when the weights are stored in the model's folder.
        options: Keyword arguments of the builder, such as ``{"stem": "7x7"}``.
    """

    name: str = "resnet50"
    weights: str | None = None
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the fields' types, and that no number is far too large."""
        check(self)
        _require_modest(self.options, "options")


@dataclass(frozen=True)
class SegmenterConfig:
    """The promptable segmenter: registry name, source of its weights, its own options.

    Examples:
        >>> SegmenterConfig("sam", weights="facebook/sam-vit-base").name
        'sam'

    Attributes:
        name: Key of ``fcp.encoders.SEGMENTERS``.
        weights: Hub id, folder or file; None when the weights are stored in the model's folder.
        options: Keyword arguments of the builder.
    """

    name: str = "sam"
    weights: str | None = None
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the fields' types, and that no number is far too large."""
        check(self)
        _require_modest(self.options, "options")


@dataclass(frozen=True)
class EncodersConfig:
    """Two encoders without a head, and the square size (px) that pictures take.

    Examples:
        >>> EncodersConfig(image_size=320).segmenter.name
        'sam'
    """

    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    segmenter: SegmenterConfig = field(default_factory=SegmenterConfig)
    image_size: int = 512

    def __post_init__(self) -> None:
        """Refuse a size that leaves no grid."""
        check(self)
        _require_size(self.image_size)


@dataclass(frozen=True)
class ModelConfig:
    """A whole model: head, the two encoders, and the square size (px) that pictures take.

    Examples:
        >>> ModelConfig(image_size=384).head.steps
        3
    """

    head: HeadConfig = field(default_factory=HeadConfig)
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    segmenter: SegmenterConfig = field(default_factory=SegmenterConfig)
    image_size: int = 512

    def __post_init__(self) -> None:
        """Refuse a size that leaves no grid."""
        check(self)
        _require_size(self.image_size)


@dataclass(frozen=True)
class LossWeights:
    """Weight of each named term in the total (Eq. 15); the defaults are the paper's.

    Attributes:
        prompt: Weight of the loss on the predicted mask (Eq. 13).
        guide: Weight of the loss on the attention-based pseudo masks (Eq. 9).
        ortho: Weight of the similarity of the tokens' attention maps (Eq. 14).
        correlation: Weight of the loss on the estimates of a head with correlation (ours).
        presence: Weight of the loss on its estimate whether the query shows the class (ours).
    """

    prompt: float = 1.0
    guide: float = 0.5
    ortho: float = 0.05
    correlation: float = 1.0
    presence: float = 0.3

    def __post_init__(self) -> None:
        """Refuse weights that would reward an error."""
        check(self)
        require_least(self, 0, "prompt", "guide", "ortho", "correlation", "presence")


def _require_size(image_size: int) -> None:
    require(image_size >= 32, "image_size", "at least 32", image_size)
    require(image_size <= MOST_PX, "image_size", f"at most {MOST_PX}", image_size)


def _require_modest(value: object, name: str) -> None:
    """Refuse a size far beyond any model's, before it fills the memory."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for one in inside:
        _require_modest(one, name)
    if isinstance(value, int | float):
        require(abs(value) <= MOST_CHANNELS, name, f"numbers up to {MOST_CHANNELS}", value)
