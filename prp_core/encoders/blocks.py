"""Layers that encoders and heads share."""

from __future__ import annotations

from torch import nn

from prp_core.encoders.padded_channels import StemConvolution, missing_channels


def conv_norm_relu(in_channels: int, out_channels: int) -> nn.Sequential:
    """A 3x3x3 convolution that keeps the size, with bias, then batch norm and ReLU."""
    kind = StemConvolution if missing_channels(in_channels) else nn.Conv3d
    return nn.Sequential(
        kind(in_channels, out_channels, kernel_size=3, padding=1),
        nn.BatchNorm3d(out_channels),
        nn.ReLU(inplace=True),
    )
