"""The generative branch: how far the reconstruction in slow motion is from the frames that were
really there.
"""

from __future__ import annotations

import torch


def reconstruction_loss(
    prediction_BCTHW: torch.Tensor,
    target_BCTHW: torch.Tensor,
    weights_BCTHW: torch.Tensor,
    supervised_BT: torch.Tensor,
) -> torch.Tensor:
    """Weighted squared error of the supervised frames: each item's mean over them first, then the
    mean over the batch.

    So an item with half of its frames supervised weighs as much as any other (method §4.1). Weights
    carry no gradient, and are not normalised; the target's precision is the sum's. Every item has
    at least one supervised frame.
    """
    error = (
        prediction_BCTHW.to(target_BCTHW.dtype) - target_BCTHW
    ).square() * weights_BCTHW.detach()
    error_BT = error.mean(dim=(1, 3, 4)).masked_fill(~supervised_BT, 0.0)
    return (error_BT.sum(dim=1) / supervised_BT.sum(dim=1)).mean()
