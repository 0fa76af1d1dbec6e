"""What does the search save? The default search against random search on a recorded grid, with a
simulated clock.

    uv run python -m benchmarks.search.replay --grid grid.jsonl --seeds 100
    uv run python -m benchmarks.search.replay --grid grid.jsonl --surrogate
        # each seed with luck of its own: see surrogate_grid.py
    uv run python -m benchmarks.search.replay --synthetic 3
        # three made-up grids: of use only while a rule is being worked on

The study, its sampler and its judge are the real ones; only the trainings are looked up. Workers
are asynchronous: each takes the next trial when it is free. Costs are CPU-seconds of training and
of evaluation at rungs. Random search trains every draw to its end, without repeats. What a search
has found is the best trial that ran to its end. Printed, for several N, as medians over the seeds:
what N random trials find, and the share of their cost from which on the search has found as much:
by the score, luck included, and with `--surrogate` by what the best trial's values are worth
without it, which is what is left when they are trained again.
"""

from __future__ import annotations

import argparse
import bisect
import heapq
import math
import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.search.grid import Cell, read_grids, synthetic_grid
from benchmarks.search.surrogate_grid import GridSurrogate
from orchestrator.search.pruner import PruningRule
from orchestrator.search.space import Fit
from orchestrator.search.study import SweepStudy
from prp_core.training.training_config import TrainingConfig


@dataclass(frozen=True)
class Rules:
    """How the search is run: the defaults of the demo's preset. `look_back` also stops running
    trials that others have overtaken.

    `first_rung_epochs` 0: at every recorded epoch.
    """

    first_rung_epochs: int = 6
    sampler: str = "gp"
    pruner: str = "asha"
    reduction_factor: int = 2
    num_startup: int = 4
    num_workers: int = 2
    look_back: bool = True

    @property
    def pruning(self) -> PruningRule:
        """How trials are pruned."""
        return PruningRule(self.pruner, self.reduction_factor)

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


