"""The meter: a run's words as a table, and the slices that they give."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from orchestrator.cost.ledger import LedgerEntry, total
from orchestrator.cost.meter import SLICE_SECONDS, CostMeter, Held, redone_share

OWNER = ("train", 3, None)


def metered(*words: tuple[Any, ...], last: LedgerEntry | None = None) -> list[LedgerEntry]:
    """What the words (method, time, further arguments) give, in order."""
    meter = CostMeter(OWNER, Held(gpus=1.0, cpus=4.0), (1, 2, 4), last)
    return [entry for name, *arguments in words for entry in getattr(meter, name)(*arguments)]


def slices(entries: list[LedgerEntry]) -> list[tuple[int, int, float, float, float]]:
    """(rung, attempt, pending, busy, redone) of each entry."""
    return [
        (one.rung_epoch, one.attempt, one.pending_seconds, one.busy_seconds, one.redone_seconds)
        for one in entries
    ]


def test_a_trial_from_its_asking_to_its_end() -> None:
    entries = metered(
        ("asked", 100),
        ("started", 107),
        ("heard", 110, 4),
        ("at_rung", 115, 1),
        ("heard", 120, 8),
        ("at_rung", 127, 2),
        ("ended", 128),
    )
    assert slices(entries) == [(1, 1, 7, 0, 0), (1, 1, 0, 8, 0), (2, 1, 0, 12, 0), (4, 1, 0, 1, 0)]
    assert all(one.ended == two.started for one, two in pairwise(entries)), "no gap, no overlap"
    assert total(entries).gpu_hours == pytest.approx(21 / 3600)


def test_a_killed_worker_costs_a_start_and_the_steps_that_are_done_twice() -> None:
    words = [
        ("asked", 0),
        ("started", 5),
        ("heard", 10, 10),
        ("heard", 15, 20),
    ]  # then it is killed; its checkpoint was at step 12
    words += [("started", 25), ("heard", 28, 16), ("heard", 32, 24), ("ended", 33)]
    entries = metered(*words)
    assert slices(entries) == [(1, 1, 5, 0, 0), (1, 1, 0, 10, 0), (1, 2, 10, 0, 0), (1, 2, 0, 8, 5)]
    assert total(entries).redone_seconds == 5, "3 s to step 16, and half of the way from 16 to 24"


@pytest.mark.parametrize(
    ("before", "after", "highest", "share"),
    [
        (-1, 10, -1, 0.0),
        (0, 10, -1, 0.0),
        (0, 10, 20, 1.0),
        (-1, 10, 20, 1.0),
        (10, 30, 20, 0.5),
        (20, 30, 20, 0.0),
        (-1, 30, 20, 0.0),
    ],
)
def test_the_part_of_a_way_that_was_gone_before(
    before: int, after: int, highest: int, share: float
) -> None:
    assert redone_share(before, after, highest) == share


def test_data_wait_is_counted_by_the_logged_share_and_is_never_more_than_the_time() -> None:
    entries = metered(
        ("asked", 0),
        ("started", 0),
        ("heard", 10, 5, 0.4),
        ("heard", 20, 10, 1.5),
        ("at_rung", 30, 1),
        ("ended", 30),
    )
    assert total(entries).data_wait_seconds == 14
    assert total(entries).busy_seconds == 30


def test_long_slices_are_written_on_the_way_so_that_a_crash_loses_little() -> None:
    entries = metered(
        ("asked", 0), ("started", 0), *(("heard", second, second) for second in range(1, 100))
    )
    assert [one.busy_seconds for one in entries if one.busy_seconds] == [SLICE_SECONDS] * 3


def test_a_restarted_server_goes_on_where_the_ledger_ends() -> None:
    first = metered(("asked", 0), ("started", 5), ("heard", 40, 10))
    again = metered(("heard", 60, 20), ("at_rung", 70, 1), ("ended", 71), last=first[-1])
    assert slices(again) == [(1, 1, 0, 30, 0), (2, 1, 0, 1, 0)]
    assert again[0].started == first[-1].ended


def test_a_new_driver_charges_nothing_for_the_time_when_nothing_ran() -> None:
    first = metered(("asked", 0), ("started", 5), ("heard", 40, 10))
    again = metered(
        ("asked", 9000), ("started", 9007), ("heard", 9010, 12), ("ended", 9011), last=first[-1]
    )
    assert slices(again) == [(1, 2, 7, 0, 0), (1, 2, 0, 4, 0)]


def test_what_was_over_before_a_restart_is_not_charged_when_it_is_told() -> None:
    first = metered(("asked", 0), ("started", 5), ("heard", 40, 10))
    assert metered(("ended", 9000), last=first[-1]) == []


def test_words_after_the_end_and_before_the_start() -> None:
    assert (
        metered(("asked", 0), ("started", 1), ("ended", 5), ("heard", 90, 7), ("at_rung", 91, 1))[
            -1
        ].ended
        == 5
    )
    lost_start = metered(("asked", 0), ("heard", 10, 3), ("ended", 12))
    assert slices(lost_start) == [(1, 1, 10, 0, 0), (1, 1, 0, 2, 0)], (
        "workers that are heard of have started"
    )
    never_placed = metered(("asked", 0), ("ended", 30))
    assert slices(never_placed) == [(1, 1, 30, 0, 0)]


def test_late_seconds_are_written_without_counting_the_time_again() -> None:
    entries = metered(("asked", 0), ("started", 0), ("at_rung", 10, 1), ("ended", 25, 15.0))
    assert total(entries).busy_seconds == 25
    assert total(entries).late_seconds == 15
