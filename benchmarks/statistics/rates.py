"""Rates over simulated sweeps: intervals that hold the truth, and verdicts, false and true."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict

from benchmarks.statistics.simulated_sweep import Said, World, printed_intervals, simulate
from orchestrator.confirmation import RANDOM_INIT, BaselineVerdict, ConfirmationOutcome
from orchestrator.run_model import Verdict

GAIN = 0.13
BETTER_RATES = "set 0"
CLAIMS = (Verdict.BETTER, Verdict.WORSE)


def coverage_rates(world: World, number: int) -> dict[str, float]:
    """The share of intervals that hold the truth, by what they are of; empty where none is
    printed.
    """
    held: dict[str, list[bool]] = defaultdict(list)
    for seed in range(number):
        for what, interval, truth in printed_intervals(world, seed):
            held[what].append(interval.low <= truth <= interval.high)
    return {what: sum(found) / len(found) for what, found in held.items()}


def verdict_rates(
    world: World, number: int, *, gain: float, pretraining: float
) -> dict[str, float]:
    """How often each verdict is said of `number` sweeps with these true gains.

    Where there is no gain each is false; where there is, the other way round is.
    """
    counts: Counter[str] = Counter()
    world = dataclasses.replace(world, gain=gain, pretraining=pretraining)
    for seed in range(number):
        counts.update(_said(simulate(world, seed)))
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
