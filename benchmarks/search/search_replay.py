"""A replay of one search over a recorded grid, with a simulated clock.

The study, its sampler and its pruner are the real ones; only the trainings are looked up. Workers
are asynchronous: each takes the next trial when it is free. Costs are CPU-seconds of training and
of evaluation at rungs.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from optuna.samplers import BaseSampler

from benchmarks.search.grid import Cell
from orchestrator.search.pruner import PRUNERS, PruningRule
from orchestrator.search.query_hits import NO_QUERIES, Queries
from orchestrator.search.space import Fit
from orchestrator.search.study import SweepStudy
from prp_core.training.training_config import TrainingConfig


@dataclass(frozen=True)
class Rules:
    """How the search is run; the defaults are the demo preset's.

    `look_back` also prunes running trials that others have overtaken. `first_rung_epochs` 0: a rung
    at every recorded epoch.
    """

    first_rung_epochs: int = 6
    sampler: str = "gp"
    pruner: str = "asha"
    reduction_factor: int = 2
    num_startup: int = 4
    num_workers: int = 2
    look_back: bool = True
    standard_errors: float = 1.0

    def pruning(self, grid: Sequence[Cell]) -> PruningRule:
        """How trials are pruned. A pruner that compares queries takes each of the `grid` for a
        group of its own; raises `SystemExit` where it was recorded without them.
        """
        queries = NO_QUERIES
        if PRUNERS[self.pruner].compares_queries:
            if not all(cell.hits.keys() == cell.scores.keys() for cell in grid):
                raise SystemExit(f"--pruner {self.pruner}: the grid was recorded without hits")
            queries = Queries({key: key for key in hits_of(grid[0], max(grid[0].hits))})
        return PruningRule(
            self.pruner,
            self.reduction_factor,
            standard_errors=self.standard_errors,
            queries=queries,
        )

    def rungs(self, grid: Sequence[Cell]) -> tuple[int, ...]:
        """The epochs of the rungs. Raises `SystemExit` where one was not recorded."""
        recorded = tuple(sorted(grid[0].scores))
        if not self.first_rung_epochs:
            return recorded
        settings = TrainingConfig(
            num_epochs=recorded[-1],
            first_rung_epochs=self.first_rung_epochs,
            reduction_factor=self.reduction_factor,
        )
        if missing := sorted(set(settings.rungs) - set(recorded)):
            raise SystemExit(
                f"the grid was not evaluated after epoch {missing[0]}, only after "
                f"{', '.join(map(str, recorded))}"
            )
        return settings.rungs


def hits_of(cell: Cell, epoch: int) -> dict[str, bool]:
    """Which queries `cell` hit after `epoch` epochs, by number; empty where none were recorded."""
    marks = cell.hits.get(epoch, "")
    return {f"{place:06d}": mark == "1" for place, mark in enumerate(marks)}


@dataclass(frozen=True)
class Reached:
    """A trial of the grid's cell at `place` that finished with `score`, `cost` CPU-seconds into the
    search.
    """

    cost: float
    score: float
    place: int


@dataclass
class _Running:
    place: int
    cell: Cell
    started: float
    stopped: bool = False


class Replay:
    """One search over a grid; `run` gives what was reached, cheapest first."""

    def __init__(
        self,
        grid: Sequence[Cell],
        rules: Rules,
        seed: int,
        sampler: BaseSampler | None = None,
    ) -> None:
        """`sampler`: one of Optuna's instead of that of the `rules`."""
        self._rungs = rules.rungs(grid)
        self._rules = rules
        self._grid = [cell.at(self._rungs) for cell in grid]
        self._pruning = rules.pruning(self._grid)
        self._choices = {
            name: sorted({cell.values[name] for cell in grid}) for name in grid[0].values
        }
        self.study = SweepStudy(
            None,
            "replay",
            self._space,
            seed=seed,
            num_startup_trials=rules.num_startup,
            sampler=sampler or rules.sampler,
        )
        self._events: list[tuple[float, int, int]] = []
        self._running: dict[int, _Running] = {}
        self.spent = 0.0
        self.reached = list[Reached]()

    def run(self, budget: float) -> list[Reached]:
        """Search until `budget` CPU-seconds are spent or nothing new is left to try."""
        for _ in range(self._rules.num_workers):
            self._start(0.0)
        while self._events and self.spent < budget:
            now, epoch, number = heapq.heappop(self._events)
            if not self._running[number].stopped:
                self._arrive(now, epoch, number)
        return self.reached

    def _space(self, trial: Any) -> None:
        for name, choices in self._choices.items():
            if isinstance(choices[0], float):
                trial.suggest_int(
                    name, 0, len(choices) - 1
                )  # the levels of a number are in order; Optuna has no logarithmic range with steps
            else:
                trial.suggest_categorical(name, choices)

    def _place_of(self, values: dict[str, Any]) -> int:
        levels = {
            name: choices[values[name]] if isinstance(choices[0], float) else values[name]
            for name, choices in self._choices.items()
        }
        return next(place for place, cell in enumerate(self._grid) if cell.values == levels)

    def _start(self, now: float) -> None:
        if len({running.place for running in self._running.values()}) == len(self._grid):
            return  # every cell was tried
        proposal = self.study.ask(lambda values: Fit(True, ""))
        place = self._place_of(proposal.values)
        running = self._running[proposal.number] = _Running(place, self._grid[place], now)
        self._await(proposal.number, running, self._rungs[0])

    def _await(self, number: int, running: _Running, epoch: int) -> None:
        heapq.heappush(self._events, (running.started + running.cell.costs[epoch], epoch, number))

    def _arrive(self, now: float, epoch: int, number: int) -> None:
        running = self._running[number]
        rules = self._rules
        past = [rung for rung in self._rungs if rung < epoch]
        self.spent += running.cell.costs[epoch] - (running.cell.costs[past[-1]] if past else 0.0)
        self.study.set_training_seconds(number, running.cell.costs[epoch] / epoch * self._rungs[-1])
        hits = self._pruning.queries.note(hits_of(running.cell, epoch))
        self.study.report(number, epoch, running.cell.scores[epoch], hits)
        is_last = epoch == self._rungs[-1]
        decision = self.study.decide_late(
            number,
            epoch,
            self._pruning,
            last_epoch=self._rungs[-1],
            submitted=[*past, epoch],
        )
        if is_last:
            self.study.tell_finished(number, running.cell.scores[epoch])
            self.reached.append(Reached(self.spent, running.cell.scores[epoch], running.place))
        elif not decision.go_on:
            self.study.tell_pruned(number, decision.reason)
        else:
            self._await(number, running, self._rungs[len(past) + 1])
        running.stopped = is_last or not decision.go_on
        if rules.look_back:
            self._look_back(now, epoch)
        if running.stopped:
            self._start(now)

    def _look_back(self, now: float, epoch: int) -> None:
        live = {
            number: self._rungs[-1]
            for number, running in self._running.items()
            if not running.stopped
        }
        decisions = self.study.decide_overtaken(epoch, live, self._pruning)
        for number, decision in decisions.items():
            running = self._running[number]
            running.stopped = True
            self.spent += now - running.started - running.cell.costs[epoch]
            self.study.tell_pruned(number, decision.reason)
            self._start(now)


def random_search(grid: Sequence[Cell], seed: int) -> list[Reached]:
    """Random search in its strongest form: no cell of the grid twice, each evaluated at its end."""
    cells = [cell.at((max(cell.scores),)) for cell in grid]
    spent = 0.0
    reached = []
    order = list(range(len(grid)))
    random.Random(seed).shuffle(order)
    for place in order:
        spent += cells[place].cost
        reached.append(Reached(spent, cells[place].final, place))
    return reached
