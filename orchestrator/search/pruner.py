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

``paired`` is the same with a second look at a trial below the bar: it is pruned only where its
paired difference from the trial at the bar, query by query, is more than so many standard errors.
The order of trials is that of their means either way, for the mean of the paired differences is the
difference of the means; what is paired is the error. Where two trials have no queries in common (a
trial of an earlier sweep has none), they are compared by their means, and the reason says so.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from orchestrator.search.query_hits import NO_QUERIES, Queries
from prp_core.evaluation.intervals import MIN_GROUPS

Scores = Mapping[int, Mapping[int, float]]
"""Trial number -> epoch of a rung -> value."""
MarksOf = Callable[[int, int], str]
"""(trial number, epoch of a rung) -> the marks of its queries (see `Queries`); empty: not known."""


def no_marks(number: int, epoch: int) -> str:
    """Nothing is known of any query."""
    return ""


class Pruner(Protocol):
    """The bar of a rung: the least value with which a trial goes on."""

    @property
    def compares_again(self) -> bool:
        """Whether running trials are compared again when their newest rung receives a value."""
        ...

    @property
    def compares_queries(self) -> bool:
        """Whether a trial below the bar is pruned only where it is told worse, query by query."""
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
    compares_queries = False

    def bar(self, values: Sequence[float], reduction_factor: int) -> tuple[float, str]:
        """See `Pruner.bar`."""
        num_kept = max(1, len(values) // reduction_factor)
        least = sorted(values, reverse=True)[num_kept - 1]
        return least, f"the bar for the best {num_kept} of {len(values)} trials"


class PairedHalvingPruner(SuccessiveHalvingPruner):
    """As successive halving; of the others, those go on that are not told worse than the trial at
    the bar.
    """

    compares_queries = True


class MedianPruner:
    """The better half of a rung goes on, its median included; decided at arrival alone."""

    compares_again = False
    compares_queries = False

    def bar(self, values: Sequence[float], reduction_factor: int) -> tuple[float, str]:
        """See `Pruner.bar`."""
        return statistics.median(values), f"the median of {len(values)} trials"


class NopPruner:
    """No pruning: every trial trains to its end."""

    compares_again = False
    compares_queries = False

    def bar(self, values: Sequence[float], reduction_factor: int) -> None:
        """See `Pruner.bar`."""


PRUNERS: dict[str, Pruner] = {
    "asha": SuccessiveHalvingPruner(),
    "paired": PairedHalvingPruner(),
    "median": MedianPruner(),
    "none": NopPruner(),
}


@dataclass(frozen=True)
class PruningRule:
    """How a sweep prunes: the name of a pruner in `PRUNERS`, and its settings.

    `reduction_factor` lies between the epochs of two rungs; a rung prunes once `min_trials` other
    trials were there. A pruner that compares `queries` prunes what is worse by more than
    `standard_errors`.
    """

    pruner: str = "asha"
    reduction_factor: int = 3
    min_trials: int = 1
    standard_errors: float = 1.0
    queries: Queries = NO_QUERIES


@dataclass(frozen=True)
class PruningDecision:
    """Whether a trial goes on after a rung or is pruned there; `reason` is for a person."""

    go_on: bool
    reason: str


def decide(
    rule: PruningRule,
    *,
    number: int,
    epoch: int,
    scores: Scores,
    is_last_rung: bool,
    marks_of: MarksOf = no_marks,
) -> PruningDecision:
    """The decision on trial `number` by its value (higher is better) after `epoch` epochs.

    `scores` hold that value and those of the other trials, `marks_of` what each of them hit. At
    the last rung a trial is finished, not pruned. Fewer others than the rule's `min_trials`: the
    trial goes on.
    """
    value = scores[number][epoch]
    if is_last_rung:
        return PruningDecision(True, f"rung {epoch}: finished with {value:.4f}")
    others_at_rung = values_at(epoch, scores, without=number)
    bar = PRUNERS[rule.pruner].bar([*others_at_rung, value], rule.reduction_factor)
    if bar is None:
        return PruningDecision(True, f"rung {epoch}: {value:.4f}; pruning is off")
    if len(others_at_rung) < rule.min_trials:
        return PruningDecision(
            True,
            f"rung {epoch}: {value:.4f}; other trials with a value there: {len(others_at_rung)}, "
            f"needed to prune: {rule.min_trials}",
        )
    return _compare(rule, bar, number, epoch, scores, marks_of)


def decide_late(
    rule: PruningRule,
    *,
    number: int,
    epoch: int,
    last_epoch: int,
    scores: Scores,
    submitted: Iterable[int],
    marks_of: MarksOf = no_marks,
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
        number=number,
        epoch=epoch,
        scores=scores,
        is_last_rung=epoch >= last_epoch,
        marks_of=marks_of,
    )


def decide_overtaken(
    rule: PruningRule,
    *,
    epoch: int,
    last_epochs: Mapping[int, int],
    scores: Scores,
    marks_of: MarksOf = no_marks,
) -> dict[int, PruningDecision]:
    """Which running trials are pruned at their newest rung because a better value came at `epoch`.

    `last_epochs` are the running trials whose training is not over, each with its number of epochs.
    Empty for a pruner that decides at arrival alone.
    """
    pruner = PRUNERS[rule.pruner]
    values = values_at(epoch, scores)
    is_due = pruner.compares_again and len(values) > rule.min_trials
    bar = pruner.bar(values, rule.reduction_factor) if is_due else None
    if bar is None:
        return {}
    decisions = {
        number: _compare(rule, bar, number, epoch, scores, marks_of)
        for number, last_epoch in last_epochs.items()
        if epoch < last_epoch and max(scores.get(number, {}), default=0) == epoch
    }
    return {
        number: PruningDecision(False, f"{decision.reason}, since others came")
        for number, decision in decisions.items()
        if not decision.go_on
    }


def _compare(
    rule: PruningRule,
    bar: tuple[float, str],
    number: int,
    epoch: int,
    scores: Scores,
    marks_of: MarksOf,
) -> PruningDecision:
    least, words = bar
    value = scores[number][epoch]
    comparison = ">=" if value >= least else "<"
    decision = PruningDecision(
        value >= least, f"rung {epoch}: {value:.4f} {comparison} {least:.4f}, {words}"
    )
    if decision.go_on or not PRUNERS[rule.pruner].compares_queries:
        return decision
    at_bar = trial_at(least, epoch, scores)
    paired = _told_worse(rule, marks_of(at_bar, epoch), marks_of(number, epoch), at_bar)
    return PruningDecision(paired.go_on, f"{decision.reason}; {paired.reason}")


def _told_worse(rule: PruningRule, bar: str, own: str, at_bar: int) -> PruningDecision:
    """Whether a trial below the bar goes on after all, by its `own` marks and those of trial
    `at_bar`.
    """
    difference = rule.queries.difference(bar, own) if bar and own else None
    if difference is None:
        return PruningDecision(
            False,
            f"by their means, for it has fewer than {MIN_GROUPS} groups of queries in common with "
            f"trial {at_bar} at the bar",
        )
    goes_on = difference.value <= rule.standard_errors * difference.standard_error
    return PruningDecision(
        goes_on,
        f"query by query {difference.in_standard_errors:.2f} standard errors below trial {at_bar} "
        f"at the bar, {'not ' if goes_on else ''}more than {rule.standard_errors:g}",
    )


def trial_at(least: float, epoch: int, scores: Scores) -> int:
    """The trial at the bar: the one with the lowest value of `least` or more after `epoch` epochs,
    of equal ones the first.
    """
    there = {number: by_epoch[epoch] for number, by_epoch in scores.items() if epoch in by_epoch}
    return min(
        (number for number, value in there.items() if value >= least),
        key=lambda number: (there[number], number),
    )


def values_at(epoch: int, scores: Scores, *, without: int | None = None) -> list[float]:
    """The values after `epoch` epochs of the trials of `scores`, except trial `without`."""
    return [
        by_epoch[epoch]
        for number, by_epoch in scores.items()
        if number != without and epoch in by_epoch
    ]
