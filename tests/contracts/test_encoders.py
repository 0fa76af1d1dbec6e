"""What every entry of `ENCODERS` promises: its geometry, gradients, weights that travel."""

from __future__ import annotations

import pytest
import torch

from prp_core.encoders import ENCODERS, build_encoder
from prp_core.encoders.encoder_config import EncoderConfig
from prp_core.pretext.network import build_network
from prp_core.training.encoder_export import encoder_weights, rebuild_encoder
from prp_core.training.pretrain_config import PretrainConfig

SMALL = [name for name in ENCODERS if name.endswith("_small")]


@pytest.mark.parametrize("name", ENCODERS)
def test_it_divides_time_by_8_and_space_by_16(name: str) -> None:
    encoder = build_encoder(name).eval()
    with torch.no_grad():
        features = encoder(torch.rand(1, 3, 8, 48, 32))
    assert features.shape == (1, encoder.feature_channels, 1, 3, 2)
    assert encoder.feature_channels % 8 == 0
    assert (features >= 0).all() and features.isfinite().all()


@pytest.mark.parametrize("name", SMALL)
def test_every_parameter_gets_a_gradient(name: str) -> None:
    encoder = build_encoder(name).train()
    encoder(torch.rand(2, 3, 16, 32, 32)).square().mean().backward()
    without = [key for key, value in encoder.named_parameters() if value.grad is None]
    assert without == []


@pytest.mark.parametrize("name", SMALL)
def test_its_weights_follow_from_the_seed_and_are_rebuilt_to_the_bit(name: str) -> None:
    config = PretrainConfig(encoder=EncoderConfig(name=name), seed=4)
    weights = encoder_weights(build_network(config))
    again = encoder_weights(build_network(config))
    assert weights.keys() == again.keys()
    assert all(torch.equal(weights[key], again[key]) for key in weights)
    rebuilt = rebuild_encoder(name, weights)
    clip_BCTHW = torch.rand(1, 3, 16, 32, 32)
    with torch.no_grad():
        expected = build_network(config).encoder.eval()(clip_BCTHW)
        assert torch.equal(rebuilt(clip_BCTHW), expected)
