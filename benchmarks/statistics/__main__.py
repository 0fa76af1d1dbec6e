"""Tables of how often the printed intervals hold the truth, and of how often verdicts are right.

uv run python -m benchmarks.statistics [--sweeps 1000] [--interval-sweeps 10000] [--processes 2]
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import multiprocessing
import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

from benchmarks.statistics.coverage import METHODS, Corpus, share_held
from benchmarks.statistics.rates import (
    GAIN,
    RIGHT,
    WRONG,
    Mapping,
    coverage_rates,
    verdict_rates,
)
from benchmarks.statistics.simulated_sweep import World

RATES = (0.1, 0.4, 0.9)
CORRELATIONS = (0.1, 0.3, 0.6)
SHAPES = ((8, 1), (12, 1), (12, 8), (25, 1), (50, 1), (50, 30), (100, 1))
"""Of corpora: how many groups, and how many times as large as the others the first is."""
WORLDS = (
    World(num_videos=48, num_groups=1),
    World(num_videos=48, num_groups=8),
    World(num_videos=48, num_groups=48),
    World(num_videos=48, num_groups=48, num_test=500),
    World(num_videos=240, num_groups=8, first_times=4),
    World(num_videos=240, num_groups=12, first_times=8),
    World(num_videos=240, num_groups=40),
    World(num_videos=500, num_groups=20, first_times=20),
    World(num_videos=500, num_groups=40, first_times=30),
    World(num_videos=500, num_groups=48, num_test=48),
    World(num_videos=500, num_groups=100),
    World(num_videos=1900, num_groups=8),
    World(num_videos=1900, num_groups=100),
    World(num_videos=3800, num_groups=100),
)
KINDS = (
    "one trained encoder",
    "a candidate, over seeds and scenes",
    "a candidate less another",
    "a candidate less random initialisation",
)


def main() -> None:
    """Print the coverage of intervals, false verdicts, and power."""
    started = time.monotonic()
    arguments = _arguments()
    os.environ["OMP_NUM_THREADS"] = "1"  # in the processes; they are as many as there are cores
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(arguments.processes, mp_context=context) as pool:
        print_corpora(arguments.corpora, pool.map)
        print_coverage(arguments.interval_sweeps, pool.map)
        print_false_verdicts(arguments.sweeps, pool.map)
        print_power(arguments.gain_sweeps, pool.map)
    print(f"\n{(time.monotonic() - started) / 60:.1f} minutes, {arguments.processes} processes")


def print_corpora(number: int, mapping: Mapping) -> None:
    """The coverage of each method for one figure, a row for each shape of a corpus and recall."""
    print(f"\n{number} corpora a figure for what is printed, {number // 10} for the others; groups")
    print("of 5 to 8 queries; correlation within groups", *CORRELATIONS, "in each cell\n")
    _row(["groups (the first is so many times as large)", "recall", *METHODS])
    _row(["---"] * (2 + len(METHODS)))
    rows = list(itertools.product(SHAPES, RATES))
    numbers = dict.fromkeys(METHODS, max(1, number // 10)) | {"printed": number}
    cells = [
        (Corpus(groups, rate=rate, correlation=correlation, first_times=times), method, corpora)
        for (groups, times), rate in rows
        for method, corpora in numbers.items()
        for correlation in CORRELATIONS
    ]
    found = iter(mapping(share_held, cells))
    for (groups, times), rate in rows:
        shares = [
            ", ".join(f"{next(found):.3f}" for _ in CORRELATIONS) for _ in range(len(METHODS))
        ]
        _row([_shape(groups, times), f"{rate:.1f}", *shares])


def print_coverage(number: int, mapping: Mapping) -> None:
    """The coverage of what a sweep prints, a row for each world."""
    print(f"\nThe share of 95 % intervals that hold the truth, {number} sweeps a row\n")
    _row(["videos, groups (the first is so many times as large)", *KINDS])
    _row(["---"] * (1 + len(KINDS)))
    for world in dict.fromkeys(dataclasses.replace(world, num_test=None) for world in WORLDS):
        shares = coverage_rates(world, number, mapping)
        cells = [f"{shares[kind]:.3f}" if kind in shares else "none printed" for kind in KINDS]
        _row([_name(world), *cells])


def print_false_verdicts(number: int, mapping: Mapping) -> None:
    """How often what is not so is said, a row for each world in which nothing is better."""
    error = 1.96 * (0.05 * 0.95 / number) ** 0.5
    print(f"\nFalse verdicts, {number} sweeps a row: 0.05 is 0.050 +- {error:.3f} of them\n")
    _row(
        [
            "validation (test) videos, groups (the first is so many times as large)",
            "a rate set is named",
            "test part: than random initialisation (better + worse)",
            "test part: than pixels",
            "validation part: better than random initialisation",
            "a rate set is named by the search alone",
        ]
    )
    _row(["---"] * 6)
    for world in WORLDS:
        rates = verdict_rates(world, number, gain=0.0, pretraining=0.0, mapping=mapping)
        named = rates[RIGHT[0]] + rates[WRONG[0]]
        better, worse = rates[RIGHT[2]], rates[WRONG[1]]
        told_apart = f"{better + worse:.3f} ({better:.3f} + {worse:.3f})"
        others = [f"{rates[name]:.3f}" for name in (WRONG[2], RIGHT[3], WRONG[3])]
        _row([_name(world), f"{named:.3f}", told_apart, *others])


def print_power(number: int, mapping: Mapping) -> None:
    """How often what is so is said, a row for each world and each kind of true gain."""
    print(f"\nWith a true gain of {GAIN:.2f} in recall, {number} sweeps a row\n")
    _row(
        [
            "validation (test) videos, groups (the first is so many times as large)",
            "the gain is of",
            *RIGHT,
            "false: a rate set is named",
            "false: worse than random initialisation",
        ]
    )
    _row(["---"] * (4 + len(RIGHT)))
    for world in WORLDS:
        for of, gain, pretraining in (("one rate set", GAIN, 0.0), ("pretraining", 0.0, GAIN)):
            rates = verdict_rates(
                world, number, gain=gain, pretraining=pretraining, mapping=mapping
            )
            cells = [f"{rates[name]:.3f}" for name in RIGHT]
            named = rates[WRONG[0]]
            if not gain:  # no rate set is better than another
                named += rates[RIGHT[0]]
                cells[:2] = ["-", "-"]
            _row([_name(world), of, *cells, f"{named:.3f}", f"{rates[WRONG[1]]:.3f}"])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sweeps", type=int, default=1000, help="simulated sweeps for verdicts")
    parser.add_argument("--interval-sweeps", type=int, default=10_000, help="for intervals")
    parser.add_argument("--gain-sweeps", type=int, default=300, help="where there is a true gain")
    parser.add_argument(
        "--corpora", type=int, default=20_000, help="for the printed interval; others: a tenth"
    )
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    return parser.parse_args()


def _name(world: World) -> str:
    test = f" ({world.num_test})" if world.num_test else ""
    return f"{world.num_videos}{test}, {_shape(world.num_groups, world.first_times)}"


def _shape(num_groups: int, first_times: int) -> str:
    return str(num_groups) if first_times == 1 else f"{num_groups} ({first_times})"


def _row(cells: Sequence[str]) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
