"""Fused upsampling: a transposed convolution and the 3x3x3 convolution after it as one.

No non-linearity stands between the two, so together they are one transposed convolution, with
kernel (r + 2, 4, 4), stride (r, 2, 2) and padding 1, where r is the stride in time. It reads 8
values for each output (r = 2) where the pair reads 27 + 1, and the largest tensor of the network,
the one between the two, is never made. Weights and biases stay those of the pair; the one kernel
is composed of them in each forward pass, with gradients. Composing costs the same for one clip as
for a hundred, so which pairs are fused depends on the size of the batch: `pays_off` counts.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import conv3d, conv_transpose3d

CONV_TAPS = 27
"""Values that the 3x3x3 convolution reads for each output and input channel."""

COMPOSING_FACTOR = 2
"""How much longer a product takes that composes the kernel: its results are small and scattered."""


def upsample_and_convolve(
    hidden_BCTHW: torch.Tensor, up: nn.ConvTranspose3d, conv: nn.Conv3d, *, fused: bool
) -> torch.Tensor:
    """``conv(up(hidden_BCTHW))``, in one step where `fused`; equal but for rounding.

    `up` has kernel and stride (r, 2, 2), `conv` kernel 3 and padding 1, both a bias.
    """
    if not fused:
        return conv(up(hidden_BCTHW))
    # In float32 also under autocast: the kernel is rounded once, like any other weight.
    with without_autocast(hidden_BCTHW.device.type):
        kernel = composed_kernel(up.weight, conv.weight)
        border_bias = composed_bias(up, conv)
    stride = (up.stride[0], 2, 2)
    output_BCTHW = conv_transpose3d(hidden_BCTHW, kernel, stride=stride, padding=1)
    return output_BCTHW.add_(spread(border_bias, output_BCTHW.shape[2:]))


def without_autocast(device_type: str) -> AbstractContextManager[object]:
    """Autocast switched off, on devices that have it (meta, where nothing is computed, has not)."""
    if device_type == "meta":
        return nullcontext()
    return torch.autocast(device_type, enabled=False)


def composed_kernel(up_weight: torch.Tensor, conv_weight: torch.Tensor) -> torch.Tensor:
    """The kernel (C_in, C_out, r + 2, 4, 4) of the one transposed convolution.

    `up_weight` is (C_in, C_between, r, 2, 2), `conv_weight` (C_out, C_between, 3, 3, 3). Output o
    of the pair reads input i through tap a of the first and b of the second where
    ``o = r * i + a - b + 1``, so tap ``a + (2 - b)`` of the one kernel is the sum of their
    products: a full convolution of the two, the second one mirrored.
    """
    mirrored = conv_weight.flip(2, 3, 4)
    return conv_transpose3d(mirrored, up_weight.transpose(0, 1)).transpose(0, 1)


def composed_bias(up: nn.ConvTranspose3d, conv: nn.Conv3d) -> torch.Tensor:
    """What the pair makes of the biases: (1, C_out, 3, 3, 3), first, middle and last of each axis.

    `up`'s bias is a constant field, which the convolution sees end at the border (it pads with 0).
    """
    assert up.bias is not None
    kernel = torch.einsum("oiabc,i->oabc", conv.weight, up.bias)[:, None]
    return conv3d(kernel.new_ones(1, 1, 3, 3, 3), kernel, conv.bias, padding=1)


def spread(border_bias: torch.Tensor, size: torch.Size) -> torch.Tensor:
    """`border_bias` (1, C, 3, 3, 3) as a field (1, C, *size); `size` is at least 2 everywhere."""
    field = border_bias
    for axis, length in enumerate(size, start=2):
        first, middle, last = field.split(1, dim=axis)
        repeats = [1] * field.ndim
        repeats[axis] = length - 2
        field = torch.cat([first, middle.repeat(repeats), last], dim=axis)
    return field


@dataclass(frozen=True)
class Pair:
    """Channels of a transposed convolution and the convolution after it, and its stride in time.

    The first keeps `channels_in`; the second makes `channels_out` of them.
    """

    channels_in: int
    channels_out: int
    time_stride: int

    def written_products(self, num_inputs: int) -> int:
        """Multiplications of the pair on `num_inputs` positions (clips x time x space)."""
        outputs = 4 * self.time_stride * num_inputs
        return outputs * self.channels_in * (self.channels_in + CONV_TAPS * self.channels_out)

    def fused_products(self, num_inputs: int) -> int:
        """The same of the one transposed convolution alone."""
        taps = 16 * (self.time_stride + 2)
        return num_inputs * taps * self.channels_in * self.channels_out

    def composing_products(self) -> int:
        """Multiplications that compose the kernel; they do not grow with the batch."""
        pairs_of_taps = 4 * self.time_stride * CONV_TAPS
        return self.channels_in**2 * self.channels_out * pairs_of_taps

    def pays_off(self, num_inputs: int) -> bool:
        """Whether the fused form is the cheaper one for a batch with `num_inputs` positions."""
        composing = COMPOSING_FACTOR * self.composing_products()
        return self.fused_products(num_inputs) + composing < self.written_products(num_inputs)
