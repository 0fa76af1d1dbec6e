"""The pictures that a decoder draws before it has learnt anything."""

from __future__ import annotations

import pytest
import torch

from prp_core.errors import UserError
from prp_core.pretext.heads import Decoder, LinearDecoder
from prp_core.pretext.slow_motion import DECODERS, SlowMotion


def first_pictures(task: SlowMotion) -> torch.Tensor:
    torch.manual_seed(0)
    decoder = task.head(16)
    assert isinstance(decoder, Decoder)
    return decoder(torch.randn(4, 16, 1, 2, 2)).detach()


def test_the_published_decoder_begins_with_strong_noise_and_a_quiet_one_with_a_grey_picture() -> (
    None
):
    published = first_pictures(SlowMotion())
    quiet = first_pictures(SlowMotion(initial_contrast=0.2, initial_brightness=0.4))
    assert published.min() == 0 and published.std() > 0.5, "half of the noise is cut off at black"
    assert quiet.mean() == pytest.approx(0.4, abs=0.02) and 0.1 < quiet.std() < 0.21


@pytest.mark.parametrize(("name", "value"), [("contrast", 0.0), ("brightness", 1.5)])
def test_an_impossible_first_picture_is_refused(name: str, value: float) -> None:
    with pytest.raises(UserError, match=f"pretext.slow_motion.initial_{name} = {value}"):
        SlowMotion(**{f"initial_{name}": value})


def test_the_linear_decoder_begins_with_the_contrast_and_brightness_that_are_asked_for() -> None:
    torch.manual_seed(0)
    decoder = SlowMotion(decoder="linear", initial_contrast=0.1, initial_brightness=0.4).head(64)
    pictures = decoder(torch.randn(8, 64, 1, 2, 2).relu()).detach()
    over_clips = pictures.std(dim=0).mean().item()
    assert over_clips == pytest.approx(0.1, rel=0.1)
    assert pictures.mean() == pytest.approx(0.4, abs=0.02)


@pytest.mark.parametrize("upsampling", [1, 2, 3])
def test_each_place_of_the_features_draws_its_block_as_a_weighted_sum(upsampling: int) -> None:
    torch.manual_seed(0)
    decoder = SlowMotion(decoder="linear", upsampling=upsampling).head(8)
    assert isinstance(decoder, LinearDecoder)
    features = torch.randn(2, 8, 2, 3, 2)
    frames = decoder(features)
    assert frames.shape == (2, 3, upsampling * 16, 48, 32)
    weight_CKTHW, bias_K = decoder.up.weight, decoder.up.bias
    block = torch.einsum("c,ckthw->kthw", features[1, :, 1, 2, 0], weight_CKTHW)
    expected = block + bias_K[:, None, None, None]
    assert torch.allclose(frames[1, :, 8 * upsampling :, 32:, :16], expected, atol=1e-5)


@pytest.mark.parametrize("name", DECODERS)
def test_every_decoder_draws_the_frames_of_the_target(name: str) -> None:
    decoder = SlowMotion(decoder=name, upsampling=3).head(16)
    assert decoder(torch.rand(2, 16, 1, 2, 3)).shape == (2, 3, 24, 32, 48)


def test_an_unknown_decoder_is_refused_with_the_choices() -> None:
    with pytest.raises(UserError, match="'linar'; known: linear, published. Did you mean 'linear'"):
        SlowMotion(decoder="linar")
