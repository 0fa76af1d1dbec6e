"""Layers that encoders and heads share."""

from __future__ import annotations

from torch import nn


def conv_norm_relu(in_channels: int, out_channels: int) -> nn.Sequential:
    """A 3x3x3 convolution that keeps the size, with bias, then batch norm and ReLU."""
    return nn.Sequential(
        nn.Conv3d(in_channels, out_channels, kernel_size=3, padding=1),
        nn.BatchNorm3d(out_channels),
        nn.ReLU(inplace=True),
    )
