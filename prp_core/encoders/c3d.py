"""C3D with batch normalisation: plain 3x3x3 convolutions and max-pools (method §2.1)."""

from __future__ import annotations

import torch
from torch import nn

from prp_core.encoders.blocks import conv_norm_relu
from prp_core.encoders.encoder import Encoder


class C3D(Encoder):
    """Eight convolutions in five stages of `widths` channels; stages 3 to 5 have two.

    The pool after stage 1 halves space alone; those after stages 2 to 4 halve time too.
    """

    def __init__(self, widths: tuple[int, int, int, int, int] = (64, 128, 256, 512, 512)) -> None:
        super().__init__()
        first, second, third, fourth, fifth = widths
        self.feature_channels = fifth
        self.conv1 = conv_norm_relu(3, first)
        self.pool1 = nn.MaxPool3d((1, 2, 2))
        self.conv2 = conv_norm_relu(first, second)
        self.pool2 = nn.MaxPool3d(2)
        self.conv3_1 = conv_norm_relu(second, third)
        self.conv3_2 = conv_norm_relu(third, third)
        self.pool3 = nn.MaxPool3d(2)
        self.conv4_1 = conv_norm_relu(third, fourth)
        self.conv4_2 = conv_norm_relu(fourth, fourth)
        self.pool4 = nn.MaxPool3d(2)
        self.conv5_1 = conv_norm_relu(fourth, fifth)
        self.conv5_2 = conv_norm_relu(fifth, fifth)

    def forward(self, clip_BCTHW: torch.Tensor) -> torch.Tensor:
        """``(B, 3, T, H, W)`` to ``(B, feature_channels, T/8, H/16, W/16)``."""
        hidden = self.pool1(self.conv1(clip_BCTHW))
        hidden = self.pool2(self.conv2(hidden))
        hidden = self.pool3(self.conv3_2(self.conv3_1(hidden)))
        hidden = self.pool4(self.conv4_2(self.conv4_1(hidden)))
        return self.conv5_2(self.conv5_1(hidden))


def c3d() -> C3D:
    """The published C3D: 27,661,440 parameters."""
    return C3D()


def c3d_small() -> C3D:
    """C3D narrow enough to train on a CPU."""
    return C3D(widths=(16, 32, 64, 64, 64))
