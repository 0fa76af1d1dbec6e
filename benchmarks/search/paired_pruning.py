"""Does a rung prune fewer trials wrongly when trials are compared query by query?

    uv run python -m benchmarks.search.paired_pruning --grid benchmarks/search/recorded/hits.jsonl
    uv run python -m benchmarks.search.paired_pruning --simulated 48,8 240,40 1900,100
    uv run python -m benchmarks.search.paired_pruning --simulated 500,100 --alike
        # queries are hard or easy for all trials

Trials of one sweep are asked the same queries, so that the difference of two of them is known
better than either: its standard error is that of the differences query by query. At the first rung
the best half is kept, by the mean of the hits. Three rules prune below that bar: ``mean`` all that
lie below it, as successive halving does; ``paired Z`` those that the sweep's pruner of that name
prunes: their paired difference from the trial at the bar is more than Z standard errors of it, over
groups of queries; ``margin M`` those that lie more than M below, which is as lenient without
pairing. A pruning is wrong where the trial would have ended in the
better half. Leniency alone makes fewer prunings wrong, and saves less: compare a ``paired`` rule
with the ``margin`` that prunes as many.

On a recorded grid the end is that of the same training, as luck had it, and each query is a group
of its own, for the groups were not recorded; in a simulated sweep it is what the trial's values are
worth.
"""

from __future__ import annotations

import argparse
import functools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from benchmarks.search.grid import read_grid
from benchmarks.statistics.simulated_sweep import Array, Part, World
from orchestrator.search.query_hits import PairedDifference, paired_difference

Z = (0.5, 1.0, 1.5, 2.0)
MARGINS = (0.01, 0.02, 0.03, 0.04, 0.06, 0.08)
ALIKE: dict[str, Any] = {
    "scene": 2.0,
    "query": 3.0,
    "config_in_scene": 0.2,
    "config_on_query": 0.3,
    "run_on_query": 0.2,
}
"""A world in which what is hit depends on the query far more than on the trial."""
UNTRAINED = 0.25
SPREAD = 0.05  # standard deviation of what trials are worth
KEPT_AT_RUNG = 0.7  # of a trial's gain over no training
CURVE = 0.02  # standard deviation of the pace of learning


@dataclass(frozen=True)
class Trials:
    """The trials of a sweep: `hits_TQ` (trials, queries) bool at the first rung, what each is worth
    at the end, and the group of each query.
    """

    hits_TQ: Array
    end_T: Array
    groups: tuple[str, ...]


@dataclass(frozen=True)
class Counts:
    """Of the trials below the bar: how many were pruned, and how many of these wrongly."""

    pruned: int = 0
    wrong: int = 0

    def plus(self, other: Counts) -> Counts:
        """Both."""
        return Counts(self.pruned + other.pruned, self.wrong + other.wrong)


Rule = Callable[[Array, Array, tuple[str, ...]], bool]
"""Whether the trial with the second row of hits is pruned, the bar's hits being the first, by the
groups of the queries.
"""


def mean(bar_Q: Array, hits_Q: Array, groups: tuple[str, ...]) -> bool:
    """The rule of successive halving."""
    return bool(hits_Q.mean() < bar_Q.mean())


def paired(z: float) -> Rule:
    """Prune what is told worse, query by query, by `z` standard errors."""

    def prunes(bar_Q: Array, hits_Q: Array, groups: tuple[str, ...]) -> bool:
        if not mean(bar_Q, hits_Q, groups):
            return False
        found = _difference(*(_marks(row_Q) for row_Q in (bar_Q, hits_Q)), groups)
        assert found is not None, "too few groups for a standard error"
        return found.value > z * found.standard_error

    return prunes


@functools.cache  # each pair of trials is asked about once for each Z
def _difference(bar: str, marks: str, groups: tuple[str, ...]) -> PairedDifference | None:
    return paired_difference(bar, marks, groups)


def _marks(hits_Q: Array) -> str:
    return "".join("1" if hit else "0" for hit in hits_Q.tolist())


def margin(least: float) -> Rule:
    """Prune what lies more than `least` below."""
    return lambda bar_Q, hits_Q, groups: bool(bar_Q.mean() - hits_Q.mean() > least + 1e-12)


RULES: dict[str, Rule] = {
    "mean": mean,
    **{f"paired {z:g}": paired(z) for z in Z},
    **{f"margin {least:g}": margin(least) for least in MARGINS},
}


