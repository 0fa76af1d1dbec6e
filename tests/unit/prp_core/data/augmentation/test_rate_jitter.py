"""Rate jitter by hand: which frames are read, which rates go together, which videos are needed."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from prp_core.data.augmentation import AugmentationConfig
from prp_core.data.augmentation.rate_jitter import RateJitter
from prp_core.data.clip_config import ClipConfig
from prp_core.data.clip_dataset import ClipDataset
from prp_core.data.dilated_sampling import (
    input_positions,
    jittered_position,
    span_length,
    target_positions,
)
from prp_core.data.manifest import VideoRecord
from prp_core.errors import UserError
from tests.span_sampling import sampling_of

LENGTHS = [8, 9, 15, 16, 17, 20, 31, 32, 33, 40, 41, 100]
RATES = (1, 2, 4)


def _clip(strength: float, policy: str = "resample", **values: object) -> ClipConfig:
    augmentation = AugmentationConfig(rate_jitter=RateJitter(strength=strength))
    return ClipConfig(length=8, short_videos=policy, augmentation=augmentation, **values)


def _dataset(clip: ClipConfig, lengths: list[int] = LENGTHS) -> ClipDataset:
    records = [
        VideoRecord(key=f"{number:03}", num_bytes=1, etag="", num_frames=length)
        for number, length in enumerate(lengths)
    ]
    return ClipDataset(records, clip, sampling_of(RATES, 8), 5)


@pytest.mark.parametrize(
    ("percent", "frames", "clip"),
    [
        (100, [0, 1, 2, 3, 4, 5, 6, 7], [0, 2, 4, 6]),
        (120, [0, 1, 2, 4, 5, 6, 7, 8], [0, 2, 5, 7]),
        (110, [0, 1, 2, 3, 4, 6, 7, 8], [0, 2, 4, 7]),
        (75, [0, 1, 2, 2, 3, 4, 5, 5], [0, 2, 3, 5]),
    ],
)
def test_positions_by_hand(percent: int, frames: list[int], clip: list[int]) -> None:
    """T = 4 at rate 2, targets at r = 2: every second target frame is a frame of the clip."""
    assert [jittered_position(position, percent) for position in range(8)] == frames
    assert [jittered_position(position, percent) for position in input_positions(4, 2)] == clip
    targets = [jittered_position(one.before, percent) for one in target_positions(4, 2, 2)]
    assert targets == frames and targets[::2] == clip
    assert span_length(4, 2, percent) == frames[-1] + 1


def test_the_range_of_per_cents() -> None:
    jitter = RateJitter(strength=0.2)
    assert [jitter.percents(rate) for rate in (1, 2, 3, 8)] == [
        (100, 120),
        (80, 120),
        (80, 120),
        (80, 120),
    ]
    assert RateJitter().percents(1) == RateJitter().percents(8) == (100, 100)
    draws = Counter(jitter.draw(2, "key", number) for number in range(4100))
    assert set(draws) == set(range(80, 121)) and min(draws.values()) > 60
    assert jitter.draw(2, "key", 3) == jitter.draw(2, "key", 3)
    assert not RateJitter(strength=0.004).is_on and RateJitter(strength=0.01).is_on


@pytest.mark.parametrize("rate", [1, 2, 3, 5, 8])
def test_no_frame_of_a_clip_is_read_twice(rate: int) -> None:
    """A repeated frame would tell the rate; the slowest is one native frame a frame."""
    least, most = RateJitter(strength=0.49).percents(rate)
    for percent in range(least, most + 1):
        read = [jittered_position(position, percent) for position in input_positions(16, rate)]
        assert len(set(read)) == 16 and read == sorted(read)


def test_rates_that_could_not_be_told_apart_are_refused() -> None:
    assert RateJitter(strength=0.33).overlap((1, 2, 4, 8)) == ""
    assert RateJitter(strength=0.34).overlap((1, 2, 4, 8)) == (
        "rate 1 would go up to 1.34 and rate 2 down to 1.32"
    )
    message = (
        r"clip.augmentation.rate_jitter.strength = 0.35: rate 1 would go up to 1.35 and rate 2 "
        r"down to 1.3; lower it or choose other rates"
    )
    with pytest.raises(UserError, match=message):
        _dataset(_clip(0.35), [100])
    with pytest.raises(UserError, match=r"strength = 0.5: must lie in 0 to 0.5 \(0.5 left out\)"):
        RateJitter(strength=0.5)


@pytest.mark.parametrize("policy", ["resample", "max-rate", "loop"])
@pytest.mark.parametrize("sampling", ["uniform", "published"])
def test_spans_lie_within_their_videos(policy: str, sampling: str) -> None:
    clip = _clip(0.25, policy, sampling=sampling)
    dataset = _dataset(clip)
    seen = set()
    for epoch in range(60):
        for index in range(len(LENGTHS)):
            draw = dataset.draw(epoch, index)
            assert draw == _dataset(clip).draw(epoch, index)
            num_frames = LENGTHS[draw.video_index]
            span = span_length(8, draw.rate, draw.percent)
            seen.add((draw.rate, draw.percent))
            if policy != "loop":
                assert clip.frames_needed(draw.rate) <= num_frames
                assert draw.start + span <= num_frames
    assert {percent for rate, percent in seen if rate == 1} == set(range(100, 126))
    of_rate_four = {percent for rate, percent in seen if rate == 4}
    assert of_rate_four <= set(range(75, 126)) and len(of_rate_four) > 20


def test_videos_must_hold_the_longest_span() -> None:
    """At 125 per cent the positions 0 to 31 of rate 4 reach native frame 39: 40 frames."""
    assert [_clip(0.25).frames_needed(rate) for rate in RATES] == [10, 20, 40]
    assert [_clip(0.0).frames_needed(rate) for rate in RATES] == [8, 16, 32]
    assert _clip(0.25, sampling="published").frames_needed(4) == 41
    with pytest.raises(UserError, match=r"rate 4 x clip length 8 = 40 frames"):
        _dataset(_clip(0.25), [39])


def test_without_jitter_nothing_else_is_drawn() -> None:
    """The same videos, rates and starts as ever; the per cent is a draw of its own."""
    plain = [_dataset(_clip(0.0), [200] * 9).draw(epoch, 3) for epoch in range(40)]
    jittered = [_dataset(_clip(0.2), [200] * 9).draw(epoch, 3) for epoch in range(40)]
    for before, after in zip(plain, jittered, strict=True):
        assert before.percent == 100
        assert replace(after, percent=100, start=0) == replace(before, start=0)
