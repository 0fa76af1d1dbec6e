"""The limits of one request to a decode process: its work, its hangs, the shape of its reply.

What a video may cost is counted in pixels to decode, which are a function of the file alone. The
limits on CPU seconds are against hangs: they begin anew with each sign of progress, are far above
what any machine needs, and do not run while a process waits for a CPU. A system that tells neither
(a Mac: it has no ``/proc``) is asked for the time of day: a second counts as `WALL_SHARE` of one.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prp_core.data.readers.video_reader import VideoInfo
from prp_core.errors import BrokenVideo

STALLED_SECONDS = 120.0
PIXELS_PER_CPU_SECOND = 5e6  # a fourth of a slow machine's, of the slowest codec
BYTES_PER_CPU_SECOND = 200e3  # a slow machine's, of a large picture
WALL_SHARE = 0.1  # ten processes that want a CPU for each that a machine has
REPLY_SHARE = 4  # a reply takes at most this part of the decoder's memory


class Stalled(Exception):
    """A process that neither computes nor waits for a CPU, for `STALLED_SECONDS`."""


@dataclass(frozen=True)
class FrameShape:
    """The height and width of a video's frames; 0 where no manifest states them."""

    height: int = 0
    width: int = 0

    @property
    def is_known(self) -> bool:
        """Whether a manifest states them."""
        return self.height > 0 and self.width > 0

    @property
    def pixels(self) -> int:
        """Pixels of a frame."""
        return self.height * self.width


UNKNOWN = FrameShape()


def frames_of_a_reply(shape: FrameShape, memory_bytes: int) -> int:
    """How many frames one reply may hold, at least 1."""
    if not shape.is_known:
        return 1 << 30
    return max(1, memory_bytes // REPLY_SHARE // (3 * shape.pixels))


def seconds_allowed(
    timeout_seconds: float, shape: FrameShape, num_frames: int, most_pixels: int
) -> float:
    """CPU seconds until the next sign of progress of a request that may have to decode `num_frames`
    frames, or `most_pixels` pixels, for one.
    """
    pixels = min(shape.pixels * num_frames, most_pixels)
    return timeout_seconds + pixels / PIXELS_PER_CPU_SECOND


def seconds_of_inspection(timeout_seconds: float, num_bytes: int) -> float:
    """CPU seconds until the next sign of progress of the inspection of a file of `num_bytes`."""
    return timeout_seconds + num_bytes / BYTES_PER_CPU_SECOND


def check_reply(
    path: str, told: Any, num_frames: int, shape: FrameShape, max_pixels: int
) -> tuple[int, ...]:
    """The shape that a reply announces: (N, H, W, 3), or (N, H * 3 / 2, W) for planes.

    Raises `BrokenVideo` for more than `max_pixels` pixels, another number of frames than was asked
    for, and another size than a manifest states.
    """
    numbers: Sequence[Any] = told if isinstance(told, list) else []
    if len(numbers) not in (3, 4) or any(type(one) is not int or one < 1 for one in numbers):
        raise BrokenVideo(path, "undecodable", f"the decoder announces frames of shape {told}")
    height, width = numbers[1], numbers[2]
    if len(numbers) == 3:
        height = height * 2 // 3
    if height * width > max_pixels:
        words = f"{width} x {height} pixels, the limit is {max_pixels} in all"
        raise BrokenVideo(path, "too-large", words)
    if numbers[0] != num_frames or (len(numbers) == 4 and numbers[3] != 3):
        words = f"{num_frames} frames were asked for, the decoder announces {told}"
        raise BrokenVideo(path, "undecodable", words)
    if shape.is_known and (height, width) != (shape.height, shape.width):
        words = f"its frames are {width} x {height}, the manifest says"
        raise BrokenVideo(path, "undecodable", f"{words} {shape.width} x {shape.height}")
    return tuple(numbers)


def why_needs_prepare(info: VideoInfo, most_pixels: int) -> str:
    """Why such a video is not read at random, for a person; "" where it may be."""
    count = info.num_frames_to_read_one
    if count * info.width * info.height <= most_pixels:
        return ""
    return (
        f"reading one frame may decode {count} frames of {info.width} x {info.height}, and "
        f"loader.max_pixels_decoded = {most_pixels}; prepare it: prp data prepare"
    )


class RequestLimit:
    """The CPU seconds that a request may cost between two signs of progress, and the watch for a
    decoder that stands still.
    """

    def __init__(self, path: str, pid: int, allowed_seconds: float, words: str) -> None:
        self._path = path
        self._pid = pid
        self._allowed_seconds = allowed_seconds
        self._words = words
        self._first_cpu = self._last_cpu = _spent_seconds(pid)
        self._alive_at = time.monotonic()

    def renew(self) -> None:
        """The decoder has given a sign of progress."""
        self._first_cpu = _spent_seconds(self._pid)

    def check(self) -> None:
        """Raise `BrokenVideo` "too-slow" once the CPU time is spent, `Stalled` for a standstill."""
        cpu = _spent_seconds(self._pid)
        now = time.monotonic()
        if cpu != self._last_cpu or _state(self._pid) == "R":
            self._alive_at = now
        self._last_cpu = cpu
        used = cpu - self._first_cpu
        if used > self._allowed_seconds:
            words = f"{used:.1f} CPU seconds at one place, {self._allowed_seconds:g} are allowed"
            raise BrokenVideo(self._path, "too-slow", f"{words}; {self._words}")
        if now - self._alive_at > STALLED_SECONDS:
            raise Stalled


def cpu_seconds(pid: int) -> float:
    """CPU time that process `pid` has used, all threads; 0 when it is gone, and where no system
    tells it.
    """
    fields = _fields(pid)
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if fields else 0.0


def _spent_seconds(pid: int) -> float:
    return cpu_seconds(pid) if _is_cpu_time_told() else WALL_SHARE * time.monotonic()


@functools.cache
def _is_cpu_time_told() -> bool:
    return bool(_fields(os.getpid()))


def _state(pid: int) -> str:
    """``R`` while a thread runs or waits for a CPU."""
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return ""
    states = [_fields(pid, f"task/{thread.name}/")[:1] for thread in threads]
    return "R" if ["R"] in states else "S"


def _fields(pid: int, below: str = "") -> list[str]:
    try:
        return Path(f"/proc/{pid}/{below}stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
