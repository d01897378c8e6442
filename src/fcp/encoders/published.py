"""Published segmenters of the SAM family, known by their configuration."""

from __future__ import annotations

from fcp.encoders import SEGMENTERS
from fcp.encoders.base import PromptableSegmenter
from fcp.encoders.hub import load_config
from fcp.encoders.places import find_folder
from fcp.errors import FcpError

# transformers' model_type → our segmenter; SAM 2's files are those of its video model.
_SEGMENTER_OF = {"sam": "sam", "sam_hq": "sam_hq", "sam2": "sam2", "sam2_video": "sam2"}


def load_segmenter(weights: str) -> PromptableSegmenter:
    """Load any published segmenter of the SAM family, by what its configuration says it is.

    Args:
        weights: Hub id, folder or file, as ``find_folder`` takes it.

    Raises:
        FcpError: not found, or no model of the family.
    """
    place = find_folder(weights)
    if place.is_file():
        kind = "sam_hq" if "hq" in place.name else "sam"
    else:
        model_type = load_config(str(place)).model_type
        if model_type not in _SEGMENTER_OF:
            raise FcpError(
                f"{weights}: is {model_type!r}, not a promptable segmenter; expected one of"
                f" {', '.join(_SEGMENTER_OF)}"
            )
        kind = _SEGMENTER_OF[model_type]
    return SEGMENTERS[kind](str(place))
