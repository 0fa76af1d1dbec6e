"""The adaptive read timeout of a store: a little longer than its recent reads needed."""

from __future__ import annotations

import threading
from collections import deque

SHORTEST_SECONDS = 0.2  # below this a busy machine, not the store, makes the pauses
TIMES_THE_LONGEST = 4.0
NUM_REMEMBERED = 32
NUM_NEEDED = 8


def read_timeout_seconds(
    pauses: list[float], num_failures: int, first_seconds: float, longest_seconds: float
) -> float:
    """The timeout of a read's next attempt, in seconds, after `num_failures` in a row.

    `pauses` are the longest waits for data, in seconds, within each of the recent successful reads.
    The first attempt gets four times the longest of them, rounded up to a power of two of
    `SHORTEST_SECONDS` (each value is a client with its own connections), at most `first_seconds`;
    and `first_seconds` while fewer than `NUM_NEEDED` are known. Each failure doubles the timeout,
    up to `longest_seconds`.
    """
    first = first_seconds
    if len(pauses) >= NUM_NEEDED:
        first = min(first_seconds, SHORTEST_SECONDS)
        while first < min(first_seconds, TIMES_THE_LONGEST * max(pauses)):
            first = min(2 * first, first_seconds)
    return float(min(longest_seconds, first * 2 ** min(num_failures, 16)))


class AdaptiveReadTimeout:
    """The read timeout of one store, learnt from its recent reads. Safe with threads."""

    def __init__(self, first_seconds: float, longest_seconds: float) -> None:
        self._first_seconds = first_seconds
        self._longest_seconds = longest_seconds
        self._pauses: deque[float] = deque(maxlen=NUM_REMEMBERED)
        self._lock = threading.Lock()

    def seconds(self, num_failures: int) -> float:
        """The timeout after `num_failures` in a row; see `read_timeout_seconds`."""
        with self._lock:
            return read_timeout_seconds(
                list(self._pauses), num_failures, self._first_seconds, self._longest_seconds
            )

    def record(self, longest_pause_seconds: float) -> None:
        """Add a successful read, of which this was the longest wait for data."""
        with self._lock:
            self._pauses.append(longest_pause_seconds)
