"""The residual skeleton of R3D and R(2+1)D: a stem, then four blocks.

The last three blocks halve time and space.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import nn

from prp_core.encoders.encoder import Encoder

Triple = tuple[int, int, int]


class Convolution(Protocol):
    """Builds the convolution (without bias) that a residual encoder is made of."""

    def __call__(
        self, in_channels: int, out_channels: int, kernel: Triple, stride: Triple, padding: Triple
    ) -> nn.Module: ...


class ResidualBlock(nn.Module):
    """Two 3x3x3 convolutions beside a shortcut.

    `stride` 2 halves time and space and gives the shortcut a 1x1x1 convolution.
    """

    def __init__(
        self, convolution: Convolution, in_channels: int, out_channels: int, stride: int
    ) -> None:
        super().__init__()
        strides = (stride, stride, stride)
        self.conv1 = convolution(in_channels, out_channels, (3, 3, 3), strides, (1, 1, 1))
        self.norm1 = nn.BatchNorm3d(out_channels)
        self.conv2 = convolution(out_channels, out_channels, (3, 3, 3), (1, 1, 1), (1, 1, 1))
        self.norm2 = nn.BatchNorm3d(out_channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1:
            self.shortcut = nn.Sequential(
                convolution(in_channels, out_channels, (1, 1, 1), strides, (0, 0, 0)),
                nn.BatchNorm3d(out_channels),
            )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, hidden_BCTHW: torch.Tensor) -> torch.Tensor:
        """The block's output, with `stride` times fewer frames, rows and columns."""
        branch = self.relu(self.norm1(self.conv1(hidden_BCTHW)))
        branch = self.norm2(self.conv2(branch))
        return self.relu(branch + self.shortcut(hidden_BCTHW))


class ResidualEncoder(Encoder):
    """Stem and one block for each of the four `widths` (not a ResNet-18, which has two)."""

    def __init__(
        self, convolution: Convolution, widths: tuple[int, int, int, int] = (64, 128, 256, 512)
    ) -> None:
        super().__init__()
        first, second, third, fourth = widths
        self.feature_channels = fourth
        self.stem = convolution(3, first, (3, 7, 7), (1, 2, 2), (1, 3, 3))
        self.stem_norm = nn.BatchNorm3d(first)
        self.relu = nn.ReLU(inplace=True)
        self.stage2 = ResidualBlock(convolution, first, first, stride=1)
        self.stage3 = ResidualBlock(convolution, first, second, stride=2)
        self.stage4 = ResidualBlock(convolution, second, third, stride=2)
        self.stage5 = ResidualBlock(convolution, third, fourth, stride=2)

    def forward(self, clip_BCTHW: torch.Tensor) -> torch.Tensor:
        """``(B, 3, T, H, W)`` to ``(B, feature_channels, T/8, H/16, W/16)``."""
        hidden = self.relu(self.stem_norm(self.stem(clip_BCTHW)))
        return self.stage5(self.stage4(self.stage3(self.stage2(hidden))))
