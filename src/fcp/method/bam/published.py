"""Names in checkpoints of the authors' program of BAM and of its base learners (table1.md §3)."""

from __future__ import annotations

from pathlib import Path

from fcp.encoders.weights import load_strictly, read_state_dict
from fcp.method.bam.base_learner import BaseLearner, PSPNet
from fcp.method.published import (
    BACKBONE_NAMES,
    Published,
    State,
    backbone_of,
    idle_shot_weights,
    renamed,
    shots_of,
)
from fcp.method.stages import build_stages


def pool_names(start: str) -> dict[str, str]:
    """Return the names of the pooled maps below a published beginning → ours in the learner."""
    return {
        f"{start}features.{i}.{place}.": f"learner.pools.{i}.{part}."
        for i in range(4)
        for place, part in ((1, "conv"), (2, "norm"))
    }


# Of BAM and HDMNet.
ENSEMBLE_NAMES = {
    "gram_merge.": "ensemble.adjust.",
    "cls_merge.": "ensemble.suppress.",
    "kshot_rw.0.": "shot_weights.first.",
    "kshot_rw.2.": "shot_weights.second.",
}


def _options(state: State) -> dict[str, object]:
    classes = state.get("learner_base.1.4.bias")
    found: dict[str, object] = {"backbone": backbone_of(state), "shots": shots_of(state)}
    return found if classes is None else {**found, "base_classes": len(classes) - 1}


PUBLISHED = Published(
    names={
        **BACKBONE_NAMES,
        **pool_names("learner_base.0."),
        **ENSEMBLE_NAMES,
        "learner_base.1.0.": "learner.reduce.",
        "learner_base.1.1.": "learner.norm.",
        "learner_base.1.4.": "learner.score.",
        "down_query.0.": "query.",
        "down_supp.0.": "support.",
        "init_merge.0.": "merge.",
        "ASPP_meta.layer6_0.0.": "pyramid.globally.",
        "ASPP_meta.layer6_1.0.": "pyramid.cell.",
        **{f"ASPP_meta.layer6_{i + 2}.0.": f"pyramid.wider.{i}." for i in range(3)},
        "res1_meta.0.": "pyramid.join.",
        "res2_meta.0.": "polish.first.",
        "res2_meta.2.": "polish.second.",
        "cls_meta.0.": "head.mix.",
        "cls_meta.3.": "head.score.",
    },
    options_of=_options,
    unused_of=idle_shot_weights,
)

BASE_LEARNER = Published(
    names={
        **BACKBONE_NAMES,
        **pool_names("ppm."),
        "cls.0.": "learner.reduce.",
        "cls.1.": "learner.norm.",
        "cls.4.": "learner.score.",
    },
    unused_of=lambda _: ("encoder.",),  # the stages once more
)


def import_base_learner(path: Path) -> PSPNet:
    """Read a published base learner with its backbone, in evaluation mode.

    Raises:
        FcpError: Damaged file, or entries that do not fit; names the first ones.
    """
    state = read_state_dict(path)
    ours, _ = renamed(state, BASE_LEARNER)
    stages = build_stages(backbone_of(state), None)
    score = ours.get("learner.score.bias")
    classes = 15 if score is None else len(score) - 1  # a file without it is refused below
    model = PSPNet(stages, BaseLearner(stages.high_channels, classes))
    load_strictly(model, ours, path)
    return model.eval()
