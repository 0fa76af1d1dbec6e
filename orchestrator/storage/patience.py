"""How long a store may say nothing before a read is asked for again: a little longer than it lately
needed.
"""

from __future__ import annotations

import threading
from collections import deque

SHORTEST_SECONDS = 0.2  # below this a busy machine, not the store, makes the silence
TIMES_THE_LONGEST = 4.0
NUM_REMEMBERED = 32
NUM_NEEDED = 8


def allowed_silence(
    silences: list[float], num_failures: int, first_seconds: float, longest_seconds: float
) -> float:
    """Seconds of silence that the next attempt of a read bears, after `num_failures` in a row; at
    most `longest_seconds`.

    `silences` are the longest pauses of the last reads that came. A read starts with four times the
    longest of them, in steps of a factor of two (each step is a client with connections of its own)
    and never more than `first_seconds`; with `first_seconds` while fewer than 8 are known. Each
    failure doubles it.
    """
    first = first_seconds
    if len(silences) >= NUM_NEEDED:
        first = min(first_seconds, SHORTEST_SECONDS)
        while first < min(first_seconds, TIMES_THE_LONGEST * max(silences)):
            first = min(2 * first, first_seconds)
    return float(min(longest_seconds, first * 2 ** min(num_failures, 16)))


class Patience:
    """Remembers the silences of a store's last reads. Safe with threads."""

    def __init__(self, first_seconds: float, longest_seconds: float) -> None:
        self._first_seconds = first_seconds
        self._longest_seconds = longest_seconds
        self._silences: deque[float] = deque(maxlen=NUM_REMEMBERED)
        self._lock = threading.Lock()

    def seconds(self, num_failures: int) -> float:
        """See `allowed_silence`."""
        with self._lock:
            return allowed_silence(
                list(self._silences), num_failures, self._first_seconds, self._longest_seconds
            )

    def remember(self, silence_seconds: float) -> None:
        """A read came whole whose longest pause was this."""
        with self._lock:
            self._silences.append(silence_seconds)
