"""The meter: the messages of a run as tables, and the ledger entries that they give."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from orchestrator.cost.ledger import LedgerEntry, total
from orchestrator.cost.meter import SLICE_SECONDS, CostMeter, Held, recomputed_share

OWNER = ("train", 3, None)


def metered(*words: tuple[Any, ...], last: LedgerEntry | None = None) -> list[LedgerEntry]:
    """What the words (method, time, further arguments) give, in order."""
    meter = CostMeter(OWNER, Held(gpus=1.0, cpus=4.0), (1, 2, 4), last)
    return [entry for name, *arguments in words for entry in getattr(meter, name)(*arguments)]


def slices(entries: list[LedgerEntry]) -> list[tuple[int, int, float, float, float]]:
    """(rung, attempt, pending, busy, redone) of each entry."""
    return [
        (one.rung_epoch, one.attempt, one.queued_seconds, one.busy_seconds, one.recomputed_seconds)
        for one in entries
    ]


def test_a_trial_from_its_asking_to_its_end() -> None:
    entries = metered(
        ("on_requested", 100),
        ("on_started", 107),
        ("on_progress", 110, 4),
        ("on_rung", 115, 1),
        ("on_progress", 120, 8),
        ("on_rung", 127, 2),
        ("on_ended", 128),
    )
    assert slices(entries) == [(1, 1, 7, 0, 0), (1, 1, 0, 8, 0), (2, 1, 0, 12, 0), (4, 1, 0, 1, 0)]
    assert all(one.ended == two.started for one, two in pairwise(entries)), "no gap, no overlap"
    assert total(entries).gpu_hours == pytest.approx(21 / 3600)


def test_a_killed_worker_costs_a_start_and_the_steps_that_are_done_twice() -> None:
    words = [
        ("on_requested", 0),
        ("on_started", 5),
        ("on_progress", 10, 10),
        ("on_progress", 15, 20),
    ]  # then it is killed; its checkpoint was at step 12
    words += [
        ("on_started", 25),
        ("on_progress", 28, 16),
        ("on_progress", 32, 24),
        ("on_ended", 33),
    ]
    entries = metered(*words)
    assert slices(entries) == [(1, 1, 5, 0, 0), (1, 1, 0, 10, 0), (1, 2, 10, 0, 0), (1, 2, 0, 8, 5)]
    assert total(entries).recomputed_seconds == 5, (
        "3 s to step 16, and half of the way from 16 to 24"
    )


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
    assert recomputed_share(before, after, highest) == share


def test_data_wait_is_counted_by_the_logged_share_and_is_never_more_than_the_time() -> None:
    entries = metered(
        ("on_requested", 0),
        ("on_started", 0),
        ("on_progress", 10, 5, 0.4),
        ("on_progress", 20, 10, 1.5),
        ("on_rung", 30, 1),
        ("on_ended", 30),
    )
    assert total(entries).data_wait_seconds == 14
    assert total(entries).busy_seconds == 30


def test_long_slices_are_written_on_the_way_so_that_a_crash_loses_little() -> None:
    entries = metered(
        ("on_requested", 0),
        ("on_started", 0),
        *(("on_progress", second, second) for second in range(1, 100)),
    )
    assert [one.busy_seconds for one in entries if one.busy_seconds] == [SLICE_SECONDS] * 3


def test_a_restarted_server_goes_on_where_the_ledger_ends() -> None:
    first = metered(("on_requested", 0), ("on_started", 5), ("on_progress", 40, 10))
    again = metered(("on_progress", 60, 20), ("on_rung", 70, 1), ("on_ended", 71), last=first[-1])
    assert slices(again) == [(1, 1, 0, 30, 0), (2, 1, 0, 1, 0)]
    assert again[0].started == first[-1].ended


def test_a_new_driver_charges_nothing_for_the_time_when_nothing_ran() -> None:
    first = metered(("on_requested", 0), ("on_started", 5), ("on_progress", 40, 10))
    again = metered(
        ("on_requested", 9000),
        ("on_started", 9007),
        ("on_progress", 9010, 12),
        ("on_ended", 9011),
        last=first[-1],
    )
    assert slices(again) == [(1, 2, 7, 0, 0), (1, 2, 0, 4, 0)]


def test_what_was_over_before_a_restart_is_not_charged_when_it_is_told() -> None:
    first = metered(("on_requested", 0), ("on_started", 5), ("on_progress", 40, 10))
    assert metered(("on_ended", 9000), last=first[-1]) == []


def test_words_after_the_end_and_before_the_start() -> None:
    assert (
        metered(
            ("on_requested", 0),
            ("on_started", 1),
            ("on_ended", 5),
            ("on_progress", 90, 7),
            ("on_rung", 91, 1),
        )[-1].ended
        == 5
    )
    lost_start = metered(("on_requested", 0), ("on_progress", 10, 3), ("on_ended", 12))
    assert slices(lost_start) == [(1, 1, 10, 0, 0), (1, 1, 0, 2, 0)], (
        "workers that are heard of have started"
    )
    never_placed = metered(("on_requested", 0), ("on_ended", 30))
    assert slices(never_placed) == [(1, 1, 30, 0, 0)]


def test_late_seconds_are_written_without_counting_the_time_again() -> None:
    entries = metered(
        ("on_requested", 0), ("on_started", 0), ("on_rung", 10, 1), ("on_ended", 25, 15.0)
    )
    assert total(entries).busy_seconds == 25
    assert total(entries).after_pruning_seconds == 15
