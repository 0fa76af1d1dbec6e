"""The progress of indexing within a sweep: a bar with rate and time left, or lines of a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO

from orchestrator.data.index import IndexProgress
from orchestrator.sweep.trial_rows import minutes

BAR_WIDTH = 20
SCREEN_SECONDS = 0.2
LOG_SECONDS = 30.0


class IndexingLine:
    """Takes an `IndexProgress` for each video, and says how far it is as often as is of use."""

    def __init__(
        self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`stream` is stdout unless given; `clock` is in seconds."""
        self._stream = stream or sys.stdout
        self._is_screen = self._stream.isatty()
        self._clock = clock
        self._started = clock()
        self._said_at = self._started
        self._has_said = False

    def __call__(self, progress: IndexProgress) -> None:
        """Say it, unless that was said a moment ago."""
        now = self._clock()
        is_last = progress.num_done >= progress.num_videos
        pause = SCREEN_SECONDS if self._is_screen else LOG_SECONDS
        if now - self._said_at < pause and not (is_last and self._has_said):
            return
        self._said_at = now
        self._has_said = True
        line = indexing_words(progress, now - self._started)
        if self._is_screen:
            line = f"\r\033[K{line}{'' if not is_last else chr(10)}"
        else:
            line += "\n"
        self._stream.write(line)
        self._stream.flush()


def indexing_words(progress: IndexProgress, seconds: float) -> str:
    """``indexing [#####-----] 120 of 240 videos · 34/s · about 0m04s left``; after `seconds`."""
    share = progress.num_done / max(1, progress.num_videos)
    full = round(BAR_WIDTH * share)
    fresh = progress.num_done - progress.num_reused
    parts = [
        f"indexing [{'#' * full}{'-' * (BAR_WIDTH - full)}] "
        f"{progress.num_done} of {progress.num_videos} videos"
    ]
    if fresh > 0 and seconds > 0:
        rate = fresh / seconds
        left = (progress.num_videos - progress.num_done) / rate
        parts.append(f"{rate:.1f}/s" if rate < 10 else f"{rate:.0f}/s")
        parts.append(f"about {minutes(left)} left" if left else f"{minutes(seconds)}")
    if progress.num_quarantined:
        parts.append(f"{progress.num_quarantined} quarantined")
    return " · ".join(parts)
