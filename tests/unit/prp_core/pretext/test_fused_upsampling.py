"""The fused decoder is the written one: output and every gradient; and when it is fused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from prp_core.pretext.fused_upsampling import Pair, upsample_and_convolve
from prp_core.pretext.heads import Decoder
from prp_core.pretext.network import PrpNetwork

TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}


def worst_difference(
    first: list[torch.Tensor], second: list[torch.Tensor]
) -> tuple[float, list[torch.Size]]:
    """The largest difference, relative to the largest value of each tensor; and the shapes."""
    worst = max(
        ((one - other).abs().max() / one.abs().max()).item()
        for one, other in zip(first, second, strict=True)
    )
    return worst, [tensor.shape for tensor in second]


@pytest.mark.parametrize("upsampling", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_a_fused_pair_is_the_written_one(upsampling: int, dtype: torch.dtype) -> None:
    torch.manual_seed(upsampling)
    stride = (upsampling, 2, 2)
    up = nn.ConvTranspose3d(6, 6, stride, stride).to(dtype)
    conv = nn.Conv3d(6, 3, 3, padding=1).to(dtype)
    hidden = torch.randn(2, 6, 2, 1, 3, dtype=dtype, requires_grad=True)
    inputs = [hidden, *up.parameters(), *conv.parameters()]
    seed = torch.randn(2, 3, 2 * upsampling, 2, 6, dtype=dtype)
    results = []
    for fused in (False, True):
        output = upsample_and_convolve(hidden, up, conv, fused=fused)
        gradients = torch.autograd.grad(output, inputs, seed)
        results.append([output.detach(), *gradients])
    worst, shapes = worst_difference(*results)
    assert worst < TOLERANCE[dtype]
    assert shapes == [seed.shape, *(tensor.shape for tensor in inputs)]


@pytest.mark.parametrize("upsampling", [1, 2, 3, 4])
@pytest.mark.parametrize("training", [True, False])
def test_a_fused_decoder_is_the_written_one(upsampling: int, training: bool) -> None:
    torch.manual_seed(upsampling)
    decoder = Decoder(16, upsampling).double().train(training)
    features = torch.randn(2, 16, 1, 2, 2, dtype=torch.float64)
    results = []
    for fuses in (False, True):
        decoder.fuses = fuses
        output = decoder(features)
        assert output.shape == (2, 3, 8 * upsampling, 32, 32)
        gradients = torch.autograd.grad(output.square().sum(), list(decoder.parameters()))
        results.append([output.detach(), *gradients])
    # A bias before a norm has no gradient but rounding's, so the whole is the measure.
    scale = max(tensor.abs().max().item() for tensor in results[0])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(other, one, rtol=0, atol=1e-12 * scale)


def test_the_kernel_composed_by_hand() -> None:
    """One tap of each: output 2 i + a - b + 1 of the pair is tap a - b + 2 of the kernel."""
    up = nn.ConvTranspose3d(1, 1, 2, 2)
    conv = nn.Conv3d(1, 1, 3, padding=1)
    with torch.no_grad():
        for layer in (up, conv):
            layer.weight.zero_()
            layer.bias.zero_()  # type: ignore[union-attr]
        up.weight[0, 0, 1, 0, 1] = 2.0
        conv.weight[0, 0, 0, 2, 1] = 3.0
        hidden = torch.zeros(1, 1, 3, 3, 3)
        hidden[0, 0, 1, 1, 1] = 5.0
        for fused in (False, True):
            output = upsample_and_convolve(hidden, up, conv, fused=fused)
            assert output.nonzero().tolist() == [[0, 0, 2 + 1 - 0 + 1, 2 + 0 - 2 + 1, 2 + 1]]
            assert output.sum() == 30


def test_products_are_those_that_the_method_counts() -> None:
    """R3D at 112 x 112: 24.6 GMAC a clip as written; 6.4 fused, 8.5 with the first as written."""
    decoder = Decoder(512, 2)
    sizes = [98 * 8**place for place in range(4)]
    pairs = list(decoder._pairs.values())
    written = [pair.written_products(size) for pair, size in zip(pairs, sizes, strict=True)]
    fused = [pair.fused_products(size) for pair, size in zip(pairs, sizes, strict=True)]
    assert sum(written) / 1e9 == pytest.approx(24.6, abs=0.1)
    assert sum(fused) / 1e9 == pytest.approx(6.4, abs=0.1)
    assert (written[0] + sum(fused[1:])) / 1e9 == pytest.approx(8.5, abs=0.1)


def test_stages_are_fused_where_that_is_cheaper() -> None:
    large = Decoder(512, 2)
    assert large.fused_stages(1 * 98) == ("up2", "up3", "up4")
    assert large.fused_stages(8 * 98) == ("up2", "up3", "up4")
    assert large.fused_stages(16 * 98) == ("up1", "up2", "up3", "up4")
    small = Decoder(64, 2)
    assert small.fused_stages(2 * 1) == ("up3", "up4"), "elsewhere composing eats the gain"
    assert small.fused_stages(8 * 4) == ("up2", "up3", "up4"), "the demo's step"
    network = PrpNetwork("r3d_small")
    assert network.fused_stages(8, 8, 32) == {"slow_motion": ("up2", "up3", "up4")}
    network.fuse_decoders(False)
    assert network.fused_stages(8, 8, 32) == {"slow_motion": ()}
    assert not Pair(512, 256, 2).pays_off(98) and Pair(64, 3, 2).pays_off(98)
