"""Typed configuration, checked on creation, from plain values and back to them.

Standard library only. Defaults are the paper's (AAAI 2025, arXiv 2501.00752): ResNet-50
features at 512 px, SAM at 1024 px.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from math import isfinite
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from fcp.errors import FcpError

IGNORE = 255  # label of pixels whose truth is unknown: they are neither foreground nor background
FeatureSource = Literal["F", "G", "F+G"]
Matching = Literal["pixel", "prototype"]
PseudoMask = Literal["conventional", "attention"]
Fusion = Literal["mean", "confidence", "pooled"]  # of K shots; explained in fcp.method.fusion

MOST = 1 << 63  # an integer in a file that is as large as this is a mistake
LONGEST_SHOWN = 200  # characters of a value, in an error
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
        _require(self.width >= 4 and self.width % 4 == 0, "width", "a multiple of 4", self.width)
        for name, most in (
            ("width", MOST_CHANNELS),
            ("tokens", MOST_CHANNELS),
            ("steps", MOST_STEPS),
        ):
            _require(getattr(self, name) <= most, name, f"at most {most}", getattr(self, name))
        _require(
            self.heads >= 1 and self.width % self.heads == 0,
            "heads",
            "a divisor of width",
            self.heads,
        )
        _require(self.tokens >= 1, "tokens", "at least 1", self.tokens)
        _require(self.steps >= 1, "steps", "at least 1", self.steps)
        counts = all(1 <= level <= MOST_CHANNELS for level in self.contrast_levels)
        _require(counts, "contrast_levels", "channel counts of at least 1", self.contrast_levels)
        _require(self.correlation % 2 == 0, "correlation", "an even width", self.correlation)
        _require(0 <= self.contrast_share <= 1, "contrast_share", "0 … 1", self.contrast_share)
        for name in ("attention_dropout", "matching_dropout", "feature_dropout"):
            _require(0 <= getattr(self, name) < 1, name, "in [0, 1)", getattr(self, name))
        if self.matching == "pixel":
            why = "with matching 'pixel' (VRP-SAM)"
            _require(self.features != "F+G", "features", f"'F' or 'G' {why}", self.features)
            attention_free = self.pseudo_mask == "conventional"
            _require(attention_free, "pseudo_mask", f"'conventional' {why}", self.pseudo_mask)
        if self.plain_decoder:
            prompted = self.mask_prompt or self.correlation or self.contrast_share
            fits = self.matching == "prototype" and not prompted
            why = "false with matching 'pixel', mask_prompt, correlation or contrast_share"
            _require(fits, "plain_decoder", why, True)
        if self.mask_prompt:
            has_mask = self.pseudo_mask == "attention" and self.steps >= 2
            _require(
                has_mask, "mask_prompt", "false unless attention masks exist (steps ≥ 2)", True
            )


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


ConfigT = TypeVar("ConfigT")


def from_dict(cls: type[ConfigT], values: Mapping[str, Any], where: str = "config") -> ConfigT:
    """Build a (nested) configuration from plain values, checking every name and type.

    Args:
        cls: One of the frozen dataclasses of this module (or of ``fcp.engine``), or a record of a
            file; its fields may be lists and mappings of others.
        values: Plain mapping, as YAML or JSON gives it.
        where: Name of the mapping in an error: a file's name, or a dotted path.

    Raises:
        FcpError: an unknown or missing key, or a value of the wrong type or range.
    """
    if not isinstance(values, Mapping):
        raise FcpError(f"{where}: expected a mapping of settings, got {_short(values)}")
    fields = _fields(cls)  # type: ignore[arg-type]  # for mypy a class is no Hashable
    unknown = sorted(set(values) - set(fields), key=str)
    if unknown:
        raise FcpError(
            f"{where}: unknown setting {unknown[0]!r}; known: {', '.join(sorted(fields))}"
        )
    missing = [name for name, (_, needed) in fields.items() if needed and name not in values]
    if missing:
        raise FcpError(f"{where}: no {missing[0]}; it must be there")
    arguments = {
        name: _nested(fields[name][0], value, f"{where}.{name}") for name, value in values.items()
    }
    try:
        for name, value in arguments.items():
            _check_value(fields[name][0], value, name)
        return cls(**arguments)
    except FcpError as error:
        raise FcpError(f"{where}: {error}") from error


def _nested(hint: Any, value: Any, where: str) -> Any:  # noqa: ANN401  (any annotation, any value)
    """Build the dataclasses that an annotation names, in lists and mappings too."""
    if value is None and not dataclasses.is_dataclass(hint):
        return None
    hint = _union_members(hint)[0]  # X of X | None
    if dataclasses.is_dataclass(hint):
        return from_dict(hint, value, where)  # type: ignore[arg-type]
    origin, inside = get_origin(hint), get_args(hint)
    if origin is list and isinstance(value, list):
        return [_nested(inside[0], one, f"{where}[{index}]") for index, one in enumerate(value)]
    if value is False and "no" in inside:
        return "no"  # which YAML reads as false where it has no quotation marks
    if origin is dict and isinstance(value, dict):
        return {name: _nested(inside[1], one, f"{where}.{name}") for name, one in value.items()}
    return value


def to_dict(config: Any) -> dict[str, Any]:  # noqa: ANN401  (any dataclass)
    """Return the configuration as nested plain values; ``from_dict`` is its inverse."""
    return dataclasses.asdict(config)


def _require(holds: bool, name: str, expected: str, got: object) -> None:
    if not holds:
        raise FcpError(f"{name}: expected {expected}, got {_short(got)}")


def _require_size(image_size: int) -> None:
    _require(image_size >= 32, "image_size", "at least 32", image_size)
    _require(image_size <= MOST_PX, "image_size", f"at most {MOST_PX}", image_size)


def _short(value: object) -> str:
    """Return a value of a file as text of bounded length."""
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"


def _require_modest(value: object, name: str) -> None:
    """Refuse a size far beyond any model's, before it fills the memory."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for one in inside:
        _require_modest(one, name)
    if isinstance(value, int | float):
        _require(abs(value) <= MOST_CHANNELS, name, f"numbers up to {MOST_CHANNELS}", value)


