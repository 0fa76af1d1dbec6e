"""The heads of the pretext tasks: a linear classifier of clips, and two decoders to frames."""

from __future__ import annotations

import math

import torch
from torch import nn

from prp_core.checks import check
from prp_core.encoders.blocks import conv_norm_relu
from prp_core.encoders.encoder import SPACE_STRIDE, TIME_STRIDE
from prp_core.pretext.fused_upsampling import Pair, upsample_and_convolve

VARIANCE_OF_RELU = (1 - 1 / math.pi) / 2
"""The variance of max(x, 0) for x of the standard normal distribution, as a norm makes x."""


class ClipClassifier(nn.Module):
    """Global average pooling, then one linear layer (with bias) to the logits of `num_classes`."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, num_classes)

    def forward(self, features_BCTHW: torch.Tensor) -> torch.Tensor:
        """``(B, C, T, H, W)`` to logits ``(B, num_classes)``."""
        return self.linear(features_BCTHW.mean(dim=(2, 3, 4)))


class Doubling(nn.Module):
    """A transposed convolution that doubles time and space, then a convolution to `out_channels`.

    Neither norm nor ReLU stands between the two (method §3).
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose3d(in_channels, in_channels, kernel_size=2, stride=2)
        self.conv = conv_norm_relu(in_channels, out_channels)

    def forward(self, hidden_BCTHW: torch.Tensor, *, fused: bool = False) -> torch.Tensor:
        """``(B, C, t, h, w)`` to ``(B, out_channels, 2t, 2h, 2w)``; `fused` rounds differently."""
        return pair_norm_relu(hidden_BCTHW, self.up, self.conv, fused=fused)


class Decoder(nn.Module):
    """Decodes features to frames, `upsampling` times as many as the clip has (method §3).

    Undoes the encoder's strides (8 in time, 16 in space). Each stage is a transposed convolution
    and a convolution, which are computed as one (`fused_upsampling.py`) where that is cheaper for
    the batch at hand; parameters and results are the same either way, but for rounding. The norm of
    the output begins with the scale `contrast` and the offset `brightness` (published: 1 and 0).
    Raises `UserError` for `channels` that are no multiple of 8, or an `upsampling` below 1.
    """

    def __init__(
        self, channels: int, upsampling: int, *, contrast: float = 1.0, brightness: float = 0.0
    ) -> None:
        super().__init__()
        check(
            channels % 8 == 0,
            "encoder.feature_channels",
            channels,
            "must be a multiple of 8: the decoder halves it three times",
        )
        check(upsampling >= 1, "upsampling", upsampling, "must be a whole number from 1 up")
        last = channels // 8
        self.up1 = Doubling(channels, channels // 2)
        self.up2 = Doubling(channels // 2, channels // 4)
        self.up3 = Doubling(channels // 4, last)
        self.up4 = nn.ConvTranspose3d(
            last, last, kernel_size=(upsampling, 2, 2), stride=(upsampling, 2, 2)
        )
        self.out = conv_norm_relu(last, 3)
        norm = self.out[1]
        assert isinstance(norm, nn.BatchNorm3d), norm
        nn.init.constant_(norm.weight, contrast)
        nn.init.constant_(norm.bias, brightness)
        self.fuses: bool | None = None
        """Whether every stage is fused (True) or none is (False); None: those that are cheaper."""
        self._pairs = {
            "up1": Pair(channels, channels // 2, 2),
            "up2": Pair(channels // 2, channels // 4, 2),
            "up3": Pair(channels // 4, last, 2),
            "up4": Pair(last, 3, upsampling),
        }

    def forward(self, features_BCTHW: torch.Tensor) -> torch.Tensor:
        """``(B, C, T/8, H/16, W/16)`` to frames ``(B, 3, upsampling * T, H, W)``, at least 0."""
        batch, _, *size = features_BCTHW.shape
        fused = self.fused_stages(batch * math.prod(size))
        hidden = features_BCTHW
        for name, stage in (("up1", self.up1), ("up2", self.up2), ("up3", self.up3)):
            hidden = stage(hidden, fused=name in fused)
        return pair_norm_relu(hidden, self.up4, self.out, fused="up4" in fused)

    def fused_stages(self, num_positions: int) -> tuple[str, ...]:
        """The stages that are fused for features at `num_positions` (B x T/8 x H/16 x W/16)."""
        if self.fuses is not None:
            return tuple(self._pairs) if self.fuses else ()
        return tuple(
            name
            for place, (name, pair) in enumerate(self._pairs.items())
            if pair.pays_off(num_positions * 8**place)
        )


class LinearDecoder(nn.Module):
    """Decodes features to frames by one transposed convolution: each pixel is a weighted sum.

    Its kernel and stride undo the encoder's strides at once, so each place of the features draws a
    block of ``upsampling * 8`` frames of 16 x 16 pixels by itself. The output has no norm and no
    ReLU: it is not bounded. It begins with a standard deviation of about `contrast` over clips
    around `brightness`. Raises `UserError` for an `upsampling` below 1.
    """

    def __init__(
        self, channels: int, upsampling: int, *, contrast: float = 1.0, brightness: float = 0.0
    ) -> None:
        super().__init__()
        check(upsampling >= 1, "upsampling", upsampling, "must be a whole number from 1 up")
        size = (upsampling * TIME_STRIDE, SPACE_STRIDE, SPACE_STRIDE)
        self.up = nn.ConvTranspose3d(channels, 3, kernel_size=size, stride=size)
        deviation = contrast / math.sqrt(channels * VARIANCE_OF_RELU)
        nn.init.normal_(self.up.weight, std=deviation)
        assert self.up.bias is not None
        nn.init.constant_(self.up.bias, brightness)

    def forward(self, features_BCTHW: torch.Tensor) -> torch.Tensor:
        """``(B, C, T/8, H/16, W/16)`` to frames ``(B, 3, upsampling * T, H, W)``."""
        frames: torch.Tensor = self.up(features_BCTHW)
        return frames


def pair_norm_relu(
    hidden_BCTHW: torch.Tensor, up: nn.ConvTranspose3d, conv: nn.Sequential, *, fused: bool
) -> torch.Tensor:
    """`conv` (of `conv_norm_relu`) after `up`, its convolution fused with `up` where `fused`."""
    convolution, norm, relu = conv
    assert isinstance(convolution, nn.Conv3d), convolution
    output: torch.Tensor = relu(
        norm(upsample_and_convolve(hidden_BCTHW, up, convolution, fused=fused))
    )
    return output
