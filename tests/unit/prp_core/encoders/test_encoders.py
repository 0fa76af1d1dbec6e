"""Sizes and shapes of the encoders and of the network around them (method §2, §3, §8.6)."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from prp_core.encoders import ENCODERS, build_encoder
from prp_core.encoders.r2plus1d import FactorisedConvolution, intermediate_channels
from prp_core.errors import UserError
from prp_core.pretext.heads import Decoder
from prp_core.pretext.network import PrpNetwork
from prp_core.pretext.playback_rate import PlaybackRate
from prp_core.pretext.pretext_config import PretextTasks
from prp_core.pretext.slow_motion import SlowMotion

SMALL = [name for name in ENCODERS if name.endswith("_small")]


def tasks(num_rates: int, upsampling: int = 2) -> PretextTasks:
    rates = "-".join(str(rate) for rate in range(1, num_rates + 1))
    return PretextTasks(
        playback_rate=PlaybackRate(rates=rates), slow_motion=SlowMotion(upsampling=upsampling)
    )


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_published_and_small_encoders_are_listed() -> None:
    assert {"c3d", "r3d", "r2plus1d"} < set(ENCODERS)
    assert len(SMALL) == 3
    with pytest.raises(
        UserError, match=r"Unknown encoder 'r3dd'; known: c3d, .*r3d_small\. Did you mean 'r3d'\?"
    ):
        build_encoder("r3dd")


@pytest.mark.parametrize(
    ("name", "parameters"), [("c3d", 27_661_440), ("r3d", 14_361_792), ("r2plus1d", 14_365_303)]
)
def test_published_encoders_and_heads_have_the_published_sizes(name: str, parameters: int) -> None:
    network = PrpNetwork(name)
    assert count(network.encoder) == parameters
    assert count(network) - parameters == 21_598_541
    assert (
        parameters + count(nn.Linear(512, 101))
        == {"c3d": 27_713_253, "r3d": 14_413_605, "r2plus1d": 14_417_116}[name]
    )
    assert (
        count(network.stems["playback_rate"]),
        count(network.stems["slow_motion"]),
        count(network.heads["playback_rate"]),
    ) == (7_079_424, 7_079_424, 2_052)
    decoder = network.heads["slow_motion"]
    assert [
        count(part) for part in (decoder.up1, decoder.up2, decoder.up3, decoder.up4, decoder.out)
    ] == [
        5_637_376,
        1_409_664,
        352_576,
        32_832,
        5_193,
    ]


def test_layers_of_the_published_encoders_have_the_published_sizes() -> None:
    c3d, r3d, r2plus1d = (build_encoder(name) for name in ("c3d", "r3d", "r2plus1d"))
    layers = ("conv1", "conv2", "conv3_1", "conv3_2", "conv4_1", "conv4_2", "conv5_1", "conv5_2")
    expected = [5_376, 221_568, 885_504, 1_770_240, 3_540_480, 7_079_424, 7_079_424, 7_079_424]
    assert [count(c3d.get_submodule(layer)) for layer in layers] == expected
    stages = ("stem", "stem_norm", "stage2", "stage3", "stage4", "stage5")
    assert [count(r3d.get_submodule(stage)) for stage in stages] == [
        28_224,
        128,
        221_440,
        672_512,
        2_688_512,
        10_750_976,
    ]
    assert [count(r2plus1d.get_submodule(stage)) for stage in stages] == [
        28_303,
        128,
        222_016,
        673_120,
        2_689_090,
        10_752_646,
    ]


def test_channels_between_space_and_time() -> None:
    cube = (3, 3, 3)
    assert intermediate_channels(3, 64, (3, 7, 7)) == 83
    pairs = [(64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 512), (512, 512)]
    assert [intermediate_channels(*pair, cube) for pair in pairs] == [
        144,
        230,
        288,
        460,
        576,
        921,
        1152,
    ]
    assert [
        intermediate_channels(*pair, (1, 1, 1)) for pair in ((64, 128), (128, 256), (256, 512))
    ] == [42, 85, 170]
    convolution = FactorisedConvolution(64, 128, cube, (2, 2, 2), (1, 1, 1))
    assert (convolution.spatial.stride, convolution.temporal.stride) == ((1, 2, 2), (2, 1, 1))


def test_norms_are_the_framework_defaults() -> None:
    for name in ("c3d", "r3d", "r2plus1d"):
        norms = [
            module for module in PrpNetwork(name).modules() if isinstance(module, nn.BatchNorm3d)
        ]
        assert norms and all(
            (norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
            == (1e-5, 0.1, True, True)
            for norm in norms
        )


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize(
    ("num_rates", "upsampling", "time"), [(2, 1, 8), (4, 2, 16), (5, 3, 8), (3, 4, 8)]
)
def test_reconstruction_is_upsampling_times_as_long(
    name: str, num_rates: int, upsampling: int, time: int
) -> None:
    output = PrpNetwork(name, tasks(num_rates, upsampling))(torch.rand(2, 3, time, 32, 48))
    assert output["playback_rate"].shape == (2, num_rates)
    assert output["slow_motion"].shape == (2, 3, time * upsampling, 32, 48)
    assert (output["slow_motion"] >= 0).all()


def test_only_the_classifier_is_in_the_faster_group() -> None:
    network = PrpNetwork("r3d_small", tasks(num_rates=3))
    assert [tuple(parameter.shape) for parameter in network.classifier_parameters()] == [
        (3, 64),
        (3,),
    ]


def test_a_module_serves_as_encoder() -> None:
    encoder = build_encoder("c3d_small")
    assert PrpNetwork(encoder).encoder is encoder


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(
        UserError,
        match=r"clip \(frames, height, width\) = \(12, 32, 32\): frames must be a multiple of 8",
    ):
        PrpNetwork("r3d_small")(torch.rand(1, 3, 12, 32, 32))
    with pytest.raises(UserError, match="upsampling = 0"):
        Decoder(64, upsampling=0)
    odd = nn.Identity()
    odd.feature_channels = 20  # type: ignore[assignment]
    with pytest.raises(UserError, match=r"encoder\.feature_channels = 20: must be a multiple of 8"):
        PrpNetwork(odd)
