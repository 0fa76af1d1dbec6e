"""The account of a sweep that runs: meters for what is running, the ledger for what was, and what
the budget says to both.

Lives in the sweep's coordinator, which tells it what it hears; the time is read here, once for each
word. What the ledger says is the truth: a coordinator that is restarted goes on from there.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from cluster.prices import Price
from orchestrator.config.run_config import RunConfig
from orchestrator.cost.budget import (
    Account,
    Cost,
    Gate,
    affordable_candidates,
    cost_line,
    gate,
    learning_pace,
    pace_of,
    paces,
    prune_for_budget,
    seconds_to_rung,
)
from orchestrator.cost.ledger import (
    TRAIN,
    Ledger,
    LedgerEntry,
    Totals,
    busy_after,
    total,
    total_of_trial,
)
from orchestrator.cost.meter import CostMeter, Held

Owner = tuple[str, int, int | None]


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


class SweepAccount:
    """`config_of` gives the config of a trial by its number; it is asked for runs that this process
    did not see begin.
    """

    def __init__(
        self,
        path: Path,
        base: RunConfig,
        price: Price | None,
        config_of: Callable[[int], RunConfig],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._ledger = Ledger(path)
        self._base = base
        self._price = price
        self._config_of = config_of
        self._clock = clock
        self._meters: dict[Owner, CostMeter] = {}
        self._running: dict[Owner, RunConfig] = {}
        self._reached: dict[int, int] = {}
        self._sums: tuple[int, Totals] | None = None

    # ---- what the coordinator hears

    def on_requested(self, owner: Owner, config: RunConfig) -> None:
        """Resources for a run are asked for now."""
        self._running[owner] = config
        self._write(self._meter(owner).on_requested(self._clock()))

    def on_started(self, owner: Owner) -> None:
        """The workers of a run have said their first word."""
        self._write(self._meter(owner).on_started(self._clock()))

    def on_progress(self, owner: Owner, step: int, metrics: Mapping[str, float]) -> None:
        """A run's workers logged `metrics` after `step` steps."""
        self._write(
            self._meter(owner).on_progress(self._clock(), step, metrics.get("time/data_wait_share"))
        )

    def on_rung(self, owner: Owner, epoch: int) -> None:
        """A run has reached the rung after `epoch` epochs."""
        self._write(self._meter(owner).on_rung(self._clock(), epoch))
        if owner[0] == TRAIN:
            self.reached(owner[1], epoch)

    def reached(self, number: int, epoch: int) -> None:
        """Trial `number` is known to have reached the rung after `epoch` epochs (at a restart:
        before this process was there).
        """
        self._reached[number] = max(epoch, self._reached.get(number, 0))

    def on_ended(self, owner: Owner, pruned_at: int | None = None) -> None:
        """A run is over; `pruned_at` is the rung whose verdict ended it: what it trained since was
        late.
        """
        now = self._clock()
        meter = self._meter(owner)
        self._write(meter.on_ended(now))
        late = (
            busy_after(self._ledger.entries, owner[1], pruned_at) if pruned_at is not None else 0.0
        )
        if late:
            self._write(meter.on_ended(now, late))
        self._running.pop(owner, None)
        self._meters.pop(owner, None)

    def book(
        self,
        kind: str,
        trial: int,
        started: float,
        ended: float,
        held: Held,
        *,
        rung_epoch: int = 0,
        seed: int | None = None,
    ) -> None:
        """A task beside the trials (a baseline, a rung's evaluation, ...) held `held` from
        `started` to `ended`; told twice, it counts once.
        """
        entry = LedgerEntry(
            kind=kind,
            trial=trial,
            rung_epoch=rung_epoch,
            attempt=1,
            started=started,
            ended=ended,
            gpus=held.gpus,
            cpus=held.cpus,
            seed=seed,
            busy_seconds=ended - started,
        )
        self._write([entry])

    # ---- what the coordinator asks

    def gate(self) -> Gate:
        """Whether a new trial may start."""
        if not self._base.budget.is_limited:
            return Gate("start")
        pace = pace_of(-1, self._paces())
        need = self._cost(self._base, pace * self._base.training.rungs[0])
        return gate(self.account(), need, sum(owner[0] == TRAIN for owner in self._running))

    def prune_for_budget(self, number: int, epoch: int) -> str:
        """Why trial `number`, at the rung after `epoch` epochs, has to leave for the budget's sake;
        empty when it may go on.
        """
        config = self._running.get(trial_owner(number)) or self._config_of(number)
        next_rung = next((rung for rung in config.training.rungs if rung > epoch), None)
        if next_rung is None or not self._base.budget.is_limited:
            return ""
        need = self._cost(config, pace_of(number, self._paces()) * (next_rung - epoch))
        return prune_for_budget(self.account(without=number), need)

    def training_seconds(self, number: int) -> float:
        """What the whole training of trial `number` takes, by its pace up to its last rung; 0
        before the first.
        """
        epoch = self._reached.get(number, 0)
        config = self._running.get(trial_owner(number)) or self._config_of(number)
        return (
            learning_pace(self._ledger.entries, number, epoch) * config.training.num_epochs
            if epoch
            else 0.0
        )

    def account(self, without: int | None = None, *, at_end: bool = False) -> Account:
        """How the sweep stands; `without` leaves a trial's expectation out, `at_end` reserves and
        expects nothing any more.
        """
        spent = Cost.of(self.totals())
        for owner, config in self._running.items():
            spent = spent.plus(self._cost(config, self._meter(owner).busy_since_slice))
        if at_end:
            return Account(self._base.budget, spent)
        known = self._paces()
        expected = Cost()
        for (kind, number, _), config in self._running.items():
            if kind == TRAIN and number != without:
                expected = expected.plus(
                    self._cost(config, self._seconds_left(number, config, pace_of(number, known)))
                )
        return Account(self._base.budget, spent, expected, self._reserve(known))

    def affordable_candidates(self, num_done: int) -> int:
        """How many candidates the rest of the budget can confirm, `num_done` runs being done."""
        confirm = self._base.confirm
        run_cost = self._full_run(self._paces())
        return affordable_candidates(
            self.account(at_end=True), run_cost, confirm.num_candidates, confirm.num_seeds, num_done
        )

    def cost_line(self, *, is_over: bool = False) -> str:
        """What was spent, of what, for the screen; with what is kept for the end unless the sweep
        `is_over`.
        """
        return cost_line(self.account(), self.totals().is_priced, is_over=is_over)

    def totals(self, number: int | None = None) -> Totals:
        """The sums of the ledger: of the whole sweep, or of what the search spent on trial
        `number`.
        """
        if number is not None:
            return total_of_trial(self._ledger.entries, number)
        if (
            self._sums is None or self._sums[0] != self.num_entries
        ):  # a screen asks twice a second, the ledger changes twice a minute
            self._sums = (self.num_entries, total(self._ledger.entries))
        return self._sums[1]

    @property
    def num_entries(self) -> int:
        """How many lines the ledger has: grows, and survives a restart."""
        return len(self._ledger.entries)

    # ----

    def _seconds_left(self, number: int, config: RunConfig, pace: float) -> float:
        last = self._reached.get(number, 0)
        next_rung = next((rung for rung in config.training.rungs if rung > last), last)
        busy = (
            busy_after(self._ledger.entries, number, last)
            + self._meter(trial_owner(number)).busy_since_slice
        )
        return seconds_to_rung(pace, last, next_rung, busy)

    def _reserve(self, known: Mapping[int, float]) -> Cost:
        """For the end: every confirming run at full length, and one run's worth for baselines,
        fine-tuning and the test part.
        """
        confirm = self._base.confirm
        return self._full_run(known).times(confirm.num_candidates * confirm.num_seeds + 1)

    def _full_run(self, known: Mapping[int, float]) -> Cost:
        return self._cost(self._base, pace_of(-1, known) * self._base.training.num_epochs)

    def _paces(self) -> dict[int, float]:
        return paces(self._ledger.entries, self._reached)

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
            self._meters[owner] = CostMeter(
                owner, held_by(config), rungs, self._ledger.last_of(owner)
            )
        return self._meters[owner]

    def _write(self, entries: list[LedgerEntry]) -> None:
        for entry in entries:
            if self._price:
                usd = self._price.usd(gpus=entry.gpus, cpus=entry.cpus, seconds=entry.busy_seconds)
                entry = dataclasses.replace(entry, usd=usd, price=self._price.basis)
            self._ledger.append(entry)
