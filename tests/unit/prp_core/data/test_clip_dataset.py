"""Which sample comes when: a pure function, with the policies for short videos as a table."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from prp_core.data.clip_config import SHORT_VIDEO_POLICIES, ClipConfig
from prp_core.data.clip_dataset import ClipDataset
from prp_core.data.manifest import VideoRecord
from prp_core.errors import UserError
from tests.span_sampling import sampling_of

RATES = (1, 2, 4)


def _dataset(
    lengths: list[int],
    policy: str = "resample",
    seed: int = 5,
    rates: tuple[int, ...] = RATES,
    reversed_share: float = 0.0,
) -> ClipDataset:
    records = [
        VideoRecord(key=f"{number:03}", num_bytes=1, etag="", num_frames=length)
        for number, length in enumerate(lengths)
    ]
    clip = ClipConfig(length=8, short_videos=policy)
    return ClipDataset(records, clip, sampling_of(rates, 8, reversed_share=reversed_share), seed)


LENGTHS = [8, 9, 15, 16, 17, 31, 32, 33, 40, 100]


@pytest.mark.parametrize("policy", SHORT_VIDEO_POLICIES)
def test_a_draw_depends_on_seed_epoch_and_index_alone(policy: str) -> None:
    forwards = [
        _dataset(LENGTHS, policy).draw(epoch, index) for epoch in range(3) for index in range(10)
    ]
    dataset = _dataset(LENGTHS, policy)
    backwards = [
        dataset.draw(epoch, index) for epoch in reversed(range(3)) for index in reversed(range(10))
    ]
    assert forwards == backwards[::-1]
    assert forwards != [
        _dataset(LENGTHS, policy, seed=6).draw(epoch, index)
        for epoch in range(3)
        for index in range(10)
    ]


@pytest.mark.parametrize("policy", SHORT_VIDEO_POLICIES)
def test_spans_lie_within_their_videos(policy: str) -> None:
    dataset = _dataset(LENGTHS, policy)
    for epoch in range(60):
        for index in range(len(LENGTHS)):
            draw = dataset.draw(epoch, index)
            num_frames = LENGTHS[draw.video_index]
            positions, frames = dataset.positions(draw)
            assert RATES[draw.rate_label] == draw.rate and 0 <= draw.start < num_frames
            assert all(0 <= frame < num_frames for frame in frames)
            if policy != "loop":
                assert draw.start + 8 * draw.rate <= num_frames
                assert frames == tuple(draw.start + position for position in positions)


def test_every_start_and_every_rate_is_drawn_alike() -> None:
    dataset = _dataset([12], rates=(1,))
    starts = Counter(dataset.draw(epoch, 0).start for epoch in range(2000))
    assert set(starts) == set(range(5)) and min(starts.values()) > 320
    rates = Counter(_dataset([100]).draw(epoch, 0).rate for epoch in range(900))
    assert set(rates) == set(RATES) and min(rates.values()) > 230


def test_each_video_comes_once_an_epoch_in_an_order_that_rates_do_not_change() -> None:
    lengths = [200] * 30
    orders = [
        [_dataset(lengths, rates=rates).draw(2, index).video_index for index in range(30)]
        for rates in ((1, 2), (1, 4, 8))
    ]
    assert orders[0] == orders[1] and sorted(orders[0]) == list(range(30)) != orders[0]
    assert orders[0] != [_dataset(lengths).draw(3, index).video_index for index in range(30)]


def test_policies_for_short_videos() -> None:
    lengths = [8] * 9 + [32]
    resampled = [_dataset(lengths).draw(epoch, index) for epoch in range(60) for index in range(10)]
    assert {draw.video_index for draw in resampled if draw.rate > 1} == {9}, (
        "the rate is kept, the video is another"
    )
    assert 140 < Counter(draw.rate for draw in resampled)[4] < 260
    max_rate = [
        _dataset(lengths, "max-rate").draw(epoch, index)
        for epoch in range(60)
        for index in range(10)
    ]
    assert {draw.rate for draw in max_rate if draw.video_index != 9} == {1}, (
        "the video is kept, the rate is one that fits"
    )
    assert Counter(draw.video_index for draw in max_rate) == dict.fromkeys(range(10), 60)
    looped = [
        _dataset(lengths, "loop").draw(epoch, index) for epoch in range(60) for index in range(10)
    ]
    assert Counter(draw.video_index for draw in looped) == dict.fromkeys(range(10), 60)
    assert {draw.rate for draw in looped if draw.video_index == 0} == set(RATES)


def test_a_replacement_is_another_pure_draw_of_the_same_rate() -> None:
    dataset = _dataset([100] * 20)
    first, second, third = (dataset.draw(0, 3, attempt) for attempt in range(3))
    assert (
        first.rate == second.rate == third.rate
        and len({draw.video_index for draw in (first, second, third)}) > 1
    )
    assert second == _dataset([100] * 20).draw(0, 3, 1)


def test_what_cannot_be_drawn_is_refused_with_counts() -> None:
    with pytest.raises(
        UserError,
        match=r"rate 4 x clip length 8 = 32 frames .*rate 1: 2 of 2, rate 2: 1 of 2, rate 4: "
        r"0 of 2",
    ):
        _dataset([8, 20])
    with pytest.raises(UserError, match="no usable video"):
        _dataset([])
    assert _dataset([8, 20], "loop").draw(0, 0).rate in RATES


def test_the_published_start_rule_is_reachable() -> None:
    """Method 1.2: F = 12 and a span of 8 give 4 draws, starts 0 (twice), 1 and 2."""
    record = VideoRecord(key="one", num_bytes=1, etag="", num_frames=12)
    clip = ClipConfig(length=8, sampling="published")
    starts = Counter(
        ClipDataset([record], clip, sampling_of((1,), 8), 5).draw(epoch, 0).start
        for epoch in range(2000)
    )
    assert set(starts) == {0, 1, 2} and 900 < starts[0] < 1100 and 400 < starts[2] < 600
    with pytest.raises(UserError, match="rate 1 x clip length 8 = 9 frames"):
        record = VideoRecord(key="8", num_bytes=1, etag="", num_frames=8)
        ClipDataset([record], clip, sampling_of((1,), 8), 5)
    with pytest.raises(UserError, match="Unknown value of clip.sampling 'publishd'.*'published'"):
        ClipConfig(sampling="publishd")


def test_a_reversed_span_is_the_same_span_read_from_its_end() -> None:
    forwards = _dataset(LENGTHS, "loop")
    backwards = _dataset(LENGTHS, "loop", reversed_share=1.0)
    mixed = _dataset(LENGTHS, "loop", reversed_share=0.5)
    num_reversed = 0
    for epoch in range(100):
        for index in range(len(LENGTHS)):
            draw, other = forwards.draw(epoch, index), backwards.draw(epoch, index)
            assert not draw.is_reversed and other == replace(draw, is_reversed=True)
            num_reversed += mixed.draw(epoch, index).is_reversed
            last, num_frames = 8 * draw.rate - 1, LENGTHS[draw.video_index]
            positions, frames = backwards.positions(other)
            assert frames == tuple((draw.start + last - place) % num_frames for place in positions)
            # All frames of the slowest rates are carried: the same ones, in the other order.
            if draw.rate <= 2:
                assert frames[::-1] == forwards.positions(draw)[1]
    assert 0.45 < num_reversed / 1000 < 0.55
