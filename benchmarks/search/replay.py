"""What does the search save? The default search against random search on a recorded grid, with a simulated clock.

    uv run python -m benchmarks.search.replay --grid grid.jsonl --seeds 100
    uv run python -m benchmarks.search.replay --grid grid.jsonl --surrogate     # each seed with luck of its own
    uv run python -m benchmarks.search.replay --synthetic 3            # three made-up grids: of use only while a rule is being worked on

The study, its sampler and its judge are the real ones; only the trainings are looked up. Workers are asynchronous: each takes the next trial
when it is free. Costs are CPU-seconds of training and of evaluation at rungs. Random search trains every draw to its end, without repeats.
Reached means: a trial that ran to its end scored it. Printed, for several N, as medians over the seeds: what N random trials find, and the share of
their cost for which the search finds as much.
"""

from __future__ import annotations

import argparse
import heapq
import math
import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.search.grid import Cell, mean_of, read_grid, synthetic_grid
from benchmarks.search.surrogate_grid import surrogate_of
from orchestrator.search.space import Fit
from orchestrator.search.study import SweepStudy
from prp_core.training.training_config import TrainingConfig


@dataclass(frozen=True)
class Rules:
    """How the search is run: the defaults of the demo's preset. `look_back` also stops running trials that others have overtaken.

    `first_rung_epochs` 0: at every recorded epoch.
    """

    first_rung_epochs: int = 6
    sampler: str = "gp"
    pruner: str = "asha"
    reduction_factor: int = 2
    num_startup: int = 4
    num_workers: int = 2
    look_back: bool = True

    def rungs(self, grid: Sequence[Cell]) -> tuple[int, ...]:
        """The epochs at which trials are judged. Raises `SystemExit` where one was not recorded."""
        recorded = tuple(sorted(grid[0].scores))
        if not self.first_rung_epochs:
            return recorded
        settings = TrainingConfig(num_epochs=recorded[-1], first_rung_epochs=self.first_rung_epochs, reduction_factor=self.reduction_factor)
        if missing := sorted(set(settings.rungs) - set(recorded)):
            raise SystemExit(f"the grid was not evaluated after epoch {missing[0]}, only after {', '.join(map(str, recorded))}")
        return settings.rungs


@dataclass(frozen=True)
class Reached:
    """After `cost` CPU-seconds in all, a trial had finished with `score`."""

    cost: float
    score: float


@dataclass
class _Running:
    cell: Cell
    started: float
    stopped: bool = False


class Replay:
    """One search over a grid; `run` gives what was reached, cheapest first."""

    def __init__(self, grid: Sequence[Cell], rules: Rules, seed: int) -> None:
        self._rungs, self._rules = rules.rungs(grid), rules
        self._grid = [cell.at(self._rungs) for cell in grid]
        self._choices = {name: sorted({cell.values[name] for cell in grid}) for name in grid[0].values}
        self.study = SweepStudy(None, "replay", self._space, seed=seed, num_startup_trials=rules.num_startup, sampler=rules.sampler)
        self._events: list[tuple[float, int, int]] = []
        self._running: dict[int, _Running] = {}
        self.spent, self.reached = 0.0, list[Reached]()

    def run(self, budget: float, enough: float = math.inf) -> list[Reached]:
        """Search until `budget` CPU-seconds are spent, a trial finishes with `enough`, or nothing new is left to try."""
        for _ in range(self._rules.num_workers):
            self._start(0.0)
        while self._events and self.spent < budget and not (self.reached and self.reached[-1].score >= enough):
            now, epoch, number = heapq.heappop(self._events)
            if not self._running[number].stopped:
                self._arrive(now, epoch, number)
        return self.reached

    def _space(self, trial: Any) -> None:
        for name, choices in self._choices.items():
            if isinstance(choices[0], float):
                trial.suggest_int(name, 0, len(choices) - 1)  # the levels of a number are in order; Optuna has no logarithmic range with steps
            else:
                trial.suggest_categorical(name, choices)

    def _cell_of(self, values: dict[str, Any]) -> Cell:
        levels = {name: choices[values[name]] if isinstance(choices[0], float) else values[name] for name, choices in self._choices.items()}
        return next(cell for cell in self._grid if cell.values == levels)

    def _start(self, now: float) -> None:
        if len({id(running.cell) for running in self._running.values()}) == len(self._grid):
            return  # every cell was tried
        proposal = self.study.ask(lambda values: Fit(True, ""))
        running = self._running[proposal.number] = _Running(self._cell_of(proposal.values), now)
        self._await(proposal.number, running, self._rungs[0])

    def _await(self, number: int, running: _Running, epoch: int) -> None:
        heapq.heappush(self._events, (running.started + running.cell.costs[epoch], epoch, number))

    def _arrive(self, now: float, epoch: int, number: int) -> None:
        running, rules = self._running[number], self._rules
        past = [rung for rung in self._rungs if rung < epoch]
        self.spent += running.cell.costs[epoch] - (running.cell.costs[past[-1]] if past else 0.0)
        self.study.report(number, epoch, running.cell.scores[epoch])
        is_last = epoch == self._rungs[-1]
        verdict = self.study.late_verdict(
            number,
            epoch,
            pruner=rules.pruner,
            reduction_factor=rules.reduction_factor,
            last_epoch=self._rungs[-1],
            handed_in=[*past, epoch],
        )
        if is_last:
            self.study.tell_finished(number, running.cell.scores[epoch])
            self.reached.append(Reached(self.spent, running.cell.scores[epoch]))
        elif not verdict.go_on:
            self.study.tell_pruned(number, verdict.reason)
        else:
            self._await(number, running, self._rungs[len(past) + 1])
        running.stopped = is_last or not verdict.go_on
        if rules.look_back:
            self._look_back(now, epoch)
        if running.stopped:
            self._start(now)

    def _look_back(self, now: float, epoch: int) -> None:
        rules = self._rules
        live = {number: self._rungs[-1] for number, running in self._running.items() if not running.stopped}
        for number, verdict in self.study.overtaken(epoch, live, pruner=rules.pruner, reduction_factor=rules.reduction_factor).items():
            running = self._running[number]
            running.stopped = True
            self.spent += now - running.started - running.cell.costs[epoch]
            self.study.tell_pruned(number, verdict.reason)
            self._start(now)


