"""Dilated sampling by hand: the tables of method §1.4, §8.1, §6.1 and the general rules of §1.5."""

from __future__ import annotations

from math import gcd

import pytest

from prp_core.data import dilated_sampling as sampling
from prp_core.data.clip_config import ClipConfig

START = 10


@pytest.mark.parametrize(
    ("rate", "frames_needed", "inputs", "targets", "num_supervised"),
    [
        (1, 17, [10, 11, 25], [10, 10.5, 11, 11.5, 24.5, 25, 25], 16),
        (2, 33, [10, 12, 40], [10, 11, 12, 13, 39, 40, 41], 32),
        (4, 65, [10, 14, 70], [10, 12, 14, 16, 68, 70, 72], 32),
        (8, 129, [10, 18, 130], [10, 14, 18, 22, 126, 130, 134], 32),
    ],
)
def test_worked_example_from_frame_ten(
    rate: int, frames_needed: int, inputs: list[int], targets: list[float], num_supervised: int
) -> None:
    positions = sampling.input_positions(16, rate)
    assert [START + positions[k] for k in (0, 1, 15)] == inputs
    frames = sampling.target_positions(16, rate, 2)
    places = [
        START + frame.before + (frame.after - frame.before) * frame.numerator / 2
        for frame in frames
    ]
    assert len(places) == 32 and places[:4] + places[-3:] == targets
    assert sum(frame.supervised for frame in frames) == num_supervised
    assert [places[2 * k] for k in range(16)] == [START + position for position in positions]
    span = sampling.span_length(16, rate)
    draws = [sampling.num_starts(frames_needed - n, span, published=True) for n in (0, 1)]
    assert draws == [1, 0]
    assert [sampling.num_starts(frames_needed - n, span) for n in (1, 2)] == [1, 0]
    assert ClipConfig(sampling="published").frames_needed(rate) == frames_needed
    assert ClipConfig().frames_needed(rate) == frames_needed - 1


def test_at_rate_one_the_even_target_frames_are_real_and_the_last_is_repeated() -> None:
    frames = sampling.target_positions(16, 1, 2)
    assert all(frame.supervised == (j % 2 == 0) for j, frame in enumerate(frames))
    assert frames[30] == sampling.TargetFrame(15, 15, 0, True)
    assert frames[31] == sampling.TargetFrame(15, 15, 1, False)


def test_published_starts_take_the_first_twice_and_ours_each_once() -> None:
    starts = [sampling.start_of_draw(draw, published=True) for draw in (0, 1, 2, 23)]
    assert starts == [0, 0, 1, 22]
    assert sampling.num_starts(40, 16, published=True) == 24
    assert sampling.num_starts(40, 16) == 25 and sampling.start_of_draw(24) == 24
    num_draws = sampling.num_starts(200, 128, published=True)
    last = sampling.start_of_draw(num_draws - 1, published=True)
    assert last == 70
    assert (
        last + sampling.input_positions(16, 8)[-1],
        last + sampling.target_positions(16, 8, 2)[-1].before,
    ) == (190, 194)
    assert sampling.num_starts(15, 16) == 0 and sampling.num_starts(16, 16, published=True) == 0


@pytest.mark.parametrize(("rate", "outputs_per_chunk"), [(1, 32), (2, 16), (4, 8), (8, 4)])
def test_every_chunk_weighs_its_share_of_the_output(rate: int, outputs_per_chunk: int) -> None:
    assert sampling.chunk_of_output(16, rate, 2) == tuple(j // outputs_per_chunk for j in range(32))


def test_key_frames() -> None:
    assert sampling.key_frame_positions(16, 2) == ((0, 5, 10, 15), (16, 21, 26, 31))
    assert sampling.key_frame_offsets(8) == (0, 2, 5, 7)
    assert sampling.key_frame_offsets(24) == (0, 8, 15, 23)


@pytest.mark.parametrize("clip_length", [8, 16, 24])
@pytest.mark.parametrize("rate", [1, 2, 3, 5, 6, 8])
@pytest.mark.parametrize("upsampling", [1, 2, 3, 4])
def test_any_rate_goes_with_any_upsampling(clip_length: int, rate: int, upsampling: int) -> None:
    frames = sampling.target_positions(clip_length, rate, upsampling)
    assert len(frames) == clip_length * upsampling
    assert sum(frame.supervised for frame in frames) == clip_length * gcd(upsampling, rate)
    last = sampling.span_length(clip_length, rate) - 1
    for j, frame in enumerate(frames):
        assert frame.before * upsampling + frame.numerator == j * rate
        assert (
            frame.after
            == (frame.before if frame.supervised else min(frame.before + 1, last))
            <= last
        )
    chunks = sampling.chunk_of_output(clip_length, rate, upsampling)
    assert list(chunks) == sorted(chunks) and max(chunks) < rate
    assert all(
        chunk == frame.before // clip_length for chunk, frame in zip(chunks, frames, strict=True)
    )
    with_attention = sampling.needed_positions(clip_length, rate, upsampling, True)
    without = sampling.needed_positions(clip_length, rate, upsampling, False)
    assert list(with_attention) == sorted(set(with_attention)) and set(without) <= set(
        with_attention
    )
    assert set(sampling.input_positions(clip_length, rate)) <= set(without)
    assert with_attention[0] == 0 and with_attention[-1] == last


@pytest.mark.parametrize(
    ("num_frames", "starts"),
    [
        (29, (0, 1, 2, 4, 5, 7, 8, 10, 11, 13)),
        (100, (0, 9, 18, 28, 37, 46, 56, 65, 74, 84)),
        (300, (0, 31, 63, 94, 126, 157, 189, 220, 252, 284)),
        (12, (0,) * 10),
    ],
)
def test_evaluation_looks_at_ten_evenly_spaced_clips(
    num_frames: int, starts: tuple[int, ...]
) -> None:
    assert sampling.evenly_spaced_starts(num_frames, 16, 10) == starts


def test_a_single_evaluation_clip_comes_from_the_middle() -> None:
    assert sampling.evenly_spaced_starts(116, 16, 1) == (50,)
