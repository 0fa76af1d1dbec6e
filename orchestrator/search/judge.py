"""Whether a trial goes on after a rung: pure functions of what every trial scored there.

Asynchronous successive halving in its stopping form: at each rung a trial goes on when it is among
the best ``1/reduction_factor`` of those that have reached the rung so far, itself included (rounded
down, but at least one). Nothing waits: the first to arrive goes on. The method is Li et al., "A
System for Massively Parallel Hyperparameter Tuning" (MLSys 2020), section 3.2, with trials that run
on instead of being promoted later.

What arriving early gains there is taken back when better trials come: a trial that runs on is
judged again with every value that its newest rung receives (`overtaken`). So whoever runs is, at
any time, among the best of its newest rung, which is what the paper's promotion asks for. Verdicts
may be late and in any order: a value is judged among those known when it arrives, and a trial that
has passed a later rung is never stopped at an earlier one.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

Scores = Mapping[int, Mapping[int, float]]
"""Trial number -> epoch of a rung -> value."""


@dataclass(frozen=True)
class Verdict:
    """What the judge says of a trial at a rung; `reason` is for a person."""

    go_on: bool
    reason: str


def judge(
    pruner: str,
    *,
    epoch: int,
    value: float,
    others_at_rung: Sequence[float],
    reduction_factor: int,
    is_last_rung: bool,
    num_startup: int = 1,
) -> Verdict:
    """The verdict on a trial that scored `value` (higher is better) at the rung after `epoch`
    epochs.

    `others_at_rung` are the values that other trials scored at this rung. `pruner` is ``asha``,
    ``median`` or ``none``. At the last rung a trial is finished, not pruned. Fewer than
    `num_startup` others: everybody goes on.
    """
    if is_last_rung:
        return Verdict(True, f"rung {epoch}: finished with {value:.4f}")
    if pruner == "none":
        return Verdict(True, f"rung {epoch}: {value:.4f}; pruning is off")
    if len(others_at_rung) < num_startup:
        return Verdict(
            True,
            f"rung {epoch}: {value:.4f}; only {len(others_at_rung)} others have been "
            f"here, {num_startup} needed to compare",
        )
    bar, rule = _bar(pruner, [*others_at_rung, value], reduction_factor)
    comparison = ">=" if value >= bar else "<"
    return Verdict(value >= bar, f"rung {epoch}: {value:.4f} {comparison} {bar:.4f}, {rule}")


def late_verdict(
    pruner: str,
    *,
    number: int,
    epoch: int,
    last_epoch: int,
    scores: Scores,
    handed_in: Iterable[int],
    reduction_factor: int,
    num_startup: int = 1,
) -> Verdict:
    """As `judge`, of trial `number` whose value at `epoch` has just come, while it may be far
    beyond.

    `scores` hold that value, `handed_in` are the epochs of the rungs that it has reached. A trial
    that has passed a later rung, or whose training is over, is not stopped at this one: what is
    paid for is used.
    """
    value = scores[number][epoch]
    if epoch < last_epoch and last_epoch in handed_in:
        return Verdict(True, f"rung {epoch}: {value:.4f}; its training is over")
    if any(later > epoch for later in scores[number]):
        return Verdict(True, f"rung {epoch}: {value:.4f}; it has passed a later rung")
    others = values_at(epoch, scores, without=number)
    return judge(
        pruner,
        epoch=epoch,
        value=value,
        others_at_rung=others,
        reduction_factor=reduction_factor,
        is_last_rung=epoch >= last_epoch,
        num_startup=num_startup,
    )


def overtaken(
    pruner: str,
    *,
    epoch: int,
    last_epochs: Mapping[int, int],
    scores: Scores,
    reduction_factor: int,
) -> dict[int, Verdict]:
    """Who of the running trials is no longer among the best of its newest rung, now that a value
    has come at `epoch`.

    `last_epochs` are the running trials whose training is not over, each with its number of epochs.
    Only ``asha`` looks back.
    """
    if pruner != "asha":
        return {}
    newest = {number: max(scores.get(number, {}), default=0) for number in last_epochs}
    verdicts = {
        number: judge(
            pruner,
            epoch=epoch,
            value=scores[number][epoch],
            others_at_rung=values_at(epoch, scores, without=number),
            reduction_factor=reduction_factor,
            is_last_rung=epoch >= last_epochs[number],
        )
        for number in last_epochs
        if newest[number] == epoch
    }
    return {
        number: Verdict(False, f"{verdict.reason}, since others came")
        for number, verdict in verdicts.items()
        if not verdict.go_on
    }


def _bar(pruner: str, values: Sequence[float], reduction_factor: int) -> tuple[float, str]:
    """The least value that goes on, and how it was found."""
    if pruner == "median":
        return statistics.median(values), f"the median of {len(values)} trials"
    assert pruner == "asha", pruner
    num_kept = max(1, len(values) // reduction_factor)
    return sorted(values, reverse=True)[
        num_kept - 1
    ], f"the bar for the best {num_kept} of {len(values)} trials"


def values_at(epoch: int, scores: Scores, *, without: int) -> list[float]:
    """What the trials of `scores`, except trial `without`, scored after `epoch` epochs."""
    return [
        by_epoch[epoch]
        for number, by_epoch in scores.items()
        if number != without and epoch in by_epoch
    ]
