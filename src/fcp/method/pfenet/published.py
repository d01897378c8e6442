"""Names in checkpoints of the authors' program of PFENet (table1.md §2)."""

from __future__ import annotations

from fcp.method.published import BACKBONE_NAMES, Published, backbone_of

PUBLISHED = Published(
    names={
        **BACKBONE_NAMES,
        "down_query.0.": "query.",
        "down_supp.0.": "support.",
        **{f"init_merge.{i}.0.": f"enrichment.merge.{i}." for i in range(4)},
        **{f"alpha_conv.{i}.0.": f"enrichment.from_finer.{i}." for i in range(3)},
        **{f"beta_conv.{i}.0.": f"enrichment.refine.{i}.first." for i in range(4)},
        **{f"beta_conv.{i}.2.": f"enrichment.refine.{i}.second." for i in range(4)},
        **{f"inner_cls.{i}.0.": f"enrichment.heads.{i}.mix." for i in range(4)},
        **{f"inner_cls.{i}.3.": f"enrichment.heads.{i}.score." for i in range(4)},
        "res1.0.": "enrichment.join.",
        "res2.0.": "enrichment.polish.first.",
        "res2.2.": "enrichment.polish.second.",
        "cls.0.": "head.mix.",
        "cls.3.": "head.score.",
    },
    options_of=lambda state: {"backbone": backbone_of(state), "released": True},
)
