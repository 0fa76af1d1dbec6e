"""The adaptive read timeout of a store."""

from __future__ import annotations

import pytest

from orchestrator.storage.read_timeout import (
    NUM_NEEDED,
    NUM_REMEMBERED,
    AdaptiveReadTimeout,
    read_timeout_seconds,
)


@pytest.mark.parametrize(
    ("pauses", "num_failures", "wanted"),
    [
        ([], 0, 2.0),
        ([0.01] * (NUM_NEEDED - 1), 0, 2.0),  # too few to judge by
        ([0.01] * NUM_NEEDED, 0, 0.2),
        ([0.01] * 31 + [0.1], 0, 0.4),  # the longest counts
        ([0.2] * NUM_NEEDED, 0, 0.8),
        ([3.0] * NUM_NEEDED, 0, 2.0),  # never more than a first read may
        ([0.01] * NUM_NEEDED, 1, 0.4),
        ([0.01] * NUM_NEEDED, 4, 3.2),
        ([0.01] * NUM_NEEDED, 9, 20.0),
        ([0.01] * NUM_NEEDED, 5_000, 20.0),
        ([], 2, 8.0),
    ],
)
def test_the_timeout_is_a_little_longer_than_recent_reads_needed(
    pauses: list[float], num_failures: int, wanted: float
) -> None:
    assert read_timeout_seconds(pauses, num_failures, 2.0, 20.0) == wanted


def test_what_a_user_allows_is_never_exceeded() -> None:
    assert read_timeout_seconds([0.01] * NUM_NEEDED, 0, 0.1, 20.0) == 0.1
    assert read_timeout_seconds([], 3, 2.0, 5.0) == 5.0
    assert read_timeout_seconds([], 0, 2.0, 1.0) == 1.0


def test_a_store_that_becomes_slower_is_given_time_again() -> None:
    """A read that timed out is not recorded; the retry that succeeds, with twice the time, is."""
    timeout = AdaptiveReadTimeout(2.0, 20.0)
    for _ in range(NUM_REMEMBERED):
        timeout.record(0.02)
    assert timeout.seconds(0) == 0.2
    needed = 0.9
    num_failures = next(n for n in range(9) if timeout.seconds(n) > needed)
    timeout.record(needed)
    assert num_failures == 3 and timeout.seconds(0) == 2.0
    for _ in range(NUM_REMEMBERED):
        timeout.record(0.02)
    assert timeout.seconds(0) == 0.2
