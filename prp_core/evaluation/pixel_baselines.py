"""Features that need no network: a clip's mean picture, and where its pixels change.

An encoder that retrieves no better than these has learnt colours and places, not motion.
"""

from __future__ import annotations

import torch
from torch.nn.functional import adaptive_avg_pool2d

MAX_SIDE = 28


def mean_frame(clips_BCTHW: torch.Tensor) -> torch.Tensor:
    """(B, 3, h, w) with sides of at most 28: the mean over time."""
    return _smaller(clips_BCTHW.mean(dim=2))


def mean_absolute_difference(clips_BCTHW: torch.Tensor) -> torch.Tensor:
    """(B, 3, h, w) with sides of at most 28: the mean over time of the absolute difference of
    neighbouring frames.
    """
    return _smaller(clips_BCTHW.diff(dim=2).abs().mean(dim=2))


def _smaller(picture_BCHW: torch.Tensor) -> torch.Tensor:
    """Averaged down, so that the features of a whole corpus fit in memory."""
    height, width = picture_BCHW.shape[-2:]
    return adaptive_avg_pool2d(picture_BCHW, (min(height, MAX_SIDE), min(width, MAX_SIDE)))


PIXEL_BASELINES = {"mean_frame": mean_frame, "mean_absolute_difference": mean_absolute_difference}
