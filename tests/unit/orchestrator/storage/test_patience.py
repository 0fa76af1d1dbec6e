"""How long a store may be silent."""

from __future__ import annotations

import pytest

from orchestrator.storage.patience import NUM_NEEDED, NUM_REMEMBERED, Patience, allowed_silence


@pytest.mark.parametrize(
    ("silences", "num_failures", "wanted"),
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
def test_a_read_bears_a_little_more_silence_than_the_last_ones_had(
    silences: list[float], num_failures: int, wanted: float
) -> None:
    assert allowed_silence(silences, num_failures, 2.0, 20.0) == wanted


def test_what_a_user_allows_is_never_exceeded() -> None:
    assert allowed_silence([0.01] * NUM_NEEDED, 0, 0.1, 20.0) == 0.1
    assert allowed_silence([], 3, 2.0, 5.0) == 5.0
    assert allowed_silence([], 0, 2.0, 1.0) == 1.0


def test_a_store_that_becomes_slower_is_given_time_again() -> None:
    """Nothing is remembered of a read that was given up, but the attempt that comes has borne twice
    the silence, and that is.
    """
    patience = Patience(2.0, 20.0)
    for _ in range(NUM_REMEMBERED):
        patience.remember(0.02)
    assert patience.seconds(0) == 0.2
    needed = 0.9
    num_failures = next(n for n in range(9) if patience.seconds(n) > needed)
    patience.remember(needed)
    assert num_failures == 3 and patience.seconds(0) == 2.0
    for _ in range(NUM_REMEMBERED):
        patience.remember(0.02)
    assert patience.seconds(0) == 0.2
