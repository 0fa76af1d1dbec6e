"""The sampling of spans that both published tasks ask for, at given rates."""

from __future__ import annotations

from collections.abc import Sequence

from prp_core.data.dilated_sampling import needed_positions
from prp_core.data.spans import SpanSampling


def sampling_of(
    rates: Sequence[int],
    clip_length: int,
    *,
    upsampling: int = 2,
    with_attention: bool = True,
    reversed_share: float = 0.0,
) -> SpanSampling:
    """Clips of `clip_length` frames at `rates`, with the frames of targets and key frames."""
    positions = {
        rate: needed_positions(clip_length, rate, upsampling, with_attention) for rate in rates
    }
    return SpanSampling(tuple(rates), positions, reversed_share)
