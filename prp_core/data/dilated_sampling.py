"""The integer arithmetic of dilated sampling: the frames of a clip, its target, its attention.

Positions count native frames from the start of the span. With clip length T = 4, rate s = 2,
upsampling r = 2::

    native position     0   1   2   3   4   5   6   7        span: T * s = 8 frames
    input (clip)        0       2       4       6            every s-th frame
    target              0   1   2   3   4   5   6   7        T * r frames, s / r native frames apart
    attention chunk     0   0   0   0   1   1   1   1        s chunks of T frames, 4 key frames each

Where s / r is not whole, a target frame between two native frames is interpolated linearly and not
supervised.
"""

from __future__ import annotations

from dataclasses import dataclass

NUM_KEY_FRAMES = 4


@dataclass(frozen=True)
class TargetFrame:
    """The native positions around one target frame.

    The frame at `after` has the weight ``numerator / upsampling``, the one at `before` the rest.
    `supervised`: the target frame is itself a native frame (numerator 0), not an interpolated one.
    """

    before: int
    after: int
    numerator: int
    supervised: bool


def span_length(clip_length: int, rate: int, percent: int = 100) -> int:
    """Native frames in the span of a clip, read at `percent` per cent of `rate`."""
    return jittered_position(clip_length * rate - 1, percent) + 1


def jittered_position(position: int, percent: int) -> int:
    """The native frame read for a span's `position` when it plays at `percent` per cent, rounded.

    At 110 per cent the positions 0, 1, 2, ... 7 are read at 0, 1, 2, 3, 4, 6, 7, 8; at 100 per
    cent each at itself. Clip, target and key frames are read through the same mapping, so a target
    frame that coincides with a frame of the clip still does.
    """
    return (position * percent + 50) // 100


def input_positions(clip_length: int, rate: int) -> tuple[int, ...]:
    """Native positions of the `clip_length` frames that enter the encoder."""
    return tuple(rate * k for k in range(clip_length))


def target_positions(clip_length: int, rate: int, upsampling: int) -> tuple[TargetFrame, ...]:
    """The `clip_length * upsampling` target frames; frame j lies at ``j * rate / upsampling``.

    ``clip_length * gcd(upsampling, rate)`` of them are supervised. Beyond the last native frame
    that frame is repeated.
    """
    last = span_length(clip_length, rate) - 1
    frames = []
    for j in range(clip_length * upsampling):
        before, numerator = divmod(j * rate, upsampling)
        after = min(before + 1, last) if numerator else before
        frames.append(TargetFrame(before, after, numerator, supervised=numerator == 0))
    return tuple(frames)


def key_frame_offsets(clip_length: int) -> tuple[int, ...]:
    """The four frames of a chunk between which motion is measured: 0, 5, 10, 15 of 16.

    ``round(k * (clip_length - 1) / 3)`` in whole numbers; a third is never halfway, so nothing is
    rounded to even.
    """
    return tuple((2 * k * (clip_length - 1) + 3) // 6 for k in range(NUM_KEY_FRAMES))


def key_frame_positions(clip_length: int, rate: int) -> tuple[tuple[int, int, int, int], ...]:
    """Native positions of the four key frames of each of the `rate` chunks of a span."""
    first, second, third, fourth = key_frame_offsets(clip_length)
    starts = (chunk * clip_length for chunk in range(rate))
    return tuple((start + first, start + second, start + third, start + fourth) for start in starts)


def chunk_of_output(clip_length: int, rate: int, upsampling: int) -> tuple[int, ...]:
    """The chunk whose motion weights each of the `clip_length * upsampling` target frames."""
    num_outputs = clip_length * upsampling
    return tuple(j * rate // num_outputs for j in range(num_outputs))


def needed_positions(
    clip_length: int, rate: int, upsampling: int, with_attention: bool
) -> tuple[int, ...]:
    """The positions that input, target and (if wanted) attention need, ascending."""
    needed = set(input_positions(clip_length, rate))
    for frame in target_positions(clip_length, rate, upsampling):
        needed |= {frame.before, frame.after}
    if with_attention:
        needed.update(
            position for chunk in key_frame_positions(clip_length, rate) for position in chunk
        )
    return tuple(sorted(needed))


def num_starts(num_frames: int, span: int, *, published: bool = False) -> int:
    """Number of equally likely draws of a start for a span of `span` frames; 0 in a short video.

    Every start that fits, ``0 .. num_frames - span``, counts once. `published` is the rule of the
    official code: it needs one frame more, never uses the last two starts and takes start 0 twice
    as often (method §1.2; see `start_of_draw`).
    """
    spare = num_frames - span
    return max(spare if published else spare + 1, 0)


def start_of_draw(draw: int, *, published: bool = False) -> int:
    """The start frame for a draw of ``0 .. num_starts - 1``."""
    return max(draw - 1, 0) if published else draw


def evenly_spaced_starts(num_frames: int, clip_length: int, num_clips: int) -> tuple[int, ...]:
    """The starts of `num_clips` clips of consecutive frames, evenly spaced over a whole video.

    The first and the last reach its ends; a single clip is taken from the middle. A video shorter
    than a clip gives start 0 every time; the reader pads it.
    """
    spare = max(num_frames - clip_length, 0)
    if num_clips == 1:
        return (spare // 2,)
    return tuple(i * spare // (num_clips - 1) for i in range(num_clips))


def spread_frames(num_frames: int, count: int) -> tuple[int, ...]:
    """At most `count` distinct frames, evenly over ``0 .. num_frames - 1``, both ends included."""
    if count == 1:
        return (num_frames // 2,)
    last = num_frames - 1
    return tuple(
        dict.fromkeys((2 * i * last + count - 1) // (2 * (count - 1)) for i in range(count))
    )
