"""What a search finds for its cost, compared with random search: medians over seeds."""

from __future__ import annotations

import bisect
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.search.grid import Cell
from benchmarks.search.search_replay import Reached, Replay, Rules, random_search
from prp_core.evaluation.intervals import Interval, bootstrap_interval

Curve = Sequence[tuple[float, float]]
"""What a search has to show, by cost: ``(cost, value)``, each valid until the next."""


def best_scores(run: Sequence[Reached]) -> Curve:
    """The best score so far, luck included."""
    return [
        (one.cost, max(other.score for other in run[:number]))
        for number, one in enumerate(run, start=1)
    ]


def worth_of_the_best(run: Sequence[Reached], worth: Sequence[float]) -> Curve:
    """The `worth` of the best trial's cell so far; it falls where a lucky trial takes the lead."""
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


def score_above(curves: Sequence[Curve], others: Sequence[Curve], cost: float) -> Interval:
    """How far what `cost` had bought lies above what it bought the searches of `others` with the
    same seeds; 0 counts as found where that was nothing. The interval is over seeds.
    """
    pairs = zip(curves, others, strict=True)
    found = [[max(0.0, value_at(one, cost)) for one in pair] for pair in pairs]
    return bootstrap_interval([ours - theirs for ours, theirs in found])


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
    """Random search and the search on the grid of each seed, and the mean cost of a full training.

    Both stop at the cost of `most_trials` full trainings.
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
