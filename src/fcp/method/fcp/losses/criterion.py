"""The training objective (Eq. 15): named terms, their weights, one sum."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fcp.config import LossWeights
from fcp.errors import FcpError
from fcp.method.fcp.losses.correlation import correlation_loss
from fcp.method.fcp.losses.diversity import orthogonal_loss
from fcp.method.fcp.losses.guide import guide_loss
from fcp.method.fcp.losses.mask import mask_loss_from_logits
from fcp.structures import Output


class Criterion:
    """``total = prompt + 0.5·guide + 0.05·ortho`` at the default weights.

    Args:
        weights: Weights of the terms; a term of weight 0 is reported all the same.
    """

    def __init__(self, weights: LossWeights | None = None) -> None:
        self.weights = weights or LossWeights()

    def __call__(
        self, output: Output, query_mask: Tensor, present: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Compute the loss terms of an output.

        Args:
            output: Output of the model in training, or with its attention maps.
            query_mask: Mask of the queries (B, H, W): 0, 1, or 255 for pixels that do not count; of
                the logits' size.
            present: Presence of the class in the queries (B,), 0 or 1, which a head with
                correlation learns; None where all queries show it.

        Returns:
            Unweighted terms ``prompt``, ``guide``, ``ortho`` and, for a head with correlation,
            ``correlation`` and ``presence``; and their weighted sum ``total``: scalars, float32.

        Raises:
            FcpError: the mask is not of the logits' size, or the output has no maps.
        """
        if query_mask.shape != output.mask_logits.shape:
            expected, got = tuple(output.mask_logits.shape), tuple(query_mask.shape)
            raise FcpError(f"query_mask: expected the logits' shape {expected}, got {got}")
        if output.support_attention is None or output.query_attention is None:
            raise FcpError("output: has no attention maps; run the model with with_maps=True")
        branches = (output.support_attention, output.query_attention)
        terms = {
            "prompt": mask_loss_from_logits(output.mask_logits, query_mask),
            "guide": guide_loss(output.attention_masks, query_mask),
            "ortho": (orthogonal_loss(branches[0]) + orthogonal_loss(branches[1])) / 2,
        }
        if output.correlation is not None:
            terms["correlation"] = correlation_loss(output.correlation.estimates, query_mask)
            judged = output.correlation.presence.float()
            shown = torch.ones_like(judged) if present is None else present
            terms["presence"] = F.binary_cross_entropy_with_logits(judged, shown)
        weighted = (getattr(self.weights, name) * value for name, value in terms.items())
        return {**terms, "total": sum(weighted, start=output.mask_logits.new_zeros(()))}
