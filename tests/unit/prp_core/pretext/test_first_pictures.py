"""The pictures that a decoder draws before it has learnt anything."""

from __future__ import annotations

import pytest
import torch

from prp_core.errors import UserError
from prp_core.pretext.heads import Decoder
from prp_core.pretext.slow_motion import SlowMotion


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