def pruned(trials: Trials, rule: Rule) -> Counts:
    """What `rule` does to the trials below the best half."""
    mean_T = trials.hits_TQ.mean(axis=1)
    num_kept = max(1, len(mean_T) // 2)
    order = np.argsort(-mean_T, kind="stable")
    bar_Q = trials.hits_TQ[order[num_kept - 1]]
    good = set(np.argsort(-trials.end_T, kind="stable")[:num_kept].tolist())
    taken = [
        int(one) for one in order[num_kept:] if rule(bar_Q, trials.hits_TQ[one], trials.groups)
    ]
    return Counts(len(taken), sum(one in good for one in taken))


def recorded_sweeps(path: Path, number: int, num_trials: int) -> Iterator[Trials]:
    """`number` sweeps of random cells of a grid that was recorded with the hits of queries, at the
    first epoch at which all of them were.
    """
    cells = [cell for cell in read_grid(path) if cell.hits]
    if len(cells) < num_trials:
        raise SystemExit(f"{path} has {len(cells)} cells with hits; a sweep needs {num_trials}")
    first = min(set.intersection(*(set(cell.hits) for cell in cells)))
    hits_TQ = np.array([[mark == "1" for mark in cell.hits[first]] for cell in cells])
    end_T = np.array([cell.final for cell in cells])
    groups = tuple(map(str, range(hits_TQ.shape[1])))
    for seed in range(number):
        drawn = random.Random(seed).sample(range(len(cells)), num_trials)
        yield Trials(hits_TQ[drawn], end_T[drawn], groups)


def simulated_sweeps(world: World, number: int, num_trials: int) -> Iterator[Trials]:
    """`number` sweeps of a made-up corpus, see `benchmarks.statistics.simulated_sweep`."""
    for seed in range(number):
        generator = np.random.default_rng([seed, world.num_videos])
        part = Part(world, generator, world.num_videos)
        end_T = generator.normal(world.recall, SPREAD, num_trials)
        pace_T = generator.normal(0, CURVE, num_trials)
        rung_T = UNTRAINED + KEPT_AT_RUNG * (end_T - UNTRAINED) + pace_T
        hits_TQ = np.stack([part.hits(part.configuration(round(one, 3))) for one in rung_T])
        yield Trials(hits_TQ, end_T, tuple(part.groups))


def standard_errors(sweeps: Sequence[Trials]) -> tuple[float, float]:
    """Of the difference of a sweep's first two trials, on average: query by query, and as if the
    two had been asked different queries, each on its own.
    """
    paired_S, apart_S = [], []
    for one in sweeps:
        first_Q, second_Q = one.hits_TQ[:2]
        found = _difference(_marks(first_Q), _marks(second_Q), one.groups)
        assert found is not None, "too few groups for a standard error"
        paired_S.append(found.standard_error)
        both = first_Q.var(ddof=1) + second_Q.var(ddof=1)
        apart_S.append(float(both / len(first_Q)) ** 0.5)
    return fmean(paired_S), fmean(apart_S)


def print_rules(what: str, sweeps: Sequence[Trials]) -> None:
    """A line for each rule: prunings and wrong ones a sweep, and their share."""
    errors = standard_errors(sweeps)
    print(f"\n{what}: prunings a sweep, wrong ones, their share")
    print(f"  standard error of a difference {errors[0]:.4f}, not paired {errors[1]:.4f}")
    for name, rule in RULES.items():
        counts = Counts()
        for one in sweeps:
            counts = counts.plus(pruned(one, rule))
        share = counts.wrong / counts.pruned if counts.pruned else 0.0
        number = len(sweeps)
        print(
            f"  {name:<12} {counts.pruned / number:6.2f} {counts.wrong / number:6.2f} {share:6.3f}"
        )


def main() -> None:
    """Read a grid, or simulate, and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--grid", type=Path, help="recorded with hits by record_grid")
    parser.add_argument(
        "--simulated", nargs="+", default=[], metavar="VIDEOS,GROUPS", help="made-up corpora"
    )
    parser.add_argument(
        "--alike", action="store_true", help="of queries that are hard or easy for all trials"
    )
    parser.add_argument("--sweeps", type=int, default=500)
    parser.add_argument("--trials", type=int, default=12, help="of each sweep")
    arguments = parser.parse_args()
    if arguments.grid:
        sweeps = list(recorded_sweeps(arguments.grid, arguments.sweeps, arguments.trials))
        print_rules(f"{arguments.grid.name}, {sweeps[0].hits_TQ.shape[1]} queries", sweeps)
    for text in arguments.simulated:
        num_videos, num_groups = (int(part) for part in text.split(","))
        changes = ALIKE if arguments.alike else {}
        world = World(num_videos=num_videos, num_groups=num_groups, **changes)
        sweeps = list(simulated_sweeps(world, arguments.sweeps, arguments.trials))
        print_rules(f"simulated, {num_videos} videos in {num_groups} groups", sweeps)


if __name__ == "__main__":
    main()
