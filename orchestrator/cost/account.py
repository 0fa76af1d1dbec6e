"""The cost account of a running sweep: meters, ledger, price and budget behind one interface.

Lives in the coordinator, which passes on the messages of runs; the clock is read here, once a
message. The ledger is the truth: a restarted coordinator goes on from there. Sums, paces and
estimates are kept up to date entry by entry, so that a question costs the same however long the
ledger is.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import fmean

from cluster.prices import Price
from orchestrator.config.run_config import RunConfig
from orchestrator.cost.budget import (
    Account,
    Admission,
    Cost,
    Gate,
    affordable_candidates,
    cost_line,
    gate,
    learning_pace,
    pace,
    prune_for_budget,
    seconds_to_rung,
)
from orchestrator.cost.ledger import TRAIN, Ledger, LedgerEntry, Owner, Totals, busy_after
from orchestrator.cost.meter import CostMeter, Held
from orchestrator.journal.journal_writer import JournalWriter


def trial_owner(number: int) -> Owner:
    """The owner of a searched trial's entries."""
    return TRAIN, number, None


def held_by(config: RunConfig) -> Held:
    """What the workers of a trial with `config` hold together."""
    resources = config.resources
    return Held(
        resources.num_workers * resources.gpus_per_worker,
        resources.num_workers * resources.cpus_per_worker,
    )


@dataclass(frozen=True, kw_only=True)
class TaskCost:
    """What a task beside the trials (a baseline, a rung's evaluation, ...) held, and how long."""

    kind: str
    """As in `LedgerEntry`."""
    trial: int
    """The number of the trial that it was for, -1 for none."""
    started: float
    """Seconds since 1970, as `ended`."""
    ended: float
    held: Held
    rung_epoch: int = 0
    """The epoch of the rung that was evaluated; 0: none."""


@dataclass(frozen=True)
class _Progress:
    """Of a trial: seconds an epoch up to its newest rung (0: unknown), busy seconds since then."""

    pace: float
    busy_since_rung: float


