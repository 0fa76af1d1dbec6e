"""Pruners: whether a trial goes on after a rung, decided by pure functions of all trials' scores.

``asha`` is asynchronous successive halving in its stopping form (Li et al., "A System for Massively
Parallel Hyperparameter Tuning", MLSys 2020, section 3.2, with trials that run on instead of being
promoted later): at each rung a trial goes on when it is among the best ``1/reduction_factor`` of
those that have reached the rung so far, itself included (rounded down, but at least one). Nothing
waits: the first trial to arrive goes on.

That advantage of the early trial ends when better trials come: a running trial is compared again
with every value that its newest rung receives (`decide_overtaken`). So every running trial is, at
any time, among the best of its newest rung, which is what the paper's promotion asks for. With
asynchronous evaluation values come late and in any order: a value is compared with those known when
it arrives, and a trial that has passed a later rung is never pruned at an earlier one.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

Scores = Mapping[int, Mapping[int, float]]
"""Trial number -> epoch of a rung -> value."""


class Pruner(Protocol):
    """The bar of a rung: the least value with which a trial goes on."""

    @property
    def compares_again(self) -> bool:
        """Whether running trials are compared again when their newest rung receives a value."""
        ...

    def bar(self, values: Sequence[float], reduction_factor: int) -> tuple[float, str] | None:
        """The least value with which a trial goes on, and in words how it was found; None if all
        do.

        `values` are all scores of a rung, at least one; higher is better.
        """
        ...


class SuccessiveHalvingPruner:
    """Asynchronous successive halving: the best ``1/reduction_factor`` of a rung go on."""

    compares_again = True

    def bar(self, values: Sequence[float], reduction_factor: int) -> tuple[float, str]:
        """See `Pruner.bar`."""
        num_kept = max(1, len(values) // reduction_factor)
        least = sorted(values, reverse=True)[num_kept - 1]
        return least, f"the bar for the best {num_kept} of {len(values)} trials"


class MedianPruner:
    """The better half of a rung goes on, its median included; decided at arrival alone."""

    compares_again = False

    def bar(self, values: Sequence[float], reduction_factor: int) -> tuple[float, str]:
        """See `Pruner.bar`."""
        return statistics.median(values), f"the median of {len(values)} trials"


class NopPruner:
    """No pruning: every trial trains to its end."""

    compares_again = False

    def bar(self, values: Sequence[float], reduction_factor: int) -> None:
        """See `Pruner.bar`."""


PRUNERS: dict[str, Pruner] = {
    "asha": SuccessiveHalvingPruner(),
    "median": MedianPruner(),
    "none": NopPruner(),
}


@dataclass(frozen=True)
class PruningRule:
    """How a sweep prunes: the name of a pruner in `PRUNERS`, and its settings.

    `reduction_factor` lies between the epochs of two rungs; a rung prunes once `num_startup` other
    trials were there.
    """

    pruner: str = "asha"
    reduction_factor: int = 3
    num_startup: int = 1


@dataclass(frozen=True)
class PruningDecision:
    """Whether a trial goes on after a rung or is pruned there; `reason` is for a person."""

    go_on: bool
    reason: str


def decide(
    rule: PruningRule,
    *,
    epoch: int,
    value: float,
    others_at_rung: Sequence[float],
    is_last_rung: bool,
) -> PruningDecision:
    """The decision on a trial with `value` (higher is better) at the rung after `epoch` epochs.

    `others_at_rung` are the values that other trials scored at this rung. At the last rung a trial
    is finished, not pruned. Fewer others than the rule's `num_startup`: the trial goes on.
    """
    if is_last_rung:
        return PruningDecision(True, f"rung {epoch}: finished with {value:.4f}")
    bar = PRUNERS[rule.pruner].bar([*others_at_rung, value], rule.reduction_factor)
    if bar is None:
        return PruningDecision(True, f"rung {epoch}: {value:.4f}; pruning is off")
    if len(others_at_rung) < rule.num_startup:
        return PruningDecision(
            True,
            f"rung {epoch}: {value:.4f}; only {len(others_at_rung)} others have been "
            f"here, {rule.num_startup} needed to compare",
        )
    return _compare(epoch, value, bar)


def decide_late(
    rule: PruningRule,
    *,
    number: int,
    epoch: int,
    last_epoch: int,
    scores: Scores,
    submitted: Iterable[int],
) -> PruningDecision:
    """As `decide`, on trial `number` whose value at `epoch` has just arrived while it trained on.

    `scores` hold that value, `submitted` are the epochs of the rungs that it has reached. A trial
    that has passed a later rung, or whose training is over, is not pruned at this one: what is
    paid for is used.
    """
    value = scores[number][epoch]
    if epoch < last_epoch and last_epoch in submitted:
        return PruningDecision(True, f"rung {epoch}: {value:.4f}; its training is over")
    if any(later > epoch for later in scores[number]):
        return PruningDecision(True, f"rung {epoch}: {value:.4f}; it has passed a later rung")
    return decide(
        rule,
        epoch=epoch,
        value=value,
        others_at_rung=values_at(epoch, scores, without=number),
        is_last_rung=epoch >= last_epoch,
    )


def decide_overtaken(
    rule: PruningRule, *, epoch: int, last_epochs: Mapping[int, int], scores: Scores
) -> dict[int, PruningDecision]:
    """Which running trials are pruned at their newest rung because a better value came at `epoch`.

    `last_epochs` are the running trials whose training is not over, each with its number of epochs.
    Empty for a pruner that decides at arrival alone.
    """
    pruner = PRUNERS[rule.pruner]
    values = values_at(epoch, scores)
    bar = pruner.bar(values, rule.reduction_factor) if pruner.compares_again and values else None
    if bar is None:
        return {}
    decisions = {
        number: _compare(epoch, scores[number][epoch], bar)
        for number, last_epoch in last_epochs.items()
        if epoch < last_epoch and max(scores.get(number, {}), default=0) == epoch
    }
    return {
        number: PruningDecision(False, f"{decision.reason}, since others came")
        for number, decision in decisions.items()
        if not decision.go_on
    }


def _compare(epoch: int, value: float, bar: tuple[float, str]) -> PruningDecision:
    least, words = bar
    comparison = ">=" if value >= least else "<"
    return PruningDecision(
        value >= least, f"rung {epoch}: {value:.4f} {comparison} {least:.4f}, {words}"
    )


def values_at(epoch: int, scores: Scores, *, without: int | None = None) -> list[float]:
    """The values after `epoch` epochs of the trials of `scores`, except trial `without`."""
    return [
        by_epoch[epoch]
        for number, by_epoch in scores.items()
        if number != without and epoch in by_epoch
    ]
