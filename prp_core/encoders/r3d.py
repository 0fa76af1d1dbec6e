"""R3D: residual, with full 3D convolutions (method §2.2)."""

from __future__ import annotations

from torch import nn

from prp_core.encoders.padded_channels import StemConvolution, missing_channels
from prp_core.encoders.residual import ResidualEncoder, Triple


def full_convolution(
    in_channels: int, out_channels: int, kernel: Triple, stride: Triple, padding: Triple
) -> nn.Module:
    """One convolution over time and space; that of the clip itself can fill up its channels."""
    kind = StemConvolution if missing_channels(in_channels) else nn.Conv3d
    return kind(in_channels, out_channels, kernel, stride, padding, bias=False)


def r3d() -> ResidualEncoder:
    """The published R3D, depth (1, 1, 1, 1): 14,361,792 parameters."""
    return ResidualEncoder(full_convolution)


def r3d_small() -> ResidualEncoder:
    """R3D narrow enough to train on a CPU."""
    return ResidualEncoder(full_convolution, widths=(16, 32, 64, 64))
