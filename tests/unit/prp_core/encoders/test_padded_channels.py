"""Padded channels compute what the written form does: values, gradients, running statistics."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from prp_core.encoders import ENCODERS
from prp_core.encoders.padded_channels import (
    MULTIPLE,
    StemConvolution,
    missing_channels,
    pad_network,
    padded_convolution,
)
from prp_core.encoders.r2plus1d import FactorisedConvolution
from prp_core.training.recompute import recompute_blocks

TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}


def both_forms(network: nn.Module, clip_BCTHW: torch.Tensor) -> list[dict[str, torch.Tensor]]:
    """Output, gradients and buffers, as written and padded."""
    results = []
    for pads in (False, True):
        one = copy.deepcopy(network)
        assert pad_network(one, pads=pads) > 0
        output = one(clip_BCTHW)
        output.square().mean().backward()
        gradients = {name: part.grad for name, part in one.named_parameters()}
        results.append({"output": output.detach(), **gradients, **dict(one.named_buffers())})
    return results


def assert_equal(results: list[dict[str, torch.Tensor]], dtype: torch.dtype) -> None:
    written, padded = results
    assert list(written) == list(padded)
    # A bias before a norm has no gradient but rounding's, so the whole is the measure.
    scale = max(value.abs().max().item() for value in written.values())
    for name, value in written.items():
        torch.testing.assert_close(
            padded[name], value, rtol=0, atol=TOLERANCE[dtype] * scale, msg=name
        )


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", ["c3d_small", "r3d_small", "r2plus1d_small"])
def test_an_encoder_with_padded_channels_is_the_written_one(
    name: str, dtype: torch.dtype, training: bool
) -> None:
    torch.manual_seed(1)
    network = ENCODERS[name]().to(dtype).train(training)
    for module in network.modules():  # as after some training: running statistics are no 0 and 1
        if isinstance(module, nn.BatchNorm3d):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    assert_equal(both_forms(network, torch.rand(3, 3, 8, 16, 16, dtype=dtype)), dtype)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_factorised_convolution_of_any_width(stride: int) -> None:
    torch.manual_seed(stride)
    layer = FactorisedConvolution(5, 7, (3, 3, 3), (stride,) * 3, (1, 1, 1)).double()
    assert missing_channels(layer.norm.num_features) > 0
    assert_equal(both_forms(layer, torch.randn(2, 5, 4, 6, 6, dtype=torch.float64)), torch.float64)


def test_convolutions_see_multiples_of_eight_and_checkpoints_stay() -> None:
    network = ENCODERS["r2plus1d_small"]()
    written = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    pad_network(network, pads=True)
    assert {name: tuple(value.shape) for name, value in network.state_dict().items()} == written
    seen = []
    original = torch.nn.functional.conv3d

    def record(hidden: torch.Tensor, weight: torch.Tensor, *rest: object) -> torch.Tensor:
        seen.append((hidden.shape[1], *weight.shape[:2]))
        return original(hidden, weight, *rest)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("prp_core.encoders.padded_channels.conv3d", record)
        network(torch.rand(1, 3, 8, 16, 16).repeat(2, 1, 1, 1, 1))
    assert len(seen) == 2 * 12, "two parts of each convolution"
    assert {count % MULTIPLE for counts in seen for count in counts} == {0}


def test_recomputed_blocks_count_a_batch_once_with_padded_channels() -> None:
    torch.manual_seed(3)
    network = ENCODERS["r2plus1d_small"]().double()
    recomputed = copy.deepcopy(network)
    recompute_blocks(recomputed)
    clip = torch.rand(2, 3, 8, 16, 16, dtype=torch.float64)
    for one in (network, recomputed):
        pad_network(one, pads=True)
        one(clip).square().mean().backward()
    buffers = dict(recomputed.named_buffers())
    for name, value in network.named_buffers():
        torch.testing.assert_close(buffers[name], value)


def test_a_bias_is_padded_with_its_outputs() -> None:
    layer = StemConvolution(3, 5, 3, padding=1).double()
    clip = torch.randn(1, 3, 4, 4, 4, dtype=torch.float64)
    padded = padded_convolution(clip, layer, more_outputs=3)
    torch.testing.assert_close(padded[:, :5], layer(clip), rtol=0, atol=1e-12)
    assert padded.shape[1] == 8 and not padded[:, 5:].any()
