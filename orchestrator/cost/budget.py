"""The budget of a sweep: limits, estimates, and whether trials may start or go on; pure arithmetic.

A new trial starts while the budget covers what was spent, what the running trials are expected to
use until their next rung, what is reserved for the end (confirmation, baselines, fine-tuning), and
the new trial's training to its first rung. A running trial goes on at a rung while the budget
covers its training to the next one. So a sweep ends at its budget and not far beyond it: what can
be overrun is the error of the estimate.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.config.budget_config import UNITS, BudgetConfig
from orchestrator.cost.ledger import LedgerEntry, Totals

GO_ON = "--resume with a larger budget goes on"
LARGEST_RESERVE = 0.5  # of the budget: a search that finds nothing leaves nothing to confirm


@dataclass(frozen=True)
class Cost:
    """An amount in each unit."""

    gpu_hours: float = 0.0
    cpu_hours: float = 0.0
    usd: float = 0.0

    @classmethod
    def of(cls, totals: Totals) -> Cost:
        """The cost of `totals`."""
        return cls(totals.gpu_hours, totals.cpu_hours, totals.usd)

    def plus(self, other: Cost) -> Cost:
        """The sum."""
        return Cost(
            self.gpu_hours + other.gpu_hours, self.cpu_hours + other.cpu_hours, self.usd + other.usd
        )

    def times(self, number: float) -> Cost:
        """`number` times as much."""
        return Cost(self.gpu_hours * number, self.cpu_hours * number, self.usd * number)


@dataclass(frozen=True)
class Account:
    """A sweep's costs at one moment.

    `spent` so far, `expected` until the next rungs of the running trials, `reserved` for the end.
    """

    limits: BudgetConfig
    spent: Cost
    expected: Cost = Cost()
    reserved: Cost = Cost()

    def kept(self, unit: str) -> float:
        """What is kept for the end: `reserved`, at most half of the limit."""
        return min(getattr(self.reserved, unit), LARGEST_RESERVE * getattr(self.limits, unit))

    def rest(self) -> dict[str, float]:
        """What is left to spend on something new, by unit, for the units that have a limit."""
        limited = [unit for unit in UNITS if getattr(self.limits, unit) > 0]
        taken = self.spent.plus(self.expected)
        return {
            unit: getattr(self.limits, unit) - self.kept(unit) - getattr(taken, unit)
            for unit in limited
        }

    def lacking(self, need: Cost) -> str:
        """Why `need` is more than what is left, in words; empty when it is covered."""
        for unit, rest in self.rest().items():
            if rest - getattr(need, unit) <= 0:
                kept = f", {self.kept(unit):.3g} kept for the end" if self.kept(unit) else ""
                running = getattr(self.expected, unit)
                waiting = f", {running:.3g} expected by running trials" if running else ""
                spent = getattr(self.spent, unit)
                limit = getattr(self.limits, unit)
                return (
                    f"{spent:.3g} of {limit:g} {UNITS[unit]} spent{waiting}{kept}: "
                    f"{getattr(need, unit):.3g} more is not covered"
                )
        return ""


class Admission(StrEnum):
    """Whether the budget lets a new trial start."""

    START = "start"
    """It covers one more."""
    WAIT = "wait"
    """Not while so many run; one of them may leave something."""
    STOP = "stop"
    """It is spent: no trial will start again."""


@dataclass(frozen=True)
class Gate:
    """Whether a new trial may start; `reason` is for a person, and empty where it may."""

    admission: Admission
    reason: str = ""


def gate(account: Account, first_rung: Cost, num_running: int) -> Gate:
    """Whether a trial whose first rung costs `first_rung` may start.

    While trials run it waits rather than stops, because a pruned one frees what was expected of it.
    """
    lacking = account.lacking(first_rung)
    if not lacking:
        return Gate(Admission.START)
    return Gate(Admission.WAIT if num_running else Admission.STOP, f"budget: {lacking}")


def prune_for_budget(account: Account, next_rung: Cost) -> str:
    """Why a trial at a rung is pruned for the budget, in words; empty when the budget covers its
    training to the next rung.
    """
    lacking = account.lacking(next_rung)
    return f"budget: {lacking}" if lacking else ""


def pace(entries: Iterable[LedgerEntry], epoch: int, begun_at: int = 0) -> float:
    """Busy seconds an epoch, evaluation included, of a trial whose training's `entries` these are,
    up to the rung after `epoch` epochs, which is later than `begun_at`, the epoch that it started
    from; 0 where nothing is known.
    """
    seconds = sum(entry.busy_seconds for entry in entries if entry.rung_epoch <= epoch)
    return seconds / (epoch - begun_at)


def learning_pace(entries: Iterable[LedgerEntry], epoch: int, begun_at: int = 0) -> float:
    """As `pace`, less what the trial's own values do not explain.

    Left out are waiting for videos (the first trial of a node decodes for all) and recomputed
    steps.
    """
    seconds = sum(
        entry.busy_seconds - entry.data_wait_seconds - entry.recomputed_seconds
        for entry in entries
        if entry.rung_epoch <= epoch
    )
    return max(0.0, seconds) / (epoch - begun_at)


def seconds_to_rung(pace: float, last_rung: int, next_rung: int, busy_since: float) -> float:
    """Seconds to `next_rung` of a trial that has trained `busy_since` seconds since `last_rung`."""
    return max(0.0, pace * (next_rung - last_rung) - busy_since)


def affordable_candidates(
    account: Account, run_cost: Cost, num_candidates: int, num_seeds: int, num_done: int = 0
) -> int:
    """How many candidates can be confirmed with `num_seeds` runs each; 0 where fewer than two can.

    One more run's cost is left for baselines, fine-tuning and the test part. `num_done` of the runs
    are done already. `account` reserves nothing any more: the end has come.
    """
    for number in range(num_candidates, 1, -1):
        if not account.lacking(run_cost.times(max(0, number * num_seeds - num_done) + 1)):
            return number
    return 0


def cost_line(account: Account, is_priced: bool, *, is_over: bool = False) -> str:
    """What was spent, and of which limit, in one phrase for a screen.

    GPU-hours where there are any, dollars where they are known. A sweep that `is_over` reserves
    nothing for its end any more.
    """
    spent = account.spent
    limits = account.limits
    units = [unit for unit in UNITS if getattr(limits, unit) > 0]
    if not units:
        units = [
            "gpu_hours" if spent.gpu_hours else "cpu_hours",
            *(["usd"] if is_priced and spent.usd else []),
        ]
    phrases = []
    for unit in units:
        limit = getattr(limits, unit)
        kept = 0.0 if is_over else account.kept(unit)
        of_limit = f" of {limit:g}" if limit else ""
        keeping = f" ({kept:.3g} kept for the end)" if kept else ""
        phrases.append(f"{getattr(spent, unit):.3g}{of_limit} {UNITS[unit]}{keeping}")
    return "cost " + ", ".join(phrases)
