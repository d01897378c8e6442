"""Names in checkpoints of the authors' program of SSP (table1.md §0, §1)."""

from __future__ import annotations

from fcp.method.published import BACKBONE_NAMES, Published

PUBLISHED = Published(
    names={
        **BACKBONE_NAMES,
        "layer0.0.": "backbone.layer0.",
        "layer0.1.": "backbone.layer0.7.",  # the norm behind the stem's last convolution
    },
)
