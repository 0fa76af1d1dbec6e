"""R(2+1)D: residual, each convolution factorised into space, then time (method §2.3)."""

from __future__ import annotations

import torch
from torch import nn

from prp_core.encoders.padded_channels import (
    missing_channels,
    padded_convolution,
    padded_norm,
)
from prp_core.encoders.residual import ResidualEncoder, Triple


def intermediate_channels(in_channels: int, out_channels: int, kernel: Triple) -> int:
    """Channels between the two parts, by the published formula.

    Both together have about the parameters of the full convolution.
    """
    time, height, width = kernel
    return (
        time
        * height
        * width
        * in_channels
        * out_channels
        // (height * width * in_channels + time * out_channels)
    )


class FactorisedConvolution(nn.Module):
    """A convolution over space, batch norm and ReLU, then a convolution over time.

    Each strides its own axes. With `pads` the channels between them are filled up with zeros.
    """

    pads = False

    def __init__(
        self, in_channels: int, out_channels: int, kernel: Triple, stride: Triple, padding: Triple
    ) -> None:
        super().__init__()
        between = intermediate_channels(in_channels, out_channels, kernel)
        self.spatial = nn.Conv3d(
            in_channels, between, (1, *kernel[1:]), (1, *stride[1:]), (0, *padding[1:]), bias=False
        )
        self.norm = nn.BatchNorm3d(between)
        self.relu = nn.ReLU(inplace=True)
        self.temporal = nn.Conv3d(
            between,
            out_channels,
            (kernel[0], 1, 1),
            (stride[0], 1, 1),
            (padding[0], 0, 0),
            bias=False,
        )

    def forward(self, hidden_BCTHW: torch.Tensor) -> torch.Tensor:
        """The size that the full convolution would give."""
        if not self.pads:
            return self.temporal(self.relu(self.norm(self.spatial(hidden_BCTHW))))
        more = missing_channels(self.norm.num_features)
        between_BCTHW = padded_convolution(hidden_BCTHW, self.spatial, more_outputs=more)
        between_BCTHW = self.relu(padded_norm(between_BCTHW, self.norm))
        return padded_convolution(between_BCTHW, self.temporal)


def r2plus1d() -> ResidualEncoder:
    """The published R(2+1)D, depth (1, 1, 1, 1): 14,365,303 parameters."""
    return ResidualEncoder(FactorisedConvolution)


def r2plus1d_small() -> ResidualEncoder:
    """R(2+1)D narrow enough to train on a CPU."""
    return ResidualEncoder(FactorisedConvolution, widths=(16, 32, 64, 64))