@dataclass(frozen=True)
class Reached:
    """After `cost` CPU-seconds in all, a trial of the grid's cell at `place` had finished with
    `score`.
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

    def __init__(self, grid: Sequence[Cell], rules: Rules, seed: int) -> None:
        self._rungs = rules.rungs(grid)
        self._rules = rules
        self._grid = [cell.at(self._rungs) for cell in grid]
        self._choices = {
            name: sorted({cell.values[name] for cell in grid}) for name in grid[0].values
        }
        self.study = SweepStudy(
            None,
            "replay",
            self._space,
            seed=seed,
            num_startup_trials=rules.num_startup,
            sampler=rules.sampler,
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
        self.study.report(number, epoch, running.cell.scores[epoch])
        is_last = epoch == self._rungs[-1]
        decision = self.study.decide_late(
            number,
            epoch,
            rules.pruning,
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
        rules = self._rules
        live = {
            number: self._rungs[-1]
            for number, running in self._running.items()
            if not running.stopped
        }
        decisions = self.study.decide_overtaken(epoch, live, rules.pruning)
        for number, decision in decisions.items():
            running = self._running[number]
            running.stopped = True
            self.spent += now - running.started - running.cell.costs[epoch]
            self.study.tell_pruned(number, decision.reason)
            self._start(now)


def random_search(grid: Sequence[Cell], seed: int) -> list[Reached]:
    """Every cell to its end, in random order, none twice, evaluated once: the strongest form of
    random search on a grid.
    """
    cells = [cell.at((max(cell.scores),)) for cell in grid]
    spent = 0.0
    reached = []
    order = list(range(len(grid)))
    random.Random(seed).shuffle(order)
    for place in order:
        spent += cells[place].cost
        reached.append(Reached(spent, cells[place].final, place))
    return reached


Curve = Sequence[tuple[float, float]]
"""What a search has to show, by cost: ``(cost, value)``, each valid until the next."""


def best_scores(run: Sequence[Reached]) -> Curve:
    """The best score so far, luck included."""
    return [
        (one.cost, max(other.score for other in run[:number]))
        for number, one in enumerate(run, start=1)
    ]


def worth_of_the_best(run: Sequence[Reached], worth: Sequence[float]) -> Curve:
    """What the values of the best trial so far are worth, by `worth` of each cell. It falls where a
    lucky trial takes the lead.
    """
    return [
        (one.cost, worth[max(run[:number], key=lambda other: other.score).place])
        for number, one in enumerate(run, start=1)
    ]


def value_at(curve: Curve, cost: float) -> float:
    """What `cost` had bought; minus infinity where that was nothing."""
    number = bisect.bisect_right(curve, cost, key=lambda point: point[0])
    return curve[number - 1][1] if number else -math.inf


def median_at(curves: Sequence[Curve], cost: float) -> float:
    """The median over searches of what `cost` had bought."""
    return statistics.median_low([value_at(curve, cost) for curve in curves])


def cost_to_keep(curves: Sequence[Curve], value: float, budget: float) -> float:
    """The least cost from which on, up to `budget`, the median over searches is at least `value`;
    infinite where there is none.
    """
    costs = sorted({cost for curve in curves for cost, _ in curve if cost <= budget})
    least = math.inf
    for cost in reversed(costs):
        if median_at(curves, cost) < value:
            break
        least = cost
    return least


@dataclass(frozen=True)
class Row:
    """The search against `number` random trials, which cost `budget` and have `found` so much:
    medians over the seeds.

    The search has and keeps that from `cost` on; it has found `for_a_third` for a third of the
    budget and `for_all` for all of it.
    """

    number: int
    budget: float
    found: float
    cost: float
    for_a_third: float
    for_all: float


def searches(
    grid_of: Callable[[int], Sequence[Cell]], rules: Rules, seeds: Sequence[int], most_trials: int
) -> tuple[list[list[Reached]], list[list[Reached]], float]:
    """Random search and the search on the grid of each seed, up to the cost of `most_trials` full
    trainings; what one of these costs on average.
    """
    grids = [grid_of(seed) for seed in seeds]
    cost = statistics.mean(cell.at((max(cell.scores),)).cost for cell in grids[0])
    chance = [random_search(grid, seed) for grid, seed in zip(grids, seeds, strict=True)]
    return (
        chance,
        [
            Replay(grid, rules, seed).run(most_trials * cost)
            for grid, seed in zip(grids, seeds, strict=True)
        ],
        cost,
    )


def compare(
    chance: Sequence[Curve], ours: Sequence[Curve], cost: float, num_random: Sequence[int]
) -> list[Row]:
    """A row for each of `num_random` trials, which cost `cost` each."""
    rows = []
    for number in num_random:
        budget = number * cost
        found = statistics.median_low([curve[number - 1][1] for curve in chance])
        rows.append(
            Row(
                number,
                budget,
                found,
                cost_to_keep(ours, found, budget),
                median_at(ours, budget / 3),
                median_at(ours, budget),
            )
        )
    return rows


def print_table(what: str, rows: Sequence[Row], say: Callable[[str], None] = print) -> None:
    """One line for each N."""
    say(
        f"\n{what}: what N random trials cost (CPU-seconds) and find, what the search "
        "pays for that, what it finds for a third and for all of it"
    )
    say(
        f"{'N':>4} {'cost':>8} {'find':>7} {'search pays':>12} {'ratio':>6} "
        f"{'for a third':>12} {'for all':>8}"
    )
    for row in rows:
        ratio = row.cost / row.budget
        say(
            f"{row.number:>4} {row.budget:>8.0f} {row.found:>7.3f} {row.cost:>12.0f} "
            f"{ratio:>6.2f} {row.for_a_third:>12.3f} {row.for_all:>8.3f}"
        )


def main() -> None:
    """Read or make the grids, replay, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--grid",
        type=Path,
        nargs="+",
        help="JSON lines of benchmarks.search.record_grid; of several files, recorded with "
        "other seeds, the mean is played",
    )
    parser.add_argument(
        "--surrogate",
        action="store_true",
        help="the forest's scores with luck drawn anew for each seed: see surrogate_grid.py",
    )
    parser.add_argument(
        "--synthetic", type=int, default=0, metavar="N", help="N made-up grids instead"
    )
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument(
        "--random-trials",
        default="8-16-32",
        help="what N random trials find is to be reached (default: %(default)s)",
    )
    for name, default in vars(Rules()).items():
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=int if isinstance(default, bool | int) else str,
            default=default,
        )
    arguments = parser.parse_args()
    if not arguments.grid and not arguments.synthetic:
        parser.error("name recorded grids with --grid, or ask for made-up ones with --synthetic N")
    rules = Rules(
        **{name: type(default)(getattr(arguments, name)) for name, default in vars(Rules()).items()}
    )
    grids = [synthetic_grid(seed) for seed in range(arguments.synthetic)] or [
        read_grids(arguments.grid)
    ]
    print(f"{rules}, {arguments.seeds} seeds")
    numbers = [int(part) for part in arguments.random_trials.split("-")]
    for grid in grids:
        if max(numbers) > len(grid):
            parser.error(
                f"--random-trials {max(numbers)}: the grid has {len(grid)} cells, and "
                "random search repeats none"
            )
        print(
            f"{len(grid)} cells, best {max(cell.final for cell in grid):.3f}, "
            f"{sum(cell.cost for cell in grid):.0f} CPU-seconds in all"
        )
        surrogate = GridSurrogate(grid) if arguments.surrogate else None
        chance, ours, cost = searches(
            surrogate.drawn if surrogate else lambda _, grid=grid: grid,
            rules,
            range(arguments.seeds),
            max(numbers),
        )
        print_table(
            "Best score, luck included",
            compare(
                [best_scores(run) for run in chance],
                [best_scores(run) for run in ours],
                cost,
                numbers,
            ),
        )
        if surrogate:
            worth = [
                [worth_of_the_best(run, surrogate.worth) for run in runs] for runs in (chance, ours)
            ]
            print_table("What the best trial's values are worth", compare(*worth, cost, numbers))


if __name__ == "__main__":
    main()