def random_search(grid: Sequence[Cell], seed: int) -> list[Reached]:
    """Every cell to its end, in random order, none twice, evaluated once: the strongest form of random search on a grid."""
    cells, spent, reached = [cell.at((max(cell.scores),)) for cell in grid], 0.0, []
    random.Random(seed).shuffle(cells)
    for cell in cells:
        spent += cell.cost
        reached.append(Reached(spent, cell.final))
    return reached


def cost_to_reach(reached: Sequence[Reached], score: float) -> float:
    """The least cost at which `score` was reached; infinite where it was not."""
    return min((one.cost for one in reached if one.score >= score), default=math.inf)


def best_for(reached: Sequence[Reached], cost: float) -> float:
    """The best score that `cost` had bought; minus infinity where that was none."""
    return max((one.score for one in reached if one.cost <= cost), default=-math.inf)


@dataclass(frozen=True)
class Row:
    """The search against `number` random trials, which cost `budget` and find `score`: medians over the seeds.

    The search reaches that for `cost`, has found `for_a_third` for a third of the budget and `for_all` for all of it.
    """

    number: int
    budget: float
    score: float
    cost: float
    for_a_third: float
    for_all: float


def compare(grid_of: Callable[[int], Sequence[Cell]], rules: Rules, seeds: Sequence[int], num_random: Sequence[int]) -> list[Row]:
    """A row for each of `num_random`. `grid_of` gives the grid of a seed, on which both search; costs are the same on all of them."""
    grids = {seed: grid_of(seed) for seed in seeds}
    chance = [random_search(grids[seed], seed) for seed in seeds]
    mean_cost = statistics.mean(cell.at((max(cell.scores),)).cost for cell in grids[seeds[0]])
    ours = [Replay(grids[seed], rules, seed).run(max(num_random) * mean_cost) for seed in seeds]
    rows = []
    for number in num_random:
        budget = number * mean_cost
        score = statistics.median_low([max(one.score for one in run[:number]) for run in chance])
        cost = statistics.median_high([cost_to_reach(run, score) for run in ours])
        third, whole = (statistics.median_low([best_for(run, part * budget) for run in ours]) for part in (1 / 3, 1.0))
        rows.append(Row(number, budget, score, cost, third, whole))
    return rows


def print_table(rows: Sequence[Row], say: Callable[[str], None] = print) -> None:
    """One line for each N."""
    say("what N random trials find, and cost in CPU-seconds; what the search pays for it; what it finds for a third of that cost, and for all of it")
    say(f"{'N':>4} {'cost':>8} {'finds':>7} {'search pays':>12} {'ratio':>6} {'for a third':>12} {'for all':>8}")
    for row in rows:
        ratio = row.cost / row.budget
        say(f"{row.number:>4} {row.budget:>8.0f} {row.score:>7.3f} {row.cost:>12.0f} {ratio:>6.2f} {row.for_a_third:>12.3f} {row.for_all:>8.3f}")


def main() -> None:
    """Read or make the grids, replay, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--grid",
        type=Path,
        nargs="+",
        help="JSON lines of benchmarks.search.record_grid; of several files, recorded with other seeds, the mean is played",
    )
    parser.add_argument("--surrogate", action="store_true", help="the forest's scores with luck drawn anew for each seed: see surrogate_grid.py")
    parser.add_argument("--synthetic", type=int, default=0, metavar="N", help="N made-up grids instead")
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--random-trials", default="8-16-32", help="what N random trials find is to be reached (default: %(default)s)")
    for name, default in vars(Rules()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int if isinstance(default, bool | int) else str, default=default)
    arguments = parser.parse_args()
    rules = Rules(**{name: type(default)(getattr(arguments, name)) for name, default in vars(Rules()).items()})
    grids = [synthetic_grid(seed) for seed in range(arguments.synthetic)] or [mean_of([read_grid(path) for path in arguments.grid])]
    print(f"{rules}, {arguments.seeds} seeds")
    for grid in grids:
        print(f"{len(grid)} cells, best {max(cell.final for cell in grid):.3f}, {sum(cell.cost for cell in grid):.0f} CPU-seconds in all")
        grid_of = surrogate_of(grid) if arguments.surrogate else lambda _, grid=grid: grid
        print_table(compare(grid_of, rules, range(arguments.seeds), [int(part) for part in arguments.random_trials.split("-")]))


if __name__ == "__main__":
    main()
