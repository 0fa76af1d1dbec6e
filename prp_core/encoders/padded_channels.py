"""Zero-padded channels: convolutions whose channel counts are filled up to what tensor cores take.

A GPU's tensor cores work on channels in multiples of 8. The widths between the two parts of a
factorised convolution (83, 230, 460, 921, ...) and the three channels of a clip are not. Zeros are
added to weights, batch norm and clip in each forward pass and cut off again by the next layer's
zeros, so that parameters, buffers and their names stay; values and gradients are equal but for
rounding. Where nothing is to be filled up, or on a device without tensor cores, the written form is
the cheaper one.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import batch_norm, conv3d, pad

MULTIPLE = 8


def missing_channels(num_channels: int) -> int:
    """How many channels fill `num_channels` up to a multiple of `MULTIPLE`."""
    return -num_channels % MULTIPLE


def pad_channels(tensor: torch.Tensor, count: int, axis: int = 1) -> torch.Tensor:
    """`tensor` with `count` zeros behind its last channel, along `axis`."""
    if not count:
        return tensor
    behind = tensor.ndim - 1 - axis
    return pad(tensor, (0, 0) * behind + (0, count))


def padded_convolution(
    hidden_BCTHW: torch.Tensor, convolution: nn.Conv3d, *, more_outputs: int = 0
) -> torch.Tensor:
    """`convolution` with its input channels filled up, and `more_outputs` channels of zeros behind
    its own. `hidden_BCTHW` may have the zeros already.
    """
    assert convolution.groups == 1 and convolution.padding_mode == "zeros", convolution
    more_inputs = missing_channels(convolution.in_channels)
    weight = pad_channels(pad_channels(convolution.weight, more_inputs), more_outputs, axis=0)
    bias = convolution.bias
    if bias is not None:
        bias = pad_channels(bias, more_outputs, axis=0)
    lacking = convolution.in_channels + more_inputs - hidden_BCTHW.shape[1]
    return conv3d(
        pad_channels(hidden_BCTHW, lacking),
        weight,
        bias,
        convolution.stride,
        convolution.padding,  # type: ignore[arg-type]
        convolution.dilation,
    )


def padded_norm(hidden_BCTHW: torch.Tensor, norm: nn.BatchNorm3d) -> torch.Tensor:
    """`norm` of a tensor with channels of zeros behind its own, which stay zero.

    Running statistics are those of the channels that there are; any other norm than a
    plain `nn.BatchNorm3d` normalises those alone.
    """
    count = norm.num_features
    more = hidden_BCTHW.shape[1] - count
    if type(norm) is not nn.BatchNorm3d or norm.momentum is None:
        return pad_channels(norm(hidden_BCTHW[:, :count]), more)
    assert norm.running_mean is not None and norm.running_var is not None
    mean = pad_channels(norm.running_mean, more, axis=0)
    variance = pad_channels(norm.running_var, more, axis=0)
    output_BCTHW = batch_norm(
        hidden_BCTHW,
        mean,
        variance,
        pad_channels(norm.weight, more, axis=0),
        pad_channels(norm.bias, more, axis=0),
        norm.training,
        norm.momentum,
        norm.eps,
    )
    if norm.training and more:  # without zeros to add, they were updated in place
        with torch.no_grad():
            norm.running_mean.copy_(mean[:count])
            norm.running_var.copy_(variance[:count])
    if norm.training and norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
    return output_BCTHW


class StemConvolution(nn.Conv3d):
    """An `nn.Conv3d` that can fill up its input channels (`pads`), as of a clip's three colours."""

    pads = False

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """As `nn.Conv3d.forward`."""
        return padded_convolution(input, self) if self.pads else super().forward(input)


def pad_network(network: nn.Module, *, pads: bool) -> int:
    """Let every part of `network` that can fill up its channels do so, or not; how many can."""
    parts = [module for module in network.modules() if hasattr(module, "pads")]
    for part in parts:
        part.pads = pads  # type: ignore[assignment]
    return len(parts)
