"""Names in checkpoints of the authors' program of CyCTR (table1.md §0, §5)."""

from __future__ import annotations

import torch
from torch import Tensor

from fcp.method.published import Published

_BODY, _STEM = "backbone.body.", {"conv1": 0, "bn1": 1, "conv2": 3, "bn2": 4, "conv3": 6, "bn3": 7}
_FINE = 512  # channels of stage 2, which come first there and last here
_CROSS = {"q_fc": "query", "k_fc": "key", "v_fc": "value", "proj": "out"}
_SELF = {
    "sampling_offsets": "offsets",
    "attention_weights": "weights",
    "value_proj": "value",
    "output_proj": "out",
}


def _layer_names(layer: int) -> dict[str, str]:
    ours = f"transformer.layers.{layer}."
    crossed = f"transformer.cross_layers.{layer}."
    self_read = f"transformer.qry_self_layers.{layer}."
    feeds = {
        f"transformer.ffns.{2 * layer + i}.layers.{place}.": f"{ours}feeds.{i}.{own}."
        for i in range(2)
        for place, own in (("0.0", "expand"), ("1", "reduce"))
    }
    return {
        **{f"{crossed}{theirs}.": f"{ours}supports.{own}." for theirs, own in _CROSS.items()},
        **{f"{self_read}{theirs}.": f"{ours}itself.{own}." for theirs, own in _SELF.items()},
        **feeds,
        **{f"transformer.layer_norms.{4 * layer + i}.": f"{ours}norms.{i}." for i in range(4)},
    }


def _stages_swapped(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Bring the projections' inputs from [stage 2, stage 3] to the order of our backbones."""
    return {
        name: torch.cat([tensor[:, _FINE:], tensor[:, :_FINE]], 1)
        if name in ("query.weight", "support.weight")
        else tensor
        for name, tensor in state.items()
    }


PUBLISHED = Published(
    names={
        **{f"{_BODY}{part}.": f"backbone.layer0.{place}." for part, place in _STEM.items()},
        **{f"{_BODY}layer{stage}.": f"backbone.layer{stage}." for stage in range(1, 5)},
        "adjust_feature_qry.0.": "query.",
        "adjust_feature_supp.0.": "support.",
        "qry_merge_feat.0.": "merge_query.",
        "supp_merge_feat.0.": "merge_support.",
        "transformer.level_embed": "transformer.level",
        **_layer_names(0),
        **_layer_names(1),
        "merge_multi_lvl_reduce.0.": "reduce.",
        "merge_multi_lvl_sum.0.": "polish.first.",
        "merge_multi_lvl_sum.2.": "polish.second.",
        "cls.0.": "head.mix.",
        "cls.3.": "head.score.",
        "pred_supp_qry_proj.0.": "back.project.",
        "supp_init_merge.0.": "back.merge.",
        "supp_beta_conv.0.": "back.polish.first.",
        "supp_beta_conv.2.": "back.polish.second.",
        "supp_cls.0.": "back.head.mix.",
        "supp_cls.3.": "back.head.score.",
    },
    options_of=lambda _: {"released": True},
    unused_of=lambda _: ("addtional_proj.",),
    adapt=_stages_swapped,
)
