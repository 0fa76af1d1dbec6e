"""The account's running figures are those of a slow transcription that reads the whole ledger."""

from __future__ import annotations

import random
from pathlib import Path
from statistics import fmean

import pytest

from cluster.prices import Price
from orchestrator.config.run_config import RunConfig, with_values
from orchestrator.cost.account import SweepAccount, TaskCost, trial_owner
from orchestrator.cost.budget import Account, Cost
from orchestrator.cost.ledger import read_ledger, total, total_of_trial
from orchestrator.cost.meter import Held
from tests.journals import journal_in

CONFIG = with_values(
    RunConfig(),
    {
        "training.num_epochs": 8,
        "training.first_rung_epochs": 1,
        "training.reduction_factor": 2,
        "resources.cpus_per_worker": 3.0,
        "budget.cpu_hours": 5.0,
    },
)

PRICE = Price(usd_per_gpu_hour=0.0, usd_per_cpu_hour=0.25, basis="a test's")


class Sweep:
    """An account with a clock of the test's own, and what its trials have done."""

    def __init__(self, folder: Path) -> None:
        self.now = 1000.0
        self.folder = folder
        self.journal = journal_in(folder)
        self.running: dict[int, int] = {}
        self.reached: dict[int, int] = {}
        self.account = SweepAccount(self.journal, CONFIG, PRICE, lambda _: CONFIG, lambda: self.now)

    def play(self, draw: random.Random, num_events: int) -> None:
        """Random trials start, log, reach rungs, are pruned and end."""
        rungs = CONFIG.training.rungs
        for _ in range(num_events):
            self.now += draw.uniform(1.0, 40.0)
            if len(self.running) < 3:
                number = len(self.reached)
                self.reached[number] = 0
                self.running[number] = 0
                self.account.on_requested(trial_owner(number), CONFIG)
                continue
            number = draw.choice(list(self.running))
            owner = trial_owner(number)
            kind = draw.choice(["started", "progress", "progress", "rung", "end", "book"])
            if kind == "started":
                self.account.on_started(owner)
            elif kind == "progress":
                self.running[number] += draw.randrange(5)
                metrics = {"time/data_wait_share": draw.random()}
                self.account.on_progress(owner, self.running[number], metrics)
            elif kind == "book":
                task = TaskCost(
                    kind="evaluation",
                    trial=number,
                    started=self.now - 5,
                    ended=self.now,
                    held=Held(0.0, 1.0),
                )
                self.account.book(task)
            elif kind == "rung" and self.reached[number] < rungs[-1]:
                epoch = next(rung for rung in rungs if rung > self.reached[number])
                self.reached[number] = epoch
                self.account.on_rung(owner, epoch)
            elif kind == "end":
                del self.running[number]
                self.account.on_ended(owner, draw.choice([None, 1, 2]))

    def restarted(self) -> SweepAccount:
        """A new process's account over the same ledger."""
        self.journal = journal_in(self.folder)
        account = SweepAccount(self.journal, CONFIG, PRICE, lambda _: CONFIG, lambda: self.now)
        for number, epoch in self.reached.items():
            account.reached(number, epoch)
        return account

    def training_seconds(self, number: int) -> float:
        """Transcription: learning seconds an epoch up to the newest rung, times the epochs."""
        epoch = self.reached[number]
        seconds = 0.0
        for entry in read_ledger(self.journal):
            if entry.owner == trial_owner(number) and entry.rung_epoch <= epoch:
                seconds += entry.busy_seconds - entry.data_wait_seconds - entry.recomputed_seconds
        return max(0.0, seconds) / epoch * 8 if epoch else 0.0

    def paces(self) -> dict[int, float]:
        """Transcription: busy seconds an epoch of each trial up to its newest rung."""
        busy: dict[int, float] = {}
        for entry in read_ledger(self.journal):
            is_counted = entry.kind == "train" and entry.busy_seconds
            if is_counted and entry.rung_epoch <= self.reached[entry.trial]:
                busy[entry.trial] = busy.get(entry.trial, 0.0) + entry.busy_seconds
        return {number: seconds / self.reached[number] for number, seconds in busy.items()}

    def expected(self, since_slice: dict[int, float]) -> float:
        """Transcription: seconds that the running trials need until their next rungs."""
        known = self.paces()
        entries = read_ledger(self.journal)
        seconds = 0.0
        for number in self.running:
            last = self.reached[number]
            target = next((rung for rung in CONFIG.training.rungs if rung > last), last)
            done = since_slice[number] + sum(
                entry.busy_seconds
                for entry in entries
                if entry.owner == trial_owner(number) and entry.rung_epoch > last
            )
            pace = known.get(number) or (fmean(known.values()) if known else 0.0)
            seconds += max(0.0, pace * (target - last) - done)
        return seconds


def hours(seconds: float) -> Cost:
    """What a trial costs that holds its 3 CPUs for so long."""
    return Cost(0.0, 3.0 * seconds / 3600, 3.0 * seconds / 3600 * 0.25)


@pytest.mark.parametrize("seed", range(6))
def test_the_figures_are_those_of_the_whole_ledger(seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    sweep = Sweep(tmp_path)
    for _ in range(12):
        sweep.play(draw, 15)
        entries = read_ledger(sweep.journal)
        meters = sweep.account._meters
        since_slice = {
            number: meters[trial_owner(number)].busy_since_slice for number in sweep.running
        }
        assert sweep.account.totals() == total(entries)
        for number in sweep.reached:
            assert sweep.account.totals(number) == total_of_trial(entries, number)
            assert sweep.account.training_seconds(number) == sweep.training_seconds(number)
        state: Account = sweep.account.account()
        spent = total(entries).cpu_hours + hours(sum(since_slice.values())).cpu_hours
        assert state.spent.cpu_hours == pytest.approx(spent, rel=1e-12)
        expected = hours(sweep.expected(since_slice))
        assert state.expected.cpu_hours == pytest.approx(expected.cpu_hours, rel=1e-12)
        known = sweep.paces()
        full_run = 8 * (fmean(known.values()) if known else 0.0)
        num_runs = CONFIG.confirm.num_candidates * CONFIG.confirm.num_seeds + 1
        reserved = hours(full_run * num_runs)
        assert state.reserved.usd == pytest.approx(reserved.usd, rel=1e-12)


def test_a_restarted_account_knows_what_the_first_one_knew(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path)
    sweep.play(random.Random(3), 120)
    again = sweep.restarted()
    assert again.totals() == sweep.account.totals()
    assert again.num_entries == sweep.account.num_entries > 50
    for number in sweep.reached:
        assert again.totals(number) == sweep.account.totals(number)
        assert again.training_seconds(number) == sweep.account.training_seconds(number)
    assert again.account(at_end=True).limits == CONFIG.budget
