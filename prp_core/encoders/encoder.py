"""The encoder: video clips in, a feature map out that is 8 times shorter and 16 times smaller."""

from __future__ import annotations

from torch import nn

TIME_STRIDE = 8
SPACE_STRIDE = 16


class Encoder(nn.Module):
    """Base class: ``(B, 3, T, H, W)`` to ``(B, feature_channels, T/8, H/16, W/16)``.

    `forward` takes clips with values in [0, 1]; T must be a multiple of 8, H and W of 16. Weights
    are drawn by torch's own initialisation from its global generator.
    """

    feature_channels: int