class SweepAccount:
    """What a sweep has spent, what it is expected to spend, and what its budget allows."""

    def __init__(
        self,
        journal: JournalWriter,
        base: RunConfig,
        price: Price | None,
        config_of: Callable[[int], RunConfig],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """The ledger is in `journal`. `config_of` has the config of a trial by its number, of runs
        that this process did not see begin.
        """
        self._ledger = Ledger(journal)
        self._base = base
        self._price = price
        self._config_of = config_of
        self._clock = clock
        self._meters: dict[Owner, CostMeter] = {}
        self._running: dict[Owner, RunConfig] = {}
        self._reached: dict[int, int] = {}
        self._begun_at: dict[int, int] = {}
        self._progress: dict[int, _Progress] = {}
        self._mean_pace: float | None = None

    # ---- messages of runs

    def on_requested(self, owner: Owner, config: RunConfig) -> None:
        """Resources for a run are requested now."""
        self._running[owner] = config
        self._write(self._meter(owner).on_requested(self._clock()))

    def on_recovered(self, owner: Owner) -> None:
        """A run is alive that an earlier process of the coordinator has seen begin."""
        self._meter(owner)

    def on_started(self, owner: Owner) -> None:
        """The workers of a run have sent their first message."""
        self._write(self._meter(owner).on_started(self._clock()))

    def on_progress(self, owner: Owner, step: int, metrics: Mapping[str, float]) -> None:
        """A run's workers logged `metrics` after `step` steps."""
        wait_share = metrics.get("time/data_wait_share")
        self._write(self._meter(owner).on_progress(self._clock(), step, wait_share))

    def on_rung(self, owner: Owner, epoch: int) -> None:
        """A run has reached the rung after `epoch` epochs."""
        self._write(self._meter(owner).on_rung(self._clock(), epoch))
        if owner[0] == TRAIN:
            self.reached(owner[1], epoch)

    def begins_at(self, number: int, epoch: int) -> None:
        """Trial `number` starts after `epoch` epochs, which another one has trained and paid."""
        self._begun_at[number] = epoch
        self.reached(number, epoch)

    def reached(self, number: int, epoch: int) -> None:
        """Trial `number` is known to have reached the rung after `epoch` epochs (at a restart:
        before this process was there).
        """
        self._reached[number] = max(epoch, self._reached.get(number, 0))
        self._refresh(number)

    def on_ended(self, owner: Owner, pruned_at: int | None = None) -> None:
        """A run is over; `pruned_at` is the epoch of the rung at which it was pruned: what it
        trained since then is counted as wasted.
        """
        now = self._clock()
        meter = self._meter(owner)
        self._write(meter.on_ended(now))
        if pruned_at is not None:
            entries = self._ledger.of(trial_owner(owner[1]))
            late = busy_after(entries, pruned_at)
            if late and not any(entry.after_pruning_seconds for entry in entries):
                self._write(meter.on_ended(now, late))
        self._running.pop(owner, None)
        self._meters.pop(owner, None)

    def book(self, task: TaskCost) -> None:
        """Count `task`; told twice, it counts once."""
        entry = LedgerEntry(
            kind=task.kind,
            trial=task.trial,
            rung_epoch=task.rung_epoch,
            attempt=1,
            started=task.started,
            ended=task.ended,
            gpus=task.held.gpus,
            cpus=task.held.cpus,
            busy_seconds=task.ended - task.started,
        )
        self._write([entry])

    # ---- questions of the coordinator

    def gate(self) -> Gate:
        """Whether a new trial may start."""
        if not self._base.budget.is_limited:
            return Gate(Admission.START)
        need = self._cost(self._base, self._typical_pace() * self._base.training.rungs[0])
        return gate(self.account(), need, sum(owner[0] == TRAIN for owner in self._running))

    def prune_for_budget(self, number: int, epoch: int) -> str:
        """Why trial `number`, at the rung after `epoch` epochs, is pruned for the budget; empty
        when it may go on.
        """
        config = self._running.get(trial_owner(number)) or self._config_of(number)
        next_rung = next((rung for rung in config.training.rungs if rung > epoch), None)
        if next_rung is None or not self._base.budget.is_limited:
            return ""
        need = self._cost(config, self._pace_of(number) * (next_rung - epoch))
        return prune_for_budget(self.account(without=number), need)

    def training_seconds(self, number: int) -> float:
        """Seconds that the whole training of trial `number` takes, by its pace up to its last rung;
        0 before the first.
        """
        epoch = self._reached.get(number, 0)
        begun_at = self._begun_at.get(number, 0)
        if epoch <= begun_at:
            return 0.0
        config = self._running.get(trial_owner(number)) or self._config_of(number)
        entries = self._ledger.of(trial_owner(number))
        return learning_pace(entries, epoch, begun_at) * config.training.num_epochs

    def account(self, without: int | None = None, *, at_end: bool = False) -> Account:
        """How the sweep stands; `without` leaves a trial's expectation out, `at_end` reserves and
        expects nothing any more.
        """
        spent = Cost.of(self.totals())
        for owner, config in self._running.items():
            spent = spent.plus(self._cost(config, self._meter(owner).busy_since_slice))
        if at_end:
            return Account(self._base.budget, spent)
        expected = Cost()
        for (kind, number, _), config in self._running.items():
            if kind == TRAIN and number != without:
                expected = expected.plus(self._cost(config, self._seconds_left(number, config)))
        return Account(self._base.budget, spent, expected, self._reserve())

    def affordable_candidates(self, num_done: int) -> int:
        """How many candidates the rest of the budget can confirm, `num_done` runs being done."""
        confirm = self._base.confirm
        return affordable_candidates(
            self.account(at_end=True),
            self._full_run(),
            confirm.num_candidates,
            confirm.num_seeds,
            num_done,
        )

    def affords_runs(self, number: int) -> bool:
        """Whether the rest of the budget covers `number` more confirming runs and the end."""
        return not self.account(at_end=True).lacking(self._full_run().times(number + 1))

    def cost_line(self, *, is_over: bool = False) -> str:
        """What was spent, and of which limit, for the screen; with what is reserved for the end
        unless the sweep `is_over`.
        """
        return cost_line(self.account(), self.totals().is_priced, is_over=is_over)

    def totals(self, number: int | None = None) -> Totals:
        """The sums of the ledger: of the whole sweep, or of what the search spent on trial
        `number`.
        """
        return self._ledger.totals() if number is None else self._ledger.totals_of_trial(number)

    @property
    def num_entries(self) -> int:
        """How many entries the ledger has: grows, and survives a restart."""
        return len(self._ledger)

    # ----

    def _seconds_left(self, number: int, config: RunConfig) -> float:
        last = self._reached.get(number, 0)
        next_rung = next((rung for rung in config.training.rungs if rung > last), last)
        since_slice = self._meter(trial_owner(number)).busy_since_slice
        busy = self._progress_of(number).busy_since_rung + since_slice
        return seconds_to_rung(self._pace_of(number), last, next_rung, busy)

    def _reserve(self) -> Cost:
        """For the end: every confirming run at full length, and one run's cost for baselines,
        fine-tuning and the test part.
        """
        confirm = self._base.confirm
        return self._full_run().times(confirm.num_candidates * confirm.num_seeds + 1)

    def _full_run(self) -> Cost:
        return self._cost(self._base, self._typical_pace() * self._base.training.num_epochs)

    def _pace_of(self, number: int) -> float:
        """Seconds an epoch of trial `number`: its own, else those of the others."""
        return self._progress_of(number).pace or self._typical_pace()

    def _typical_pace(self) -> float:
        """The mean over trials of their seconds an epoch; 0: nothing is known yet."""
        if self._mean_pace is None:
            known = [one.pace for one in self._progress.values() if one.pace]
            self._mean_pace = fmean(known) if known else 0.0
        return self._mean_pace

    def _progress_of(self, number: int) -> _Progress:
        if number not in self._progress:
            self._refresh(number)
        return self._progress[number]

    def _refresh(self, number: int) -> None:
        entries = self._ledger.of(trial_owner(number))
        epoch = self._reached.get(number, 0)
        begun_at = self._begun_at.get(number, 0)
        self._progress[number] = _Progress(
            pace(entries, epoch, begun_at) if epoch > begun_at else 0.0, busy_after(entries, epoch)
        )
        self._mean_pace = None

    def _cost(self, config: RunConfig, seconds: float) -> Cost:
        held = held_by(config)
        usd = (
            self._price.usd(gpus=held.gpus, cpus=held.cpus, seconds=seconds) if self._price else 0.0
        )
        return Cost(held.gpus * seconds / 3600, held.cpus * seconds / 3600, usd)

    def _meter(self, owner: Owner) -> CostMeter:
        if owner not in self._meters:
            config = self._running.get(owner) or self._config_of(owner[1])
            self._running.setdefault(owner, config)
            rungs = config.training.rungs if owner[0] == TRAIN else (config.training.num_epochs,)
            begun_at = self._begun_at.get(owner[1], 0) if owner[0] == TRAIN else 0
            rungs = tuple(rung for rung in rungs if rung > begun_at)
            entries = self._ledger.of(owner)
            last = entries[-1] if entries else None
            self._meters[owner] = CostMeter(owner, held_by(config), rungs, last)
        return self._meters[owner]

    def _write(self, entries: list[LedgerEntry]) -> None:
        for entry in entries:
            if self._price:
                usd = self._price.usd(gpus=entry.gpus, cpus=entry.cpus, seconds=entry.busy_seconds)
                entry = dataclasses.replace(entry, usd=usd, price=self._price.basis)
            self._ledger.append(entry)
            if entry.kind == TRAIN:
                self._refresh(entry.trial)