def check(config: Any) -> None:  # noqa: ANN401  (any dataclass)
    """Check each field against its annotation.

    Supported are plain types, unions with None, Literals, and lists and mappings of these; numbers
    must be finite.
    """
    for name, (hint, _) in _fields(type(config)).items():  # type: ignore[arg-type]
        _check_value(hint, getattr(config, name), name)


def require_least(config: Any, least: int, *names: str) -> None:  # noqa: ANN401  (any dataclass)
    """Refuse a setting below a number; None is no setting.

    Raises:
        FcpError: the message names the setting.
    """
    for name in names:
        value = getattr(config, name)
        _require(value is None or value >= least, name, f"at least {least}", value)


@cache
def _fields(cls: type) -> dict[str, tuple[Any, bool]]:
    """Return each field's annotation, and whether it must be given."""
    hints = get_type_hints(cls)
    return {
        one.name: (
            hints[one.name],
            one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING,
        )
        for one in dataclasses.fields(cls)
    }


def _check_value(hint: Any, value: Any, name: str) -> None:  # noqa: ANN401  (any of both)
    if hint is Any:
        return
    options = get_args(hint)
    if options and all(isinstance(option, str) for option in options):
        _require(value in options, name, f"one of {', '.join(options)}", value)
        return
    members = _union_members(hint)
    kinds = tuple(get_origin(kind) or kind for kind in members)
    numeric = float in kinds and type(value) is int
    wrong_bool = isinstance(value, bool) and bool not in kinds
    names = " or ".join(kind.__name__ for kind in kinds)
    _require(not wrong_bool and (numeric or isinstance(value, kinds)), name, names, value)
    if isinstance(value, int | float):
        finite = isfinite(value) if isinstance(value, float) else abs(value) < MOST
        _require(finite, name, "a finite number", value)
    inside = next((get_args(kind) for kind in members if get_origin(kind) is type(value)), ())
    if isinstance(value, list) and inside:
        for index, one in enumerate(value):
            _check_value(inside[0], one, f"{name}[{index}]")
    if isinstance(value, dict) and inside:
        for key, one in value.items():
            _check_value(inside[0], key, f"key of {name}")
            _check_value(inside[1], one, f"{name}.{key}")


def _union_members(hint: Any) -> tuple[Any, ...]:  # noqa: ANN401  (any annotation)
    is_union = not hasattr(hint, "__origin__") and get_args(hint)
    return get_args(hint) if is_union else (hint,)
