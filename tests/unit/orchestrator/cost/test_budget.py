"""The budget: every decision and every estimate as a table."""

from __future__ import annotations

import pytest

from orchestrator.config.budget_config import BudgetConfig
from orchestrator.cost.budget import (
    Account,
    Cost,
    affordable_candidates,
    cost_line,
    gate,
    learning_pace,
    pace,
    prune_for_budget,
    seconds_to_rung,
)
from prp_core.errors import UserError
from tests.unit.orchestrator.cost.test_ledger import entry

TEN = BudgetConfig(gpu_hours=10)


def hours(number: float) -> Cost:
    """So many GPU-hours."""
    return Cost(gpu_hours=number)


@pytest.mark.parametrize(
    ("spent", "expected", "reserved", "first_rung", "num_running", "word"),
    [
        (0, 0, 0, 0, 0, "start"),  # nothing is known yet
        (4, 2, 3, 0.5, 3, "start"),
        (4, 2, 3, 1.0, 3, "wait"),  # the last hour is not to be spent to the second
        (4, 2, 3, 1.5, 3, "wait"),  # one of those that run may be pruned
        (4, 2, 3, 1.5, 0, "stop"),
        (10, 0, 0, 0, 0, "stop"),
        (12, 0, 0, 0, 2, "wait"),
        (4, 0, 50, 0.5, 0, "start"),  # at most half is kept for the end
        (4.6, 0, 50, 0.5, 0, "stop"),
    ],
)
def test_whether_a_new_trial_starts(
    spent: float, expected: float, reserved: float, first_rung: float, num_running: int, word: str
) -> None:
    account = Account(TEN, hours(spent), hours(expected), hours(reserved))
    answer = gate(account, hours(first_rung), num_running)
    assert answer.admission == word
    assert (answer.reason == "") == (word == "start")


@pytest.mark.parametrize(
    ("spent", "next_rung", "is_pruned"),
    [(0, 5, False), (4, 5.9, False), (4, 6, True), (11, 0.1, True), (11, 0, True)],
)
def test_whether_a_running_trial_goes_on(spent: float, next_rung: float, is_pruned: bool) -> None:
    assert bool(prune_for_budget(Account(TEN, hours(spent)), hours(next_rung))) is is_pruned


def test_the_reason_shows_the_sum() -> None:
    account = Account(TEN, hours(4), hours(2), hours(3))
    assert prune_for_budget(account, hours(1.5)) == (
        "budget: 4 of 10 GPU-hours spent, 2 expected by running trials, 3 kept for the "
        "end: 1.5 more is not covered"
    )


def test_the_first_limit_that_is_reached_decides_and_no_limit_never_does() -> None:
    both = BudgetConfig(gpu_hours=10, usd=1)
    assert "USD" in Account(both, Cost(gpu_hours=2, usd=0.9)).lacking(Cost(gpu_hours=1, usd=0.2))
    assert Account(both, Cost(gpu_hours=2, usd=0.9)).lacking(Cost(gpu_hours=1, usd=0.05)) == ""
    assert Account(BudgetConfig(), Cost(1e9, 1e9, 1e9)).lacking(Cost(1e9, 1e9, 1e9)) == ""
    with pytest.raises(UserError, match=r"budget\.usd = -1"):
        BudgetConfig(usd=-1)


def test_a_pace_counts_what_was_trained_up_to_the_rung() -> None:
    entries = [
        entry(rung_epoch=2, busy_seconds=20, data_wait_seconds=4, recomputed_seconds=6),
        entry(started=20, rung_epoch=4, busy_seconds=30, queued_seconds=9),
        entry(started=50, rung_epoch=8, busy_seconds=99),  # to a rung that it has not reached
    ]
    assert pace(entries, 2) == 10.0
    assert pace(entries, 4) == 12.5
    assert pace([], 4) == 0.0


def test_the_pace_of_learning_leaves_out_waiting_and_repeating() -> None:
    entries = [
        entry(rung_epoch=2, busy_seconds=20, data_wait_seconds=4, recomputed_seconds=6),
        entry(started=20, rung_epoch=4, busy_seconds=30, queued_seconds=9),
        entry(started=50, rung_epoch=8, busy_seconds=99),
    ]
    assert learning_pace(entries, 4) == (10 + 30) / 4
    assert learning_pace([], 4) == 0.0


@pytest.mark.parametrize(
    ("seconds_an_epoch", "last", "following", "busy", "seconds"),
    [(10, 0, 1, 0, 10), (10, 1, 4, 12, 18), (10, 1, 4, 99, 0), (0, 0, 9, 5, 0), (10, 4, 4, 3, 0)],
)
def test_what_a_trial_still_needs_until_its_next_rung(
    seconds_an_epoch: float, last: int, following: int, busy: float, seconds: float
) -> None:
    assert seconds_to_rung(seconds_an_epoch, last, following, busy) == seconds


@pytest.mark.parametrize(("spent", "number"), [(0, 3), (0.5, 2), (2.4, 2), (2.5, 0), (9.9, 0)])
def test_how_many_candidates_the_rest_confirms(spent: float, number: int) -> None:
    """A run costs 1 hour; 3 candidates with 2 seeds and one run's worth for the rest are 7, 2
    candidates 5.
    """
    assert (
        affordable_candidates(
            Account(BudgetConfig(gpu_hours=7.2 + 2.5), hours(spent + 2.2)), hours(1), 3, 2
        )
        == number
    )


def test_runs_that_are_done_need_not_be_paid_again() -> None:
    account = Account(BudgetConfig(gpu_hours=4.5), hours(0))
    assert [
        affordable_candidates(account, hours(1), 3, 2, num_done) for num_done in (0, 1, 3, 6)
    ] == [0, 2, 3, 3]


def test_without_a_budget_everything_is_confirmed() -> None:
    assert affordable_candidates(Account(BudgetConfig(), hours(99)), hours(1), 3, 3) == 3


@pytest.mark.parametrize(
    ("account", "is_priced", "line"),
    [
        (Account(BudgetConfig(), Cost(0, 0.1234, 0)), False, "cost 0.123 CPU-hours"),
        (Account(BudgetConfig(), Cost(2, 16, 2.5)), True, "cost 2 GPU-hours, 2.5 USD"),
        (
            Account(BudgetConfig(usd=20), Cost(2, 16, 2.5), hours(0), Cost(usd=3)),
            True,
            "cost 2.5 of 20 USD (3 kept for the end)",
        ),
    ],
)
def test_the_cost_in_one_phrase(account: Account, is_priced: bool, line: str) -> None:
    assert cost_line(account, is_priced) == line
