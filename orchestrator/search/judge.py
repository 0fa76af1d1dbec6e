"""Whether a trial goes on after a rung: a pure function of what every trial scored there.

Asynchronous successive halving: at each rung a trial goes on when it is among the best ``1/reduction_factor`` of those that have
reached the rung so far, itself included. Nothing waits: the first to arrive goes on. The method is Li et al., "A System for Massively
Parallel Hyperparameter Tuning" (MLSys 2020), section 3.2, read with one trial running on instead of being promoted later.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Verdict:
    """What the judge says of a trial at a rung; `reason` is for a person."""

    go_on: bool
    reason: str


def judge(
    pruner: str, *, epoch: int, value: float, others_at_rung: Sequence[float], reduction_factor: int, is_last_rung: bool, num_startup: int = 1
) -> Verdict:
    """The verdict on a trial that scored `value` (higher is better) at the rung after `epoch` epochs.

    `others_at_rung` are the values that other trials scored at this rung. `pruner` is ``asha``, ``median`` or ``none``.
    At the last rung a trial is finished, not pruned. Fewer than `num_startup` others: everybody goes on.
    """
    if is_last_rung:
        return Verdict(True, f"rung {epoch}: finished with {value:.4f}")
    if pruner == "none":
        return Verdict(True, f"rung {epoch}: {value:.4f}; pruning is off")
    if len(others_at_rung) < num_startup:
        return Verdict(True, f"rung {epoch}: {value:.4f}; only {len(others_at_rung)} others have been here, {num_startup} needed to compare")
    bar, rule = _bar(pruner, [*others_at_rung, value], reduction_factor)
    comparison = ">=" if value >= bar else "<"
    return Verdict(value >= bar, f"rung {epoch}: {value:.4f} {comparison} {bar:.4f}, {rule}")


def _bar(pruner: str, values: Sequence[float], reduction_factor: int) -> tuple[float, str]:
    """The least value that goes on, and how it was found."""
    if pruner == "median":
        return statistics.median(values), f"the median of {len(values)} trials"
    assert pruner == "asha", pruner
    num_kept = max(1, math.ceil(len(values) / reduction_factor))
    return sorted(values, reverse=True)[num_kept - 1], f"the bar for the best {num_kept} of {len(values)} trials"


def values_at(epoch: int, scores: Mapping[int, Mapping[int, float]], *, without: int) -> list[float]:
    """What the trials of `scores` (trial number -> epoch -> value), except trial `without`, scored after `epoch` epochs."""
    return [by_epoch[epoch] for number, by_epoch in scores.items() if number != without and epoch in by_epoch]
