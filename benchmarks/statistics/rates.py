"""Rates over simulated sweeps: intervals that hold the truth, and verdicts, false and true."""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

from benchmarks.statistics.simulated_sweep import Said, World, printed_intervals, simulate
from orchestrator.confirmation import RANDOM_INIT, BaselineVerdict, ConfirmationOutcome
from orchestrator.run_model import Verdict

GAIN = 0.13
BETTER_RATES = "set 0"
CLAIMS = (Verdict.BETTER, Verdict.WORSE)
CHUNK = 20
Argument = TypeVar("Argument")
Found = TypeVar("Found")


class Mapping(Protocol):
    """`map`, or one that has several processes: results in the order of their arguments."""

    def __call__(
        self, function: Callable[[Argument], Found], arguments: Iterable[Argument], /
    ) -> Iterable[Found]: ...


def coverage_rates(world: World, number: int, mapping: Mapping = map) -> dict[str, float]:
    """The share of the intervals of `number` sweeps that hold the truth, by what they are of; empty
    where none is printed.
    """
    held: Counter[str] = Counter()
    told: Counter[str] = Counter()
    for held_here, told_here in mapping(functools.partial(_held, world), _chunks(number)):
        held.update(held_here)
        told.update(told_here)
    return {what: held[what] / count for what, count in told.items()}


def verdict_rates(
    world: World, number: int, *, gain: float, pretraining: float, mapping: Mapping = map
) -> dict[str, float]:
    """How often each verdict is said of `number` sweeps with these true gains.

    Where there is no gain each is false; where there is, the other way round is.
    """
    counts: Counter[str] = Counter()
    world = dataclasses.replace(world, gain=gain, pretraining=pretraining)
    for found in mapping(functools.partial(_counted, world), _chunks(number)):
        counts.update(found)
    names = (*WRONG, *RIGHT)
    return {name: counts[name] / number for name in names}


RIGHT = (
    "the better rate set is named by the confirmation",
    "the better rate set is taken",
    "on the test part better than random initialisation",
    "on the validation part better than random initialisation",
)
WRONG = (
    "another rate set is named, or any where none is better",
    "on the test part worse than random initialisation",
    "on the test part better or worse than a pixel baseline",
    "a rate set is named by the search alone",
)


def _chunks(number: int) -> list[range]:
    return [range(first, min(first + CHUNK, number)) for first in range(0, number, CHUNK)]


def _held(world: World, seeds: range) -> tuple[Counter[str], Counter[str]]:
    """(how many intervals hold the truth, how many there are), by what they are of."""
    held: Counter[str] = Counter()
    told: Counter[str] = Counter()
    for seed in seeds:
        for what, interval, truth in printed_intervals(world, seed):
            held[what] += interval.low <= truth <= interval.high
            told[what] += 1
    return held, told


def _counted(world: World, seeds: range) -> Counter[str]:
    counts: Counter[str] = Counter()
    for seed in seeds:
        counts.update(_said(simulate(world, seed)))
    return counts


def _said(said: Said) -> list[str]:
    found = []
    is_winner = said.confirmation.outcome is ConfirmationOutcome.WINNER
    if said.rates_apart:
        is_better = said.taken_rates == BETTER_RATES
        found.append(RIGHT[0] if is_better else WRONG[0])
    if said.taken_rates == BETTER_RATES:
        found.append(RIGHT[1])
    on_test, on_val = _of_random(said.on_test), _of_random(said.confirmation.baselines)
    found += [RIGHT[2]] if on_test is Verdict.BETTER else []
    found += [RIGHT[3]] if on_val is Verdict.BETTER else []
    found += [WRONG[1]] if on_test is Verdict.WORSE else []
    pixels = [one for one in said.on_test if one.name != RANDOM_INIT]
    found += [WRONG[2]] if any(one.difference.verdict in CLAIMS for one in pixels) else []
    found += [WRONG[3]] if said.search_winner else []
    return [*found, "a winner"] if is_winner else found


def _of_random(verdicts: tuple[BaselineVerdict, ...]) -> Verdict | None:
    return next((one.difference.verdict for one in verdicts if one.name == RANDOM_INIT), None)
