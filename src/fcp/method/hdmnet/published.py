"""Names in checkpoints of the authors' program of HDMNet (table1.md §4)."""

from __future__ import annotations

from fcp.method.bam.published import ENSEMBLE_NAMES, pool_names
from fcp.method.published import (
    BACKBONE_NAMES,
    Published,
    State,
    backbone_of,
    idle_shot_weights,
    shots_of,
)

_TRANSFORMER = "transformer.mix_transformer."
_LEVELS = range(3)
_FEED = {"ffn.layers.0.": "expand.", "ffn.layers.1.": "depthwise.", "ffn.layers.4.": "reduce."}
_ATTENTION = {
    f"attn.attn.linear_{short}.": f"projections.{name}."
    for short, name in (("q", "query"), ("k", "key"), ("v", "value"), ("o", "out"))
}
_BLOCK = {
    "norm1.": "norm1.",
    "norm2.": "norm2.",
    "attn.sr.": "attention.shrink.",
    "attn.norm.": "attention.norm.",
    **{theirs: f"attention.{ours}" for theirs, ours in _ATTENTION.items()},
    **{theirs: f"feed.{ours}" for theirs, ours in _FEED.items()},
}
_MATCH = {
    "norm1.": "norm1.",
    "norm2.": "norm2.",
    **_ATTENTION,
    **{theirs: f"feed.{ours}" for theirs, ours in _FEED.items()},
}
_BOTTLENECK = {0: "conv1.", 1: "norm1.", 2: "conv2.", 3: "norm2.", 4: "conv3."}


def _below(theirs: str, ours: str, names: dict[str, str]) -> dict[str, str]:
    """Put a table of names below a beginning."""
    return {
        f"{_TRANSFORMER}{theirs}{published}": f"{ours}{own}" for published, own in names.items()
    }


def _level_names(level: int) -> dict[str, str]:
    down, ours = f"down_sample_layers.{level}.", f"hierarchy.levels.{level}."
    ends = {"0.projection.": "project.", "0.norm.": "norm_in.", "3.": "norm_out."}
    blocks = {
        place: _below(f"{down}{place + 1}.", f"{ours}blocks.{place}.", _BLOCK) for place in (0, 1)
    }
    parse = {f"{place}.": own for place, own in _BOTTLENECK.items()}
    match = {"1.conv.": "conv.", "1.bn.": "norm."}
    return {
        **_below(down, ours, ends),
        **blocks[0],
        **blocks[1],
        **_below(f"match_layers.{level}.0.", f"matching.{level}.match.", _MATCH),
        **_below(f"match_layers.{level}.", f"matching.{level}.", match),
        **_below(f"parse_layers.{level}.", f"decoder.blocks.{level}.", parse),
        **_below(f"parse_layers.{level}.", f"decoder.norms.{level}.", {"5.": ""}),
    }


def _options(state: State) -> dict[str, object]:
    found = {"backbone": backbone_of(state), "shots": shots_of(state), "released": True}
    score = state.get("base_learnear.2.bias")
    return found if score is None else {**found, "base_classes": len(score) - 1}


# Keys that are not shrunk need neither convolution nor norm.
_NOT_SHRUNK = tuple(
    f"{_TRANSFORMER}{place}.attn.{part}."
    for place in (
        *(f"down_sample_layers.2.{block}" for block in (1, 2)),
        *(f"match_layers.{level}.0" for level in _LEVELS),
    )
    for part in ("sr", "norm")
)

PUBLISHED = Published(
    names={
        **BACKBONE_NAMES,
        **pool_names("ppm."),
        **ENSEMBLE_NAMES,
        "cls.0.": "learner.reduce.",
        "cls.1.": "learner.norm.",
        "base_learnear.2.": "learner.score.",
        "down_query.0.": "query.",
        "down_supp.0.": "support.",
        "query_merge.0.": "merge_query.",
        "supp_merge.0.": "merge_support.",
        **{name: own for level in _LEVELS for name, own in _level_names(level).items()},
        **_below("cls.", "decoder.head.", {f"{i}.": own for i, own in _BOTTLENECK.items()}),
    },
    options_of=_options,
    unused_of=lambda state: _NOT_SHRUNK + idle_shot_weights(state),
)
